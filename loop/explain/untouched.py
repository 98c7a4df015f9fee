"""Restores everything that a step changes: variables, and the states of random generators."""

import contextlib
import random
import warnings
from collections.abc import Iterable, Iterator

import keras
import numpy as np
import tensorflow as tf

from loop._keras import every_metric, global_seed_state
from loop.metrics import kept


@contextlib.contextmanager
def untouched(variables: Iterable[tf.Variable]) -> Iterator[None]:
    """Restore variables, and the generators of Python and NumPy, to the bit after the block.

    Warnings of the block are not shown: fit shows its own.

    Args:
        variables: All variables that the block may change.
    """
    with kept(variables), same_random_numbers(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def same_random_numbers() -> Iterator[None]:
    """Restore the generators of Python and NumPy after the block."""
    states = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


@contextlib.contextmanager
def same_functions(model: keras.Model) -> Iterator[None]:
    """Restore the compiled functions of a model after the block, and with them what is cached.

    A fit after the block is traced as the model is by then, if it was not trained before.
    """
    before = {name: getattr(model, name, None) for name in ("train_function", "test_function")}
    try:
        yield
    finally:
        for name, function in before.items():
            setattr(model, name, function)


def variables_of(model: keras.Model, functions: Iterable[object] = ()) -> list[tf.Variable]:
    """Return all variables that a step of a model may change.

    Args:
        model: The model, whose optimizer and metrics have their variables.
        functions: Concrete functions, which know variables that the model does not.
    """
    optimizer, seed_state = getattr(model, "optimizer", None), global_seed_state()
    owned = [
        *model.variables,
        *(optimizer.variables if optimizer is not None else ()),
        *(variable for metric in every_metric(model) for variable in metric.variables),
        *([] if seed_state is None else [seed_state]),
    ]
    found = [getattr(variable, "value", variable) for variable in owned]
    for function in functions:
        found += getattr(function, "variables", ())
    return list({id(variable): variable for variable in found}.values())
