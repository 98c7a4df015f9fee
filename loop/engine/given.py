"""Graphs of a step of the user's, shared by the models that one function builds.

A step is Python that may read anything, so in general it is traced for each model. The members of
`fit_seeds` share its graph if all of this holds, else each is traced:

    it is a function that reads plain values, functions and objects of Keras without variables only,
        which are compared again for each member: a closure may change in between
    it reads no names: `dense` of the first member is `dense_2` of the second
    its graph captured variables of the model only, calls no Python, draws from no seed that was
        fixed in the trace, and tracing drew no number from Python's or NumPy's generator
    a spare model, made ready without a trace, then equals the model that was traced
"""

import contextlib
import pickle
import random
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from loop.engine.graphs import is_graph, why_alone
from loop.engine.likeness import IncomparableError, Likeness
from loop.engine.reuse import make_optimizer, make_variables, may_share
from loop.types import StepFunction, Structure

READ_NAMES = frozenset(
    {
        *("name", "path", "get_layer", "get_config", "summary", "str", "repr", "format"),
        *("getattr", "vars", "__dict__", "globals", "locals", "eval", "exec"),
    }
)
"""Names in the code of a step by which it may read what layers and variables are called."""

_spare: ContextVar[keras.Model | None] = ContextVar("spare model", default=None)


@dataclass(frozen=True, repr=False)
class Reads:
    """What a trace reads: of the step and, before it is traced, of the model."""

    step: tuple[Any, ...]
    model: tuple[Any, ...]


@contextlib.contextmanager
def sharing_given_steps(spare: keras.Model) -> Iterator[None]:
    """Share the graphs of steps of the user's within this context.

    Args:
        spare: A model that nobody trains, built as those to come.
    """
    token = _spare.set(spare)
    try:
        yield
    finally:
        _spare.reset(token)


def reads_of(step: StepFunction, model: keras.Model) -> Reads | None:
    """Return what tracing a step of the user's would read; None if its graph may not be shared."""
    if _spare.get() is None or not may_share(model):
        return None
    try:
        of_step = Likeness(step, of_user=True)
        of_model = Likeness(model)
    except (IncomparableError, ValueError):  # ValueError: a variable of a closure has no value yet
        return None
    if of_step.variables or not READ_NAMES.isdisjoint(of_step.code_names):
        return None
    return Reads(tuple(of_step.parts), tuple(of_model.parts))


def make(model: keras.Model, spec: Structure) -> None:
    """Make what tracing a step makes on a model, without tracing it."""
    make_optimizer(model)
    make_variables(model, spec)


def repeatable(
    step: StepFunction, model: keras.Model, spec: Structure, reads: Reads
) -> Callable[[Any], bool]:
    """Return a function that tells of a trace made after this call whether others may use it.

    Args:
        step: The step, a function of the user's.
        model: The model to trace it for.
        spec: A `tf.TensorSpec` for each leaf of a batch.
        reads: What `reads_of` returned.
    """
    before = _random_states()

    def may_keep(function: Any) -> bool:
        if not is_graph(function) or why_alone(function) or _random_states() != before:
            return False
        logs = function.structured_outputs
        if not isinstance(logs, dict) or any(
            layer.name in log for layer in model.layers for log in logs
        ):
            return False
        after = reads_of(step, model)
        return after is not None and after.step == reads.step and _rehearsed(spec, reads, after)

    return may_keep


def _rehearsed(spec: Structure, before: Reads, after: Reads) -> bool:
    """Return whether `make` brings the spare model from one state to the other."""
    spare = _spare.get()
    if spare is None or tuple(Likeness(spare).parts) != before.model:
        return False
    make(spare, spec)
    return tuple(Likeness(spare).parts) == after.model


def _random_states() -> bytes:
    """Return the states of the global generators of Python and NumPy, which a trace may draw on."""
    return pickle.dumps((random.getstate(), np.random.get_state()))
