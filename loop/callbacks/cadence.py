"""When callbacks look at batches, and so how far a call may run before they want control.

what a callback has                    it wants control
no batch hooks (Keras's empty ones)    never within an epoch
a registered cadence                   as the cadence says, `register_cadence`
`logs_only = True`                     never; its hooks are called after the call, with all logs
other batch hooks                      after every batch

The cadence is looked up before every call: a callback may set hooks, or its frequency, while it
trains.
"""

from collections.abc import Callable, Iterable
from numbers import Real
from typing import Any, TypeVar

import keras
import tensorflow as tf
from keras.callbacks import Callback

from loop._keras import batches_until_save, is_inherited, is_profiling

AnyCallback = TypeVar("AnyCallback", bound=Callback)

Cadence = float | Callable[[Any, int], int | None]
"""`cadence(callback, batch)` returns the batch, from `batch` on, after which the callback wants
control, counted from 0 in its epoch; None: not in this epoch. A number: about every so many
seconds."""

CADENCES: dict[type, Cadence] = {}

Hooks = tuple[str, ...]

TRAINING: Hooks = ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end")
TESTING: Hooks = ("on_test_batch_begin", "on_test_batch_end")
PREDICTING: Hooks = ("on_predict_batch_begin", "on_predict_batch_end")
VALIDATION: Hooks = ("on_test_begin", "on_test_end")
EPOCHS: Hooks = ("on_epoch_begin", "on_epoch_end")

_HOOKS_WITH_CADENCE = {*TRAINING, *TESTING, *EPOCHS}  # one set on an object has no known cadence


def register_cadence(callback_class: type, cadence: Cadence) -> None:
    """Declare when callbacks of a class look at batches; subclasses must declare it themselves.

        register_cadence(SaveEvery100, lambda callback, batch: batch - batch % 100 + 99)
        register_cadence(Dashboard, 2)  # about every two seconds

    Args:
        callback_class: The class. Its hooks must have the same effect when the batches between are
            left out.
        cadence: A function `cadence(callback, batch)`, or a number of seconds: see `Cadence`.

    Raises:
        TypeError: The cadence is neither a function nor a number.
        ValueError: The number is negative, or no number (NaN).
    """
    if isinstance(cadence, bool) or not (isinstance(cadence, Real) or callable(cadence)):
        raise TypeError(
            f"Expected the cadence of {callback_class.__name__} to be a number of seconds or a "
            f"function `cadence(callback, batch)`, got {cadence!r} of type "
            f"{type(cadence).__name__}."
        )
    if isinstance(cadence, Real):
        if not cadence >= 0:
            raise ValueError(
                f"Expected the cadence of {callback_class.__name__} to be 0 seconds or more, got "
                f"{cadence!r}."
            )
        cadence = float(cadence)
    CADENCES[callback_class] = cadence


def logs_only(callback: AnyCallback) -> AnyCallback:
    """Mark a callback whose batch hooks read logs and nothing else: no weights, no clock.

    Its hooks are called with the exact logs of each batch, in order, once the call that ran the
    batches is over. A class may declare the same: `logs_only = True`.

    Returns:
        The callback.
    """
    callback.logs_only = True
    return callback


def reads_logs_only(callback: Callback) -> bool:
    """Return whether the batch hooks of a callback may be called when the batches are over."""
    if type(callback) is keras.callbacks.TensorBoard:
        writes_batches = callback.update_freq != "epoch"
        return writes_batches and not (is_profiling(callback) or callback.write_steps_per_second)
    return getattr(callback, "logs_only", False) is True


def has_hooks(callback: Callback, hooks: Hooks) -> bool:
    """Return whether a callback has any of some hooks that is not Keras's empty one."""
    if hooks == EPOCHS and type(callback) is keras.callbacks.History:
        # Its hooks only copy logs, so they may be called when several epochs are over.
        return not _HOOKS_WITH_CADENCE.isdisjoint(vars(callback))
    return not all(is_inherited(getattr(callback, hook), getattr(Callback, hook)) for hook in hooks)


def looks_inside(callback: Callback) -> bool:
    """Return whether a callback with batch hooks wants control, or logs, within the next epoch."""
    if reads_logs_only(callback):
        return True
    cadence = cadence_of(callback)
    return isinstance(cadence, float) or cadence(callback, 0) is not None


def next_control(
    listeners: Iterable[Callback], batch: int, seconds: float
) -> tuple[int | None, float]:
    """Return the batch, and the seconds, after which the first of some callbacks wants control.

    Args:
        listeners: The callbacks with hooks for such batches.
        batch: The batch that comes next, counted from 0 in its epoch.
        seconds: The most seconds.

    Returns:
        The last batch that may run, None for the last of the epoch; and about how many seconds.
    """
    lasts = []
    for callback in listeners:
        if reads_logs_only(callback):
            continue
        cadence = cadence_of(callback)
        if isinstance(cadence, float):
            seconds = min(seconds, cadence)
        elif (last := cadence(callback, batch)) is not None:
            lasts.append(last)
    return min(lasts, default=None), seconds


def cadence_of(callback: Callback) -> Cadence:
    """Return when a callback looks; hooks set on the object are not those of its class."""
    if type(callback) not in CADENCES or not _HOOKS_WITH_CADENCE.isdisjoint(vars(callback)):
        return every_batch
    return CADENCES[type(callback)]


def every_batch(_: Callback, batch: int) -> int:
    """Default cadence: return control after every batch."""
    return batch


def _when_it_saves(callback: Any, batch: int) -> int | None:
    """`ModelCheckpoint` and `BackupAndRestore` also count the batches that no hook was called for.

    Only the first batch of an epoch must be one that their hook is called for.
    """
    if callback.save_freq == "epoch":
        return None
    return batch if batch == 0 else batch + batches_until_save(callback) - 1


def _when_it_writes(callback: Any, batch: int) -> int | None:
    """`TensorBoard` writes the graph after a first batch, and nothing more between epochs."""
    at_epochs_only = callback.update_freq == "epoch" and not is_profiling(callback)
    if not at_epochs_only or tf.summary.should_record_summaries():
        return batch
    return 0 if batch == 0 and callback.write_graph else None


register_cadence(keras.callbacks.ModelCheckpoint, _when_it_saves)
register_cadence(keras.callbacks.BackupAndRestore, _when_it_saves)
register_cadence(keras.callbacks.TensorBoard, _when_it_writes)
register_cadence(keras.callbacks.ProgbarLogger, 0.05)  # the interval at which its bar is redrawn
