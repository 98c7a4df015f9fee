"""Calls the hooks of all callbacks in Keras's order: the user's, History, the progress bar.

All callbacks of an event get the SAME dict of logs, as in Keras: what an earlier callback adds, for
example a learning rate, is in the logs of later callbacks and is recorded by History.
"""

import contextlib
from collections.abc import Callable, Iterator

import keras
from keras.callbacks import Callback, CallbackList, History, ProgbarLogger

from loop.callbacks.batches import BatchHooks
from loop.callbacks.cadence import PREDICTING, TESTING, TRAINING, Hooks, has_hooks
from loop.callbacks.logs import python_logs
from loop.callbacks.progress import ProgressBar
from loop.callbacks.watch import Watching
from loop.types import Logs, Structure


class Callbacks:
    """Callbacks whose hooks are called together, in order.

        callbacks = Callbacks([my_callback])
        callbacks.on_epoch_end(0, {"loss": tf.constant(0.5)})  # my_callback gets {"loss": 0.5}

    Attributes:
        callbacks: The callbacks.
        training: Their hooks around training batches.
        testing: Their hooks around the batches of an evaluation or a validation pass.
        predicting: Their hooks around the batches of a prediction.

    Mirrors: keras.callbacks.CallbackList
    """

    def __init__(self, callbacks: list[Callback]):
        self.callbacks = callbacks
        self.training = BatchHooks(callbacks, TRAINING)
        self.testing = BatchHooks(callbacks, TESTING)
        self.predicting = BatchHooks(callbacks, PREDICTING)

    @contextlib.contextmanager
    def closing_on_error(self) -> Iterator[None]:
        """Close what callbacks hold open if an exception ends the block.

        A message gets a line below the progress bar, and a model its own methods back.
        """
        try:
            yield
        except BaseException:
            for callback in self.callbacks:
                if isinstance(callback, ProgressBar | Watching):
                    callback.close()
            raise

    def with_hooks(self, hooks: Hooks) -> list[Callback]:
        """Return the callbacks that have any of the named hooks at this moment."""
        return [callback for callback in self.callbacks if has_hooks(callback, hooks)]

    def _call(self, hook: Callable[[Callback, Logs], None], logs: Logs | None) -> None:
        shared = python_logs(logs)
        for callback in self.callbacks:
            hook(callback, shared)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Call the hooks before the first epoch."""
        self._call(lambda callback, logs: callback.on_train_begin(logs), logs)

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Call the hooks after the last epoch, with its logs."""
        self._call(lambda callback, logs: callback.on_train_end(logs), logs)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Call the hooks before the first batch of an epoch."""
        self._call(lambda callback, logs: callback.on_epoch_begin(epoch, logs), logs)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Call the hooks after an epoch and its validation, with the logs of both."""
        self._call(lambda callback, logs: callback.on_epoch_end(epoch, logs), logs)

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Call the hooks before an evaluation or a validation pass."""
        self._call(lambda callback, logs: callback.on_test_begin(logs), logs)

    def on_test_end(self, logs: Logs | None = None) -> None:
        """Call the hooks after an evaluation or a validation pass, with its logs."""
        self._call(lambda callback, logs: callback.on_test_end(logs), logs)

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """Call the hooks before a prediction."""
        self._call(lambda callback, logs: callback.on_predict_begin(logs), logs)

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """Call the hooks after a prediction."""
        self._call(lambda callback, logs: callback.on_predict_end(logs), logs)


def with_defaults(
    callbacks: Structure,
    model: keras.Model,
    verbose: str | int,
    epochs: int,
    steps: int | None,
    history: bool = False,
) -> Callbacks:
    """Return the user's callbacks, a History and a progress bar, with model and params set.

        callbacks = with_defaults([my_callback], model, verbose=1, epochs=5, steps=2)
        callbacks.on_train_begin()

    Args:
        callbacks: The user's callbacks, or a `CallbackList` that is used as it is.
        model: The model; gets the History as `model.history`.
        verbose: 0 for no progress bar.
        epochs: The epoch to stop before.
        steps: Steps per epoch; None while unknown.
        history: Whether to add a History.

    Mirrors: keras.callbacks.CallbackList
    """
    if isinstance(callbacks, CallbackList):
        return Callbacks([callbacks])
    completed = complete(callbacks, verbose, history)
    recorders = [callback for callback in completed if isinstance(callback, History)]
    if recorders:
        model.history = recorders[-1]
    for callback in completed:
        callback.set_model(model)
    for callback in completed:
        callback.set_params({"verbose": verbose, "epochs": epochs, "steps": steps})
    return Callbacks(completed)


def complete(callbacks: Structure, verbose: str | int, history: bool) -> list[Callback]:
    """Return the user's callbacks, a History and a progress bar; call nothing on any of them.

        mine, history, bar = complete([my_callback], verbose=1, history=True)

    If the user gave a History or a `ProgbarLogger`, none is added. A `CallbackList` is treated as a
    single callback that needs control after every batch.
    """
    if isinstance(callbacks, CallbackList):
        return [callbacks]
    completed: list[Callback] = keras.tree.flatten(callbacks) if callbacks else []
    if history and not any(isinstance(callback, History) for callback in completed):
        completed.append(History())
    bars = ProgbarLogger | ProgressBar
    if verbose != 0 and not any(isinstance(callback, bars) for callback in completed):
        completed.append(ProgressBar())
    return completed
