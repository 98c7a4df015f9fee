"""Who looks at which batch, and so how far the next call may run.

    default batch hooks         never look
    a registered cadence        says after which batch it looks next, or every how many seconds
    logs_only                   never holds a call back: told of every batch once it is over
    anything else               looks at every batch

Asked before every call: a callback may get its hooks, or its frequency, while it trains.
"""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import keras
import tensorflow as tf
from keras.callbacks import Callback

from loop._keras import batches_until_save, is_inherited, is_profiling

AnyCallback = TypeVar("AnyCallback", bound=Callback)

Cadence = float | Callable[[Any, int], int | None]
"""`cadence(callback, batch)`: where `batch` comes next, the batch after which the callback looks,
counted from 0 in its epoch; None: not in this epoch. A float: about every so many seconds."""

PATIENCE = 1.0
"""Seconds after which a call returns though nobody looks: Ctrl-C works between calls."""

CADENCES: dict[type, Cadence] = {}

Hooks = tuple[str, ...]

TRAINING: Hooks = ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end")
TESTING: Hooks = ("on_test_batch_begin", "on_test_batch_end")
PREDICTING: Hooks = ("on_predict_batch_begin", "on_predict_batch_end")
VALIDATION: Hooks = ("on_test_begin", "on_test_end")
EPOCHS: Hooks = ("on_epoch_begin", "on_epoch_end")

_LOOKING = {*TRAINING, *TESTING, *EPOCHS}  # set on an object, they look when they please


def register_cadence(kind: type, cadence: Cadence) -> None:
    """Says when callbacks of a class look at batches; its subclasses must say so themselves.

        register_cadence(SaveEvery100, lambda callback, batch: batch - batch % 100 + 99)

    Args:
        kind: The class. Its hooks must come to the same when the batches between are left out.
        cadence: See `Cadence`.
    """
    CADENCES[kind] = cadence


def logs_only(callback: AnyCallback) -> AnyCallback:
    """Marks a callback whose batch hooks read logs and nothing else: no weights, no clock.

    They come with the exact logs of each batch, in order, once the call that ran it is over. A
    class may say the same: `logs_only = True`.

    Returns:
        The callback.
    """
    callback.logs_only = True
    return callback


def reads_logs_only(callback: Callback) -> bool:
    """Whether the batch hooks of a callback may be told when the batches are over."""
    if type(callback) is keras.callbacks.TensorBoard:
        writes_batches = callback.update_freq != "epoch"
        return writes_batches and not (is_profiling(callback) or callback.write_steps_per_second)
    return getattr(callback, "logs_only", False) is True


def hears(callback: Callback, hooks: Hooks) -> bool:
    """Whether a callback has any of some hooks that is not Keras's empty one."""
    if hooks == EPOCHS and type(callback) is keras.callbacks.History:
        return not _LOOKING.isdisjoint(vars(callback))  # it need not be told while it happens
    return not all(is_inherited(getattr(callback, hook), getattr(Callback, hook)) for hook in hooks)


def looks_inside(callback: Callback) -> bool:
    """Whether a callback with batch hooks will look into the epoch that comes next."""
    if reads_logs_only(callback):
        return True  # it looks afterwards, but at every batch
    cadence = cadence_of(callback)
    return isinstance(cadence, float) or cadence(callback, 0) is not None


def next_look(hearers: Iterable[Callback], batch: int, steps_within: Callable[[float], int]) -> int:
    """The batch up to which the next call may run.

    Args:
        hearers: The callbacks with hooks for such batches.
        batch: The one that comes next, counted from 0 in its epoch.
        steps_within: How many steps take so many seconds.
    """
    seconds, looks = PATIENCE, []
    for callback in hearers:
        if reads_logs_only(callback):
            continue
        cadence = cadence_of(callback)
        if isinstance(cadence, float):
            seconds = min(seconds, cadence)
        elif (look := cadence(callback, batch)) is not None:
            looks.append(look)
    return min([batch + steps_within(seconds) - 1, *looks])


def cadence_of(callback: Callback) -> Cadence:
    """When a callback looks; hooks set on the object are not those of its class."""
    if type(callback) not in CADENCES or not _LOOKING.isdisjoint(vars(callback)):
        return every_batch
    return CADENCES[type(callback)]


def every_batch(_: Callback, batch: int) -> int:
    """The cadence of all whose cadence nobody knows."""
    return batch


def _when_it_saves(callback: Any, batch: int) -> int | None:
    """`ModelCheckpoint` and `BackupAndRestore` count the batches that they were not told of.

    Only where an epoch begins they must be told of its first.
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
