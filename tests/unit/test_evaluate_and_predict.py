"""`evaluate` and `predict` return what Keras returns, to the last bit."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf

import loop
from compare import SCENARIOS, find
from compare.recording.recorder import prepare
from loop.engine import predictions
from loop.predict import predict_function

ONE_OF_EACH = [
    "random_labels", "digits_cnn", "diabetes", "dict_losses", "dict_outputs", "dict_of_inputs",
    "dataset", "dataset_of_unknown_size", "masked_sequences", "transformer", "own_train_step",
    "own_loss_and_metrics", "steps_per_execution", "jit_compile", "run_eagerly", "add_loss_only",
    "added_losses", "pandas_frames",
]  # fmt: skip


def arguments_of(function, scenario):
    known = set(inspect.signature(function).parameters) - {"callbacks"}
    return {name: value for name, value in scenario.data().items() if name in known}


@pytest.mark.long
@pytest.mark.parametrize("scenario", find(ONE_OF_EACH), ids=lambda scenario: scenario.name)
@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_evaluate_and_predict_return_what_keras_returns(scenario):
    results = []
    for engine in (keras.Model, loop):
        model, _ = prepare(scenario)
        data = arguments_of(keras.Model.evaluate, scenario)
        inputs = arguments_of(keras.Model.predict, scenario)
        results.append(
            (
                engine.predict(model, **inputs, verbose=0),
                engine.evaluate(model, **data, verbose=0),
                engine.evaluate(model, **data, verbose=0, return_dict=True),
                engine.evaluate(model, **data, verbose=0, steps=1),
                engine.predict(model, **inputs, verbose=0, steps=2),
                [keras.ops.convert_to_numpy(v) for v in model.variables],
            )
        )
    assert_same_bits(*results)


def test_the_names_above_are_in_the_table():
    assert set(ONE_OF_EACH) <= {scenario.name for scenario in SCENARIOS}


def looping(monkeypatch):
    """Let a loop pay from the second batch on."""
    monkeypatch.setattr(predictions, "SAVED", 1e9)


MANY = [
    "digits_cnn", "dict_outputs", "dict_of_inputs", "transformer", "masked_sequences",
    "own_loss_and_metrics", "last_partial_batch", "pandas_frames",
]  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("scenario", find(MANY), ids=lambda scenario: scenario.name)
def test_many_batches_predicted_in_a_call_are_those_of_keras(monkeypatch, scenario):
    looping(monkeypatch)
    inputs = arguments_of(keras.Model.predict, scenario)
    results = []
    for engine in (keras.Model, loop):
        model, _ = prepare(scenario)
        sizes = ({"batch_size": size} for size in (3, 8, 3))
        results.append(
            [engine.predict(model, **{**inputs, **size}, verbose=0) for size in sizes]
            + [engine.predict(model, **{**inputs, "steps": 3, "batch_size": 4}, verbose=0)]
        )
    assert_same_bits(*results)
    assert calls_of_loops(model), "no batches shared a call"


def calls_of_loops(model):
    return [one for one in predict_function(model)._loops.values() if one is not None]


def assert_same_bits(reference, ours):
    keras.tree.assert_same_structure(reference, ours)
    for a, b in zip(keras.tree.flatten(reference), keras.tree.flatten(ours), strict=True):
        assert type(a) is type(b)
        assert np.asarray(a).dtype == np.asarray(b).dtype
        assert np.asarray(a).shape == np.asarray(b).shape
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def lone_layer(function):
    return keras.Sequential([keras.Input((2,)), keras.layers.Lambda(function)])


SINGLE = {
    "ragged outputs": lambda x: tf.RaggedTensor.from_tensor(x, padding=0.0),
    "scalars": lambda x: tf.reduce_sum(x),
    "random ops": lambda x: x + tf.random.normal(tf.shape(x), seed=3),
    "Python": lambda x: tf.ensure_shape(tf.py_function(lambda y: y + 1, [x], tf.float32), x.shape),
    "texts": lambda x: tf.strings.as_string(x),
    "no columns": lambda x: x[:, :0],
}


@pytest.mark.sampled
@pytest.mark.parametrize("kind", SINGLE)
def test_predictions_that_cannot_share_a_call_are_those_of_keras(monkeypatch, kind):
    looping(monkeypatch)
    x = np.random.default_rng(0).normal(size=(22, 2)).astype("float32")
    results = []
    for engine in (keras.Model, loop):
        keras.utils.set_random_seed(0)
        model = lone_layer(SINGLE[kind])
        results.append([engine.predict(model, x, 4, verbose=0) for _ in range(2)])
    reference, ours = results
    for a, b in zip(reference, ours, strict=True):
        assert type(a) is type(b)
        if isinstance(a, tf.RaggedTensor):
            assert a.to_list() == b.to_list()
        else:
            assert (a.dtype, a.shape) == (b.dtype, b.shape)
            assert a.tolist() == b.tolist() if kind == "texts" else a.tobytes() == b.tobytes()
    assert not calls_of_loops(model)


def test_callbacks_with_hooks_for_predictions_see_every_batch(monkeypatch):
    looping(monkeypatch)

    class Seeing(keras.callbacks.Callback):
        def on_predict_batch_begin(self, batch, logs=None):
            seen.append(("begin", batch))

        def on_predict_batch_end(self, batch, logs=None):
            seen.append(("end", batch, logs["outputs"].tobytes()))

    x = np.random.default_rng(0).normal(size=(22, 2)).astype("float32")
    streams = []
    for engine in (keras.Model, loop):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
        seen = []
        for _ in range(2):
            engine.predict(model, x, 4, verbose=0, callbacks=[Seeing()])
        streams.append(seen)
    assert streams[0] == streams[1]
    assert len(seen) == 2 * 2 * 6
    assert not calls_of_loops(model)


def test_batches_share_a_call_only_where_they_repay_its_graph(monkeypatch):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    x = np.ones((40, 2), "float32")
    monkeypatch.setattr(predictions, "SAVED", 0.0)
    for _ in range(3):
        loop.predict(model, x, 4, verbose=0)
    assert not calls_of_loops(model)
    function = predict_function(model)
    monkeypatch.setattr(predictions, "SAVED", 2.0 * function._first_seconds / 39)
    loop.predict(model, x, 4, verbose=0)
    assert calls_of_loops(model), "30 batches ran and 10 come"


@pytest.mark.long
def test_predictions_larger_than_a_call_holds_are_the_same(monkeypatch):
    looping(monkeypatch)
    monkeypatch.setattr(predictions, "ROOM", 3 * 4 * 3 * 4)  # 3 batches of 4 x 3 float32
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    x = np.random.default_rng(0).normal(size=(45, 2)).astype("float32")
    (one,) = {engine.predict(model, x, 4, verbose=0).tobytes() for engine in (keras.Model, loop)}
    assert one == loop.predict(model, x, 4, verbose=0).tobytes()


def test_a_call_of_many_predictions_ends_after_about_its_seconds(monkeypatch):
    looping(monkeypatch)
    monkeypatch.setattr("loop.callbacks.batches.MAX_SECONDS", 0.0)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    x = np.random.default_rng(0).normal(size=(45, 2)).astype("float32")
    (one,) = {engine.predict(model, x, 4, verbose=0).tobytes() for engine in (keras.Model, loop)}
    assert one == loop.predict(model, x, 4, verbose=0).tobytes()


@pytest.mark.parametrize("bars", [[], [keras.callbacks.ProgbarLogger()]], ids=["ours", "Keras's"])
def test_batches_share_a_call_under_a_bar(monkeypatch, capsys, bars):
    looping(monkeypatch)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    for _ in range(2):
        loop.predict(model, np.ones((45, 2), "float32"), 4, verbose=1, callbacks=[*bars])
    printed = "".join(capsys.readouterr())
    assert ("12/12" if bars else "Predict") in printed
    assert calls_of_loops(model)


def test_a_model_need_not_be_compiled_to_predict():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    assert loop.predict(model, np.ones((5, 2)), verbose=0).shape == (5, 3)


def test_ragged_predictions_stay_ragged():
    model = keras.Sequential(
        [keras.layers.Lambda(lambda x: tf.RaggedTensor.from_tensor(x, padding=0.0))]
    )
    x = np.array([[1.0, 0.0], [1.0, 2.0]], "float32")
    ours, theirs = (engine.predict(model, x, verbose=0) for engine in (loop, keras.Model))
    assert type(ours) is type(theirs) is tf.RaggedTensor
    assert ours.to_list() == theirs.to_list()


def test_stop_evaluating_and_stop_predicting_are_heard():
    class Stop(keras.callbacks.Callback):
        def on_test_batch_end(self, batch, logs=None):
            self.model.stop_evaluating = True

        def on_predict_batch_end(self, batch, logs=None):
            self.model.stop_predicting = True

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    x = np.arange(20.0).reshape(10, 2)
    for engine in (keras.Model, loop):
        assert engine.predict(model, x, 4, verbose=0, callbacks=[Stop()]).shape == (4, 1)
    y = np.zeros(10)
    ours, theirs = (
        engine.evaluate(model, x, y, 4, verbose=0, callbacks=[Stop()])
        for engine in (loop, keras.Model)
    )
    assert ours == theirs


def test_a_step_of_ones_own_trains_an_uncompiled_model():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    optimizer = keras.optimizers.SGD(0.1)

    def train_step(model, batch):
        x, y = batch
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(x, training=True) - y) ** 2)
        gradients = tape.gradient(loss, model.trainable_weights)
        optimizer.apply_gradients(zip(gradients, model.trainable_weights, strict=True))
        return {"error": loop.mean(loss)}

    x = np.random.default_rng(0).normal(size=(64, 2)).astype("float32")
    y = x @ np.array([[1.0], [-2.0]], "float32")
    history = loop.fit(model, x, y, epochs=20, verbose=0, train_step=train_step)
    assert list(history.history) == ["error"]
    assert history.history["error"][-1] < 1e-2


def test_an_unbound_step_of_keras_itself_is_a_step():
    (scenario,) = find(["no_shuffle"])
    results = []
    for step in (None, keras.Model.train_step):
        model, arguments = prepare(scenario)
        results.append(loop.fit(model, **arguments, verbose=0, train_step=step).history)
    assert results[0] == results[1]
