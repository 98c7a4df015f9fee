"""Notices: what a user can mend, said once as a warning, in a line that ends with the change."""

import contextlib
import inspect
import os
import traceback
import warnings
import weakref
from pathlib import Path

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
