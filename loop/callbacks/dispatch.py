"""Tells every callback of every event, in Keras's order: the user's, then History, then the bar.

All callbacks of one event share ONE dict of logs: what an earlier one adds (a learning rate, say)
the later ones see, and History records.
"""

from collections.abc import Callable

import keras
from keras.callbacks import Callback, CallbackList, History, ProgbarLogger

from loop.callbacks.batches import BatchHooks
from loop.callbacks.logs import python_logs
from loop.callbacks.progress import ProgressBar
from loop.types import Logs, Structure
from loop.watch import PREDICTING, TESTING, TRAINING, Hooks, hears


class Callbacks:
    """A list of callbacks that is told of events as one.

    Attributes:
        training: The hooks around batches that train.
        testing: The hooks around batches of an evaluation or a validation pass.
        predicting: The hooks around batches of a prediction.

    Mirrors: keras.callbacks.CallbackList
    """

    def __init__(self, callbacks: list[Callback]):
        self.callbacks = callbacks
        self.training = BatchHooks(callbacks, TRAINING)
        self.testing = BatchHooks(callbacks, TESTING)
        self.predicting = BatchHooks(callbacks, PREDICTING)

    def hearing(self, hooks: Hooks) -> list[Callback]:
        """The callbacks with any of some hooks, asked now."""
        return [callback for callback in self.callbacks if hears(callback, hooks)]

    def _tell(self, hook: Callable[[Callback, Logs], None], logs: Logs | None) -> None:
        shared = python_logs(logs)
        for callback in self.callbacks:
            hook(callback, shared)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Before the first epoch."""
        self._tell(lambda callback, logs: callback.on_train_begin(logs), logs)

    def on_train_end(self, logs: Logs | None = None) -> None:
        """After the last epoch, with its logs."""
        self._tell(lambda callback, logs: callback.on_train_end(logs), logs)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Before the first batch of an epoch."""
        self._tell(lambda callback, logs: callback.on_epoch_begin(epoch, logs), logs)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """After the validation pass of an epoch, with the logs of both."""
        self._tell(lambda callback, logs: callback.on_epoch_end(epoch, logs), logs)

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Before an evaluation or a validation pass."""
        self._tell(lambda callback, logs: callback.on_test_begin(logs), logs)

    def on_test_end(self, logs: Logs | None = None) -> None:
        """After an evaluation or a validation pass, with its logs."""
        self._tell(lambda callback, logs: callback.on_test_end(logs), logs)

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """Before a prediction."""
        self._tell(lambda callback, logs: callback.on_predict_begin(logs), logs)

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """After a prediction."""
        self._tell(lambda callback, logs: callback.on_predict_end(logs), logs)


def with_defaults(
    callbacks: Structure,
    model: keras.Model,
    verbose: str | int,
    epochs: int,
    steps: int | None,
    history: bool = False,
) -> Callbacks:
    """The user's callbacks, the History and the progress bar, ready to be told.

    A History or a `ProgbarLogger` of the user's takes the place of ours and keeps its own place in
    the list. A ready `CallbackList` is taken as it is: one callback, that looks at every batch.

    Mirrors: keras.callbacks.CallbackList
    """
    if isinstance(callbacks, CallbackList):
        return Callbacks([callbacks])
    everyone: list[Callback] = keras.tree.flatten(callbacks) if callbacks else []
    recorders = [one for one in everyone if isinstance(one, History)]
    if history and not recorders:
        recorders = [History()]
        everyone += recorders
    if verbose != 0 and not any(isinstance(one, ProgbarLogger | ProgressBar) for one in everyone):
        everyone.append(ProgressBar())
    if recorders:
        model.history = recorders[-1]
    for callback in everyone:
        callback.set_model(model)
    for callback in everyone:
        callback.set_params({"verbose": verbose, "epochs": epochs, "steps": steps})
    return Callbacks(everyone)
