"""Checks made before training or evaluation starts.

Messages say what was expected, what was given and what to do.
"""

from collections.abc import Callable

import keras
import tensorflow as tf

from loop._keras import is_distributed, is_inherited, is_trainer
from loop.types import PLANS, StepFunction


def check_plan(plan: str) -> None:
    """Raise ValueError, with the list of plans, if a plan does not exist."""
    if plan not in PLANS:
        raise ValueError(f"Unknown plan: expected one of {list(PLANS)}, got {plan!r}.")


def check_compiled(model: keras.Model, given_step: StepFunction | None) -> None:
    """Raise if a model is not compiled and no step was given in its place.

    Raises:
        TypeError: It is not a Keras model.
        ValueError: It is neither compiled nor given a step.
    """
    if not is_trainer(model):
        raise TypeError(
            f"Expected a Keras model as the first argument, got a {type(model).__name__}: "
            "loop.fit(model, x, y)."
        )
    if not model.compiled and given_step is None:
        raise ValueError(
            "You must call `compile()` before using the model: expected a compiled model or a "
            "step of your own (`train_step=`, `test_step=`), got neither. Call "
            "model.compile(optimizer=..., loss=...)."
        )


def check_compiled_for_validation(model: keras.Model, test_step: StepFunction | None) -> None:
    """Raise ValueError if there are validation data, but no step that takes them."""
    if not model.compiled and test_step is None:
        raise ValueError(
            "validation_data needs a compiled model or a `test_step`, got neither: expected "
            "a function (model, batch) -> logs that trains nothing. Pass test_step=my_test_step, "
            'which may `return {"loss": loop.mean(loss)}`.'
        )


def check_integers(**arguments: int | None) -> None:
    """Raise TypeError, as Keras does, if an argument is neither None nor an integer."""
    for name, value in arguments.items():
        if value is not None and not hasattr(value, "__index__"):
            raise TypeError(
                f"Expected `{name}` to be an integer, got {value!r} of type {type(value).__name__}."
            )


def check_positive(**arguments: int) -> None:
    """Raise TypeError or ValueError if an argument is not an integer of 1 or more."""
    check_integers(**arguments)
    for name, value in arguments.items():
        if value < 1:
            raise ValueError(f"Expected `{name}` to be 1 or more, got {value}.")


def check_frequency(validation_freq: int | list[int]) -> None:
    """Raise if `validation_freq` is not valid.

    Raises:
        ValueError: It is neither an int nor a list of epochs.
        ZeroDivisionError: It is 0 (Keras raises the same class).

    Mirrors: keras.src.trainers.trainer.Trainer._should_eval
    """
    if not isinstance(validation_freq, int | list):
        raise ValueError(
            "Expected `validation_freq` to be a list or int. Received: validation_freq="
            f"{validation_freq} of the type {type(validation_freq)}. Pass n to validate every n "
            "epochs, or a list of epochs counted from 1."
        )
    if validation_freq == 0:
        raise ZeroDivisionError("Expected `validation_freq` to be 1 or more, got 0.")


def check_one_process(model: keras.Model) -> None:
    """Raise NotImplementedError if a model was created for several workers or for TPUs."""
    several = (
        tf.distribute.MultiWorkerMirroredStrategy,
        tf.distribute.ParameterServerStrategy,
        tf.distribute.TPUStrategy,
    )
    if is_distributed(model) and isinstance(model.distribute_strategy, several):
        raise NotImplementedError(
            f"The model was created under a {type(model.distribute_strategy).__name__}: "
            "`model.fit` trains it there, loop trains in one process, without TPUs. Create it "
            "under a MirroredStrategy, or under none."
        )


def check_inherited(method: Callable, original: Callable) -> None:
    """Raise NotImplementedError if a model overrides a method that loop would not call.

    Args:
        method: The bound method of the model.
        original: Keras's function of that name.
    """
    if not is_inherited(method, original):
        raise NotImplementedError(
            f"The model overrides `{original.__name__}`: `model.fit` calls it, loop does not yet. "
            "Pass `train_step=` or `test_step=`, or override `train_step`, `test_step`, "
            "`compute_loss` or `compute_metrics`, which loop honours."
        )
