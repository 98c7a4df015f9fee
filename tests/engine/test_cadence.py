"""When callbacks look at batches, and how far the next call may run."""

import keras
import numpy as np
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

import loop
from loop.callbacks import ProgressBar, cadence, logs_only, register_cadence
from loop.callbacks.cadence import (
    EPOCHS,
    TRAINING,
    has_hooks,
    needs_control_within_epoch,
    next_control,
)

A_LOT = 10_000


def last(*callbacks, batch=0):
    """The last batch of a call from `batch` on, where a second has room for 10,000 steps."""
    listeners = [callback for callback in callbacks if has_hooks(callback, TRAINING)]
    last, seconds = next_control(listeners, batch, 1.0)
    by_time = batch + int(A_LOT * seconds) - 1
    return by_time if last is None else min(last, by_time)


class Looks(Callback):
    def on_train_batch_begin(self, batch, logs=None):
        pass


class SavesMore(ModelCheckpoint):
    pass


NEVER = A_LOT - 1
KNOWN = {
    "no hooks": (Callback(), NEVER),
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


def test_the_callback_that_looks_first_decides():
    register_cadence(Tenth, lambda callback, batch: batch - batch % 10 + 9)
    try:
        assert last(Tenth(), ProgressBar(), batch=25) == 29
        assert last(Tenth(), Looks(), batch=25) == 25
        board = TensorBoard("there")
        assert last(board, batch=1) == A_LOT, "the graph is written once an epoch"
    finally:
        del cadence.CADENCES[Tenth]


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
    assert needs_control_within_epoch(Reader())
    assert not needs_control_within_epoch(ModelCheckpoint("a.keras"))


def test_history_needs_no_control_between_epochs():
    assert not has_hooks(History(), EPOCHS)
    assert has_hooks(EarlyStopping(), EPOCHS)

    class MyHistory(History):
        pass

    assert has_hooks(MyHistory(), EPOCHS)


@pytest.mark.parametrize("seconds", [1, 0.5, np.int64(1), np.float32(0.5)])
def test_a_number_is_a_cadence_in_seconds_whatever_its_type(seconds):
    register_cadence(Tenth, seconds)
    try:
        assert last(Tenth()) == int(A_LOT * float(seconds)) - 1
        x = np.ones((8, 1), "float32")
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        loop.fit(model, x, x, callbacks=[Tenth()], verbose=0)
    finally:
        del cadence.CADENCES[Tenth]


@pytest.mark.parametrize(
    ("wrong", "error"),
    [("often", TypeError), (None, TypeError), (True, TypeError), (-1, ValueError)],
)
def test_what_is_no_cadence_is_refused_where_it_is_registered(wrong, error):
    with pytest.raises(error, match="cadence of Tenth"):
        register_cadence(Tenth, wrong)
    assert Tenth not in cadence.CADENCES


def test_a_class_is_registered_and_not_an_object():
    with pytest.raises(TypeError, match=r"register_cadence\(Tenth, ...\)"):
        register_cadence(Tenth(), 3)


@pytest.mark.parametrize("returned", [0, 4, 5.5, "5"])
def test_a_cadence_that_returns_an_earlier_batch_or_no_int_is_named(returned):
    register_cadence(Tenth, lambda callback, batch: returned)
    try:
        with pytest.raises(ValueError, match=r"cadence of Tenth returned .* for batch 5"):
            last(Tenth(), batch=5)
    finally:
        del cadence.CADENCES[Tenth]
