"""Who looks at which batch, and how far the next call may run."""

import keras
import pytest
from keras.callbacks import (
    BackupAndRestore,
    Callback,
    CSVLogger,
    EarlyStopping,
    History,
    LambdaCallback,
    LearningRateScheduler,
    ModelCheckpoint,
    ProgbarLogger,
    ReduceLROnPlateau,
    TensorBoard,
    TerminateOnNaN,
)

from loop import watch
from loop.callbacks import ProgressBar, logs_only, register_cadence
from loop.watch import EPOCHS, TRAINING, hears, looks_inside, next_look

A_LOT = 10_000


def last(*callbacks, batch=0):
    """The last batch of a call from `batch` on, where a second has room for 10,000 steps."""
    hearers = [callback for callback in callbacks if hears(callback, TRAINING)]
    return next_look(hearers, batch, lambda seconds: int(A_LOT * seconds))


class Looks(Callback):
    def on_train_batch_begin(self, batch, logs=None):
        pass


class SavesMore(ModelCheckpoint):
    pass


NEVER = A_LOT - 1
KNOWN = {
    "nobody": (Callback(), NEVER),
    "history": (History(), NEVER),
    "a hook of its own": (Looks(), 0),
    "early stopping": (EarlyStopping(), NEVER),
    "plateau": (ReduceLROnPlateau(), NEVER),
    "scheduler": (LearningRateScheduler(lambda epoch, rate: rate), NEVER),
    "csv": (CSVLogger("log.csv"), NEVER),
    "nan": (TerminateOnNaN(), 0),
    "checkpoint an epoch": (ModelCheckpoint("a.keras"), NEVER),
    "checkpoint": (ModelCheckpoint("a.keras", save_freq=7), 0),
    "a subclass says nothing for itself": (SavesMore("a.keras"), 0),
    "backup an epoch": (BackupAndRestore("there"), NEVER),
    "board": (TensorBoard("there", write_graph=False), NEVER),
    "board with a graph": (TensorBoard("there"), 0),
    "board by batch": (TensorBoard("there", update_freq=3), NEVER),
    "board with a profile": (TensorBoard("there", profile_batch=2), 0),
    "lambda": (LambdaCallback(on_epoch_end=print), NEVER),
    "lambda at batches": (LambdaCallback(on_train_batch_end=print), 0),
    "bar of Keras": (ProgbarLogger(), A_LOT // 20 - 1),
    "bar": (ProgressBar(), A_LOT // 10 - 1),
    "reader": (logs_only(Looks()), NEVER),
}


@pytest.mark.parametrize("name", KNOWN)
def test_callbacks_look_when_they_look(name):
    callback, expected = KNOWN[name]
    assert last(callback) == expected


def test_the_first_who_looks_decides():
    register_cadence(Tenth, lambda callback, batch: batch - batch % 10 + 9)
    try:
        assert last(Tenth(), ProgressBar(), batch=25) == 29
        assert last(Tenth(), Looks(), batch=25) == 25
        board = TensorBoard("there")
        assert last(board, batch=1) == A_LOT, "the graph is written once an epoch"
    finally:
        del watch.CADENCES[Tenth]


class Tenth(Callback):
    def on_train_batch_end(self, batch, logs=None):
        pass


def test_a_checkpoint_looks_when_it_saves(tmp_path):
    checkpoint = ModelCheckpoint(tmp_path / "a.weights.h5", save_freq=7, save_weights_only=True)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    checkpoint.set_model(model)
    saved = []
    checkpoint._save_model = lambda **where: saved.append(where["batch"])
    checkpoint.on_epoch_begin(0)
    batch = 0
    while batch < 30:
        batch = last(checkpoint, batch=batch)
        if batch < 30:
            checkpoint.on_train_batch_end(batch, {})
        batch += 1
    assert saved == [6, 13, 20, 27]


def test_a_hook_set_on_the_object_looks_at_every_batch():
    checkpoint = ModelCheckpoint("a.keras")
    assert last(checkpoint) == NEVER
    checkpoint.on_train_batch_end = lambda batch, logs=None: None
    assert last(checkpoint) == 0
    plain = Callback()
    plain.on_train_batch_end = lambda batch, logs=None: None
    assert last(plain) == 0


def test_a_class_may_say_that_it_reads_logs_only():
    class Reader(Looks):
        logs_only = True

    assert last(Reader()) == NEVER
    assert looks_inside(Reader())
    assert not looks_inside(ModelCheckpoint("a.keras"))


def test_history_need_not_be_told_of_an_epoch_while_it_is_the_last():
    assert not hears(History(), EPOCHS)
    assert hears(EarlyStopping(), EPOCHS)

    class MyHistory(History):
        pass

    assert hears(MyHistory(), EPOCHS)
