"""The callbacks of a fit in their order: which hooks they have, and when they need control."""

from collections.abc import Iterator

import keras
from keras.callbacks import Callback

from loop._keras import is_inherited
from loop.callbacks import Callbacks
from loop.callbacks.cadence import (
    EPOCHS,
    TESTING,
    TRAINING,
    VALIDATION,
    cadence_of,
    has_hooks,
    reads_logs_only,
)
from loop.explain.document import Note, Section, Table
from loop.types import FitArguments

HOOKS = (
    "on_train_begin",
    "on_epoch_begin",
    *TRAINING,
    "on_test_begin",
    *TESTING,
    "on_test_end",
    "on_epoch_end",
    "on_train_end",
)
"""The hooks that a fit calls."""

NEVER = "never within the epochs"
"""When a callback needs control that has no hooks within the training."""


def callbacks_section(arguments: FitArguments, callbacks: Callbacks) -> Section:
    """Return the table of the callbacks, in the order in which their hooks are called."""
    given = keras.tree.flatten(arguments.callbacks) if arguments.callbacks else []
    rows = []
    for place, callback in enumerate(callbacks.callbacks, 1):
        added = "you" if any(callback is own for own in given) else "fit"
        name, hooks = type(callback).__name__, _hooks(callback)
        rows.append((str(place), name, added, hooks, _looks(callback)))
    heads = ("order", "callback", "added by", "its hooks", "needs control")
    table = Table(heads, tuple(rows), heads[1:])
    note = Note("All get the same dict of logs, in this order: what one adds, the next one sees.")
    return Section("Callbacks", (table, note) if rows else (Note("There are none."),))


def listeners(callbacks: Callbacks, *hooks: str) -> tuple[str, ...]:
    """Return the names of the callbacks that override any of the named hooks, in their order."""
    return tuple(
        type(callback).__name__
        for callback in callbacks.callbacks
        if any(_overrides(callback, hook) for hook in hooks)
    )


def _overrides(callback: Callback, hook: str) -> bool:
    return not is_inherited(getattr(callback, hook), getattr(Callback, hook))


def _hooks(callback: Callback) -> str:
    """Return the hooks that a callback has, without the part of the names that all share."""
    found = [hook.removeprefix("on_") for hook in HOOKS if _overrides(callback, hook)]
    return ", ".join(found) or "none"


def _looks(callback: Callback) -> str:
    """Return when a callback needs control, in a few words."""
    if has_hooks(callback, TRAINING + TESTING):
        return _describe_cadence(callback)
    if has_hooks(callback, EPOCHS) or has_hooks(callback, VALIDATION):
        return "looks between epochs"
    return NEVER


def describe_watchers(callbacks: Callbacks) -> Iterator[str]:
    """Yield a line for each callback with hooks for batches, epochs or validation."""
    for callback in callbacks.callbacks:
        if (looks := _looks(callback)) != NEVER:
            yield f"{type(callback).__name__} {looks}"


def _describe_cadence(callback: keras.callbacks.Callback) -> str:
    """Return when a callback with hooks for batches needs control, as a phrase."""
    if reads_logs_only(callback):
        return "reads the logs of every batch once the call that ran it is over"
    cadence = cadence_of(callback)
    if isinstance(cadence, float):
        return f"looks every {cadence:g} seconds"
    lasts = [cadence(callback, batch) for batch in range(2)]
    if lasts == [0, 1]:
        return "looks at every batch"
    return "looks between epochs" if lasts == [None, None] else "looks at some batches"
