"""Callbacks: told of everything in Keras's order, heard at once, and never silenced."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import loop
from compare import Recorder

X = np.random.default_rng(0).uniform(size=(64, 4)).astype("float32")
Y = (X.sum(axis=1) > 2).astype("float32")
HOOKS = [
    *("on_train_begin", "on_epoch_begin", "on_train_batch_begin", "on_train_batch_end"),
    *("on_test_begin", "on_test_batch_begin", "on_test_batch_end", "on_test_end"),
    *("on_epoch_end", "on_train_end"),
]
ENGINES = {"model.fit": keras.Model.fit, "loop.fit": loop.fit}


def model():
    keras.backend.clear_session()
    keras.utils.set_random_seed(1)
    built = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, "sigmoid")])
    built.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    return built


def reacting(hook, reaction):
    """A callback that reacts to the second call of one hook (the first, where there is one)."""
    calls = []

    def react(self, *arguments, **named):
        calls.append(hook)
        if len(calls) == (1 if hook in ("on_train_begin", "on_train_end") else 2):
            reaction(self.model)

    return type("Reacting", (keras.callbacks.Callback,), {hook: react})()


def trained(engine, callback):
    built, recorder = model(), Recorder()
    raised = None
    arguments = {"batch_size": 8, "epochs": 4, "validation_split": 0.25, "verbose": 0}
    try:
        ENGINES[engine](built, X, Y, callbacks=[callback, recorder], **arguments)
    except Exception as error:
        raised = error
    return (
        recorder.events,
        [keras.ops.convert_to_numpy(v).tobytes() for v in built.variables],
        repr(raised),
    )


@pytest.mark.parametrize("hook", HOOKS)
def test_stop_training_is_heard_wherever_it_is_set(hook):
    def stop(model):
        model.stop_training = True

    ours = trained("loop.fit", reacting(hook, stop))
    assert ours == trained("model.fit", reacting(hook, stop))


@pytest.mark.parametrize("hook", HOOKS)
def test_exceptions_rise_raw_and_nothing_is_called_after(hook):
    def fail(model):
        raise RuntimeError(f"from {hook}")

    ours = trained("loop.fit", reacting(hook, fail))
    assert ours == trained("model.fit", reacting(hook, fail))
    assert ours[-1] == repr(RuntimeError(f"from {hook}"))


def test_a_callback_may_give_the_model_another_step():
    def another_step(data):
        return {"z": tf.reduce_sum(data[0])}

    def give(model):
        model.train_step = another_step
        model.make_train_function(force=True)

    ours = trained("loop.fit", reacting("on_train_batch_end", give))
    assert ours == trained("model.fit", reacting("on_train_batch_end", give))


def test_a_keyboard_interrupt_rises_too():
    def interrupt(model):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained("loop.fit", reacting("on_train_batch_end", interrupt))


@pytest.mark.parametrize("engine", ENGINES)
def test_an_own_history_is_returned_and_keeps_its_place(engine):
    own, built = keras.callbacks.History(), model()
    returned = ENGINES[engine](built, X, Y, callbacks=[own], verbose=0)
    assert returned is own
    assert built.history is own


def test_a_ready_callback_list_is_taken_as_it_is():
    built, recorder = model(), Recorder()
    history = keras.callbacks.History()
    ready = keras.callbacks.CallbackList([recorder, history], model=built, epochs=1, steps=8)
    assert loop.fit(built, X, Y, batch_size=8, callbacks=ready, verbose=0) is history
    assert [event.hook for event in recorder.events].count("on_train_batch_end") == 8


def test_callbacks_may_be_nested_or_alone():
    for callbacks in (Recorder(), [[Recorder()], [Recorder()]], (), None):
        history = loop.fit(model(), X, Y, callbacks=callbacks, verbose=0)
        assert list(history.history) == ["accuracy", "loss"]


def test_all_callbacks_of_an_event_share_one_dict():
    class Adds(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["added"] = 7.0

    assert loop.fit(model(), X, Y, callbacks=[Adds()], verbose=0).history["added"] == [7.0]


@pytest.mark.parametrize("verbose", [1, "auto"])
def test_a_bar_for_each_epoch_shows_running_metrics_on_standard_error(capsys, verbose):
    loop.fit(model(), X, Y, batch_size=8, epochs=2, validation_split=0.5, verbose=verbose)
    out, err = capsys.readouterr()
    assert out == ""
    last = [line.split("\r")[-1] for line in err.strip().split("\n")]
    assert [line[:10] for line in last] == ["Epoch 1/2:", "Epoch 2/2:"]
    for line in last:
        assert "4/4" in line
        for metric in ("accuracy=", "loss=", "val_accuracy=", "val_loss="):
            assert metric in line


def test_one_line_an_epoch_on_standard_output(capsys):
    loop.fit(model(), X, Y, epochs=2, validation_split=0.5, verbose=2)
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert err == ""
    assert len(lines) == 2
    assert lines[0].startswith("Epoch 1/2 - ")
    for metric in ("accuracy: ", "loss: ", "val_accuracy: ", "val_loss: "):
        assert metric in lines[1]


def test_silence(capsys):
    built = model()
    loop.fit(built, X, Y, validation_split=0.5, verbose=0)
    loop.evaluate(built, X, Y, verbose=0)
    loop.predict(built, X, verbose=0)
    assert capsys.readouterr() == ("", "")


def test_a_bar_of_an_unknown_length_counts_on(capsys):
    batches = tf.data.Dataset.from_tensor_slices((X, Y)).batch(8).filter(lambda x, y: True)
    with pytest.warns(UserWarning, match="ran out of data"):
        loop.fit(model(), batches, shuffle=False)
    assert "8step" in capsys.readouterr().err.replace(" ", "")


def test_evaluate_and_predict_have_bars_of_their_own(capsys):
    built = model()
    loop.evaluate(built, X, Y, verbose=1)
    assert "Evaluate" in (shown := capsys.readouterr().err)
    assert "loss=" in shown
    loop.predict(built, X, verbose=1)
    assert "Predict" in capsys.readouterr().err
