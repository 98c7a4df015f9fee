"""Callbacks: Keras's own and one of a user's, what they see, change, write and stop."""

import keras

from compare.scenario import FitArguments, Scenario
from compare.scenarios.first import logistic, perceptron, uniform


def _labels(*callbacks: keras.callbacks.Callback, epochs: int = 4) -> FitArguments:
    x, y = uniform(100)
    return {
        "x": x,
        "y": y,
        "epochs": epochs,
        "validation_split": 0.2,
        "callbacks": list(callbacks),
    }


class _StopAt(keras.callbacks.Callback):
    """Stops in the middle of an epoch."""

    def __init__(self, epoch: int, batch: int):
        super().__init__()
        self.epoch, self.batch, self.now = epoch, batch, 0

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.now = epoch

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        if (self.now, batch) == (self.epoch, self.batch):
            self.model.stop_training = True


class _Meddler(keras.callbacks.Callback):
    """Changes the learning rate at batches and weights at epochs, and adds a log."""

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        self.model.optimizer.learning_rate = 0.01 / (1 + batch)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self.model.layers[-1].bias.assign([0.25])
        logs = {} if logs is None else logs
        logs["added"] = float(epoch)


def _rates() -> FitArguments:
    return _labels(
        keras.callbacks.LearningRateScheduler(lambda _, rate: rate * 0.9),
        keras.callbacks.ReduceLROnPlateau("val_loss", patience=1, factor=0.5, min_delta=1.0),
    )


def _files() -> FitArguments:
    return _labels(
        keras.callbacks.CSVLogger("log.csv"),
        keras.callbacks.ModelCheckpoint("{epoch}.weights.h5", save_weights_only=True),
        keras.callbacks.ModelCheckpoint(
            "best.weights.h5", "loss", save_best_only=True, save_weights_only=True
        ),
        keras.callbacks.BackupAndRestore("backup", delete_checkpoint=False),
    )


def _mid_epoch() -> FitArguments:
    return _labels(_StopAt(epoch=1, batch=1))


def _meddler() -> FitArguments:
    return _labels(_Meddler(), keras.callbacks.TerminateOnNaN())


def _nan() -> FitArguments:
    arguments = dict(_labels(keras.callbacks.TerminateOnNaN()))
    arguments["x"] = arguments["x"].copy()
    arguments["x"][33] = float("nan")
    return arguments


def _averages() -> FitArguments:
    return _labels(keras.callbacks.SwapEMAWeights(swap_on_epoch=True))


def with_averages() -> keras.Model:
    """A model whose optimizer keeps averages of the weights."""
    model = perceptron()
    optimizer = keras.optimizers.Adam(use_ema=True, ema_momentum=0.9)
    model.compile(optimizer, "binary_crossentropy", metrics=["accuracy"])
    return model


def _no_callbacks() -> FitArguments:
    return _labels()


CALLBACKS = (
    Scenario("learning_rates", "a scheduler and a plateau, recorded in History", logistic, _rates),
    Scenario("files", "CSV log, checkpoints, backup: the same bytes", perceptron, _files),
    Scenario("stop_in_mid_epoch", "stopped at a batch: validation still runs", logistic, _mid_epoch),
    Scenario("meddling_callback", "changes rates and weights, adds a log", logistic, _meddler),
    Scenario("terminate_on_nan", "a NaN in the data ends the training, NaN bits and all", logistic, _nan),
    Scenario("averages", "averaged weights put in place at the end", with_averages, _no_callbacks),
    Scenario("averages_swapped", "averaged weights swapped in for validation", with_averages, _averages),
)  # fmt: skip
