"""After which batches callbacks need control, which limits how far a call may run.

callback                               needs control
no batch hooks (Keras's empty ones)    never within an epoch
a registered cadence                   as returned by the cadence: see `register_cadence`
`logs_only = True`                     never; its hooks are called after the call, with all logs
other batch hooks                      after every batch

The cadence is looked up before every call, because a callback may set hooks, or its frequency,
during training.
"""

from collections.abc import Callable, Iterable
from numbers import Integral, Real
from typing import Any, TypeVar

import keras
import tensorflow as tf
from keras.callbacks import Callback

from loop._keras import batches_until_save, is_inherited, is_profiling

AnyCallback = TypeVar("AnyCallback", bound=Callback)

Cadence = float | Callable[[Any, int], int | None]
"""When a callback needs control: a number for about every so many seconds, or a function.

`cadence(callback, batch)` returns the first batch, from `batch` on, after which the callback needs
control, counted from 0 in its epoch; None if there is none in this epoch."""

CADENCES: dict[type, Cadence] = {}
"""The registered cadences, by the exact class of the callback."""

Hooks = tuple[str, ...]

TRAINING: Hooks = ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end")
TESTING: Hooks = ("on_test_batch_begin", "on_test_batch_end")
PREDICTING: Hooks = ("on_predict_batch_begin", "on_predict_batch_end")
VALIDATION: Hooks = ("on_test_begin", "on_test_end")
EPOCHS: Hooks = ("on_epoch_begin", "on_epoch_end")

_HOOKS_WITH_CADENCE = {*TRAINING, *TESTING, *PREDICTING, *EPOCHS}
"""Hooks that a cadence of the class describes, unless the instance sets a hook of its own."""


def register_cadence(callback_class: type, cadence: Cadence) -> None:
    """Declare when callbacks of a class need control; subclasses must declare it themselves.

        register_cadence(SaveEvery100, lambda callback, batch: batch - batch % 100 + 99)
        register_cadence(Dashboard, 2)  # about every two seconds

    Args:
        callback_class: The class. Its hooks must have the same effect if they are not called for
            the batches in between.
        cadence: A function `cadence(callback, batch)`, or a number of seconds: see `Cadence`.

    Raises:
        TypeError: `callback_class` is no class, or the cadence is neither a function nor a number.
        ValueError: The number is negative or NaN.
    """
    if not isinstance(callback_class, type):
        raise TypeError(
            f"Expected a class of callbacks, got the object {callback_class!r}. Register its "
            f"class: register_cadence({type(callback_class).__name__}, ...)."
        )
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

        loop.fit(model, x, y, callbacks=[logs_only(my_callback)])

    Its hooks are called with the exact logs of each batch, in order, after the compiled call that
    ran the batches. A class may declare the same with the attribute `logs_only = True`.

    If such a hook sets `model.stop_training`, the training ends at that very batch: the model is
    put back to where the call began, and the steps up to the batch run again, to the same bits.
    For that, each call keeps a copy of all variables that the step uses. A dataset or generator
    cannot be drawn twice: over such data the call stays as it ran, and fit warns.

    Returns:
        The callback.
    """
    callback.logs_only = True
    return callback


def reads_logs_only(callback: Callback) -> bool:
    """Return whether the batch hooks of a callback may be called after the batches have run."""
    if type(callback) is keras.callbacks.TensorBoard:
        writes_batches = callback.update_freq != "epoch"
        return writes_batches and not (is_profiling(callback) or callback.write_steps_per_second)
    return getattr(callback, "logs_only", False) is True


def has_hooks(callback: Callback, hooks: Hooks) -> bool:
    """Return whether a callback overrides any of the named hooks of `keras.callbacks.Callback`."""
    if hooks == EPOCHS and type(callback) is keras.callbacks.History:
        # Its hooks only copy logs, so they may be called after several epochs have run.
        return not _HOOKS_WITH_CADENCE.isdisjoint(vars(callback))
    return not all(is_inherited(getattr(callback, hook), getattr(Callback, hook)) for hook in hooks)


def needs_control_within_epoch(callback: Callback) -> bool:
    """Return whether a callback with batch hooks needs control, or logs, within the next epoch."""
    if reads_logs_only(callback):
        return True
    cadence = cadence_of(callback)
    return isinstance(cadence, float) or cadence(callback, 0) is not None


def next_control(
    listeners: Iterable[Callback], batch: int, seconds: float
) -> tuple[int | None, float]:
    """Return after which batch, and after how many seconds, a call must return control.

    Args:
        listeners: The callbacks with hooks for such batches.
        batch: The batch that comes next, counted from 0 in its epoch.
        seconds: The upper limit of the seconds.

    Returns:
        The last batch that may run, None for the last of the epoch; and the seconds, approximate.
    """
    lasts: list[int] = []
    for callback in listeners:
        if reads_logs_only(callback):
            continue
        cadence = cadence_of(callback)
        if isinstance(cadence, float):
            seconds = min(seconds, cadence)
        elif (last := cadence(callback, batch)) is not None:
            if not isinstance(last, Integral) or last < batch:
                name = type(callback).__name__
                raise ValueError(
                    f"The cadence of {name} returned {last!r} for batch {batch}: expected an int, "
                    f"{batch} or more, or None for not in this epoch."
                )
            lasts.append(int(last))
    return min(lasts, default=None), seconds


def cadence_of(callback: Callback) -> Cadence:
    """Return the cadence of a callback's class; the default if the instance sets own hooks."""
    if type(callback) not in CADENCES or not _HOOKS_WITH_CADENCE.isdisjoint(vars(callback)):
        return every_batch
    return CADENCES[type(callback)]


def every_batch(_: Callback, batch: int) -> int:
    """Return `batch`: the default cadence, to return control after every batch."""
    return batch


def _cadence_of_saving(callback: Any, batch: int) -> int | None:
    """Return the batch after which `ModelCheckpoint` or `BackupAndRestore` saves next.

    Both derive how many batches have run from the batch number that a hook gets, so hooks may be
    left out in between. But the hook of the first batch of an epoch must be called.
    """
    if callback.save_freq == "epoch":
        return None
    return batch if batch == 0 else batch + batches_until_save(callback) - 1


def _cadence_of_tensorboard(callback: Any, batch: int) -> int | None:
    """Return the batch after which `TensorBoard` writes next.

    With `update_freq="epoch"`, it writes the graph after the first batch, and then only at epochs.
    """
    at_epochs_only = callback.update_freq == "epoch" and not is_profiling(callback)
    if not at_epochs_only or tf.summary.should_record_summaries():
        return batch
    return 0 if batch == 0 and callback.write_graph else None


register_cadence(keras.callbacks.ModelCheckpoint, _cadence_of_saving)
register_cadence(keras.callbacks.BackupAndRestore, _cadence_of_saving)
register_cadence(keras.callbacks.TensorBoard, _cadence_of_tensorboard)
register_cadence(keras.callbacks.ProgbarLogger, 0.05)  # the interval at which its bar is redrawn
