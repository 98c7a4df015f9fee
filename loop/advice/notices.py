"""Notices: what a user can mend, said once as a warning, in a line that ends with the change."""

import contextlib
import inspect
import os
import traceback
import warnings
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import keras

from loop.advice.reads import Reads, read_by

_OURS = str(Path(__file__).parents[1]) + os.sep
_said: dict[int, set[str]] = {}  # topics by the id of a step that is alive


def say_once(step: object, topic: str, message: str) -> None:
    """Warn, at the line that called loop, of something that the user can mend.

        say_once(train_step, "raw scalars", 'The log "loss" ... Return {"loss": loop.mean(loss)}.')

    Args:
        step: What it is about: a step function, or another object that lives as long.
        topic: A word for the notice: it is said once for each step and topic.
        message: One line that ends with the line to change.
    """
    step = getattr(step, "__self__", step)  # a bound method is a new object at each look-up
    if id(step) not in _said:
        _said[id(step)] = set()
        with contextlib.suppress(TypeError):  # an object without weak references
            weakref.finalize(step, _said.pop, id(step), None)
    if topic not in _said[id(step)]:
        _said[id(step)].add(topic)
        warnings.warn(message, UserWarning, stacklevel=_level_of_caller())


def _level_of_caller() -> int:
    """Return the `stacklevel` that names, for `say_once`, the line outside of loop that called."""
    files = [frame.f_code.co_filename for frame, _ in traceback.walk_stack(inspect.currentframe())]
    return next((at for at, file in enumerate(files) if not file.startswith(_OURS)), 1)


CHANGES = {
    "draws with": "Call keras.random.normal(shape, seed=seeds) or another of keras.random, with "
    "seeds = keras.random.SeedGenerator(0) made outside of the step.",
    "adds 1 * (a + b)": "Call metric.update_state(a + b) without sample_weight=1.0, or return "
    "loop.mean(a + b).",
    "calls Python": "Compute with functions of keras.ops or of TensorFlow.",
    "writes summaries": "Return the values as logs: keras.callbacks.TensorBoard writes them.",
    "no tensor of a fixed shape": "Return a scalar: loop.mean(values).",
    "of bfloat16": 'Return keras.ops.cast(value, "float32").',
}
"""The line to change, by words of the reason why steps run one by one."""


def say_of_single_steps(step: object, reason: str) -> None:
    """Say how steps could share calls, if the user can mend the reason why they do not."""
    for words, change in CHANGES.items():
        if words in reason:
            say_once(
                step, "single steps", f"Each step runs in a call of its own: {reason}. {change}"
            )


def say_of_metrics(step: object, reads: Reads, known: Iterable[keras.metrics.Metric]) -> None:
    """Say which metrics of a step nobody resets, as they are not among those of the model."""
    reset = {id(metric) for metric in known}
    for name, read in reads.items():
        metric = read()
        is_reset = id(metric) in reset or f"{name}.reset_state" in reads
        if isinstance(metric, keras.metrics.Metric) and not is_reset:
            say_once(
                step,
                f"metric {name}",
                f"The metric {name} of the step is not in model.metrics: fit never resets it. Make "
                "it an attribute of the model, or return loop.mean(value) in its place.",
            )


def say_of_new_function(step: Any, traced: Iterable[Any], model: keras.Model) -> None:
    """Say that a step is traced again for no reason but that its function was made anew."""
    code = getattr(step, "__code__", None)
    earlier = [one for one in traced if one is not step and getattr(one, "__code__", code) is code]
    if code is None or not earlier:
        return
    if _values(step, model) in [_values(one, model) for one in earlier]:
        say_once(
            code,
            "made anew",
            f"The step {step.__name__} is traced again: it is a new function with the code and the "
            "values of an earlier one. Define it once, and pass the same function to each fit.",
        )


def _values(step: Any, model: keras.Model) -> dict[str, object]:
    """Return what tells the values that a step reads from others."""
    return {name: _identity(read()) for name, read in read_by(step, model).items()}


def _identity(value: Any) -> object:
    return repr(value) if _is_plain(value) else id(getattr(value, "__self__", value))


def _is_plain(value: Any) -> bool:
    if type(value) is tuple:
        return all(map(_is_plain, value))
    return value is None or type(value) in (bool, int, float, str)


class Frozen:
    """The plain values that a step has read from Python while it was traced.

    Args:
        reads: What it reads.
        make: The method of the model that traces its steps again.
    """

    def __init__(self, reads: Reads, make: str):
        plain = {name: read for name, read in reads.items() if _is_plain(read())}
        self._reads = plain
        self._values = {name: repr(read()) for name, read in plain.items()}
        self._make = make

    def say_of_changes(self) -> None:
        """Say which values have changed since: the graph goes on with those of its trace."""
        for name, read in self._reads.items():
            old, new = self._values[name], repr(read())
            if old != new:
                say_once(
                    self,
                    name,
                    f"The step was traced with {name} = {old} and goes on with it: {name} is "
                    f"{new} now. Call model.{self._make}(force=True) to trace the step again, or "
                    f"use keras.Variable({old}, trainable=False) and its assign.",
                )
