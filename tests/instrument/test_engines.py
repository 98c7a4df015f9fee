"""What a fit takes, taken apart: the split of its time, other sizes, one engine by itself."""

import time
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from compare.scenario import Scenario
from compare.timing.apart import in_full, per_epoch_and_step, with_fit_and_step
from compare.timing.engines import AUTO, MODEL_FIT
from compare.timing.growth import grown
from compare.timing.resize import FixedSizeError, Size, resized, wider
from compare.timing.split import PARTS, Event, by_part, shares
from compare.timing.training import First, first_fits, new_training


def build():
    layers = keras.layers
    model = keras.Sequential([keras.Input((6,)), layers.Dense(8, "relu"), layers.Dense(1)])
    model.compile("adam", "mse", metrics=["mae"])
    return model


def data():
    x = np.random.default_rng(2).normal(size=(48, 6)).astype("float32")
    return {"x": x, "y": x[:, :1], "batch_size": 8, "epochs": 2}


SMALL = Scenario("small", "six steps an epoch", build, data)


class Sleeps(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        time.sleep(0.7)


@pytest.mark.slow
def test_the_time_of_a_fit_goes_where_it_goes():
    model = build()
    slow = tf.data.Dataset.from_tensor_slices((data()["x"], data()["y"])).batch(8)
    slow = slow.map(lambda x, y: (tf.numpy_function(_late, [x], tf.float32), y))
    slow = slow.map(lambda x, y: (tf.ensure_shape(x, [None, 6]), y))
    model.fit(**data(), verbose=0)
    in_callbacks = shares(lambda: model.fit(**data(), callbacks=[Sleeps()], verbose=0))
    assert in_callbacks["callbacks"] > 0.5
    model.fit(slow, shuffle=False, verbose=0)
    in_data = shares(lambda: model.fit(slow, shuffle=False, verbose=0))
    assert in_data["data"] > 0.5
    for found in (in_callbacks, in_data):
        assert set(found) == set(PARTS)
        assert sum(found.values()) == pytest.approx(1)
        assert min(found.values()) >= 0


def _late(x):
    time.sleep(0.2)
    return x


def test_time_counts_once_for_the_innermost_part():
    events = [
        Event(0, 100, "EagerKernelExecute"),
        Event(10, 40, "MakeIterator::Prefetch"),
        Event(20, 30, "MakeIterator::Map"),
        Event(200, 300, "glassfit callbacks"),
        Event(210, 290, "EagerKernelExecute"),
        Event(220, 230, "glassfit reads"),
    ]
    parts = by_part(events)
    assert parts == {"data": 30, "compute": 70, "callbacks": 90, "reads": 10, "dispatch": 0}


def test_a_training_grows_by_rows_and_batches():
    twice = resized(data(), Size(steps=2, epochs=5))
    assert (len(twice["x"]), twice["batch_size"], twice["epochs"]) == (96, 8, 5)
    np.testing.assert_array_equal(twice["y"][48:], data()["y"])
    larger = resized(data(), Size(batch=4))
    assert (len(larger["x"]), larger["batch_size"]) == (192, 32)
    with pytest.raises(FixedSizeError, match="only arrays"):
        resized({"x": tf.data.Dataset.range(3)}, Size(steps=2))
    with pytest.raises(FixedSizeError, match="steps_per_epoch"):
        resized(data() | {"steps_per_epoch": 3}, Size(steps=2))


def test_a_wider_model_has_the_outputs_it_had():
    wide = wider(build(), 4)
    assert [layer.units for layer in wide.layers] == [32, 1]
    assert wide.loss == "mse"
    with pytest.raises(FixedSizeError, match="none of its layers"):
        wider(keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]), 2)


@pytest.mark.long
@pytest.mark.parametrize("engine", [MODEL_FIT, AUTO], ids=lambda engine: engine.name)
def test_an_engine_is_taken_apart(engine):
    training = new_training(SMALL, engine)
    first = first_fits(training)
    assert first.steps == 12
    cost = in_full(training, first, [training.seconds() for _ in range(3)])
    assert 1 <= cost.traces <= 3
    assert cost.first > max(cost.seconds)
    assert cost.per_step is None or 0 < cost.per_step < cost.first
    assert cost.peak > 2**27
    assert set(cost.shares) == set(PARTS)
    seconds, steps = grown(training, Size(batch=4, epochs=2))
    assert steps == 12
    assert seconds > 0


@pytest.mark.parametrize("shorter", [1, 0.25])
def test_an_epoch_and_a_step_are_told_apart_where_the_last_batch_is_short(shorter):
    def quickest(size):
        data_of_50 = {"x": np.ones((50, 6), np.float32), "batch_size": 8}
        samples = len(resized(data_of_50, size)["x"])
        steps = size.epochs * -(-samples // 8)
        return size.epochs * 0.5 + 0.01 * steps, steps

    per_epoch, per_step = per_epoch_and_step(quickest, shorter)
    assert (per_epoch, per_step) == (pytest.approx(0.5), pytest.approx(0.01))


def test_what_a_fit_takes_beside_its_steps_is_found_where_the_optimizer_counts_none():
    training = SimpleNamespace(quickest=lambda size: (0.5 + 0.01 * 400 * size.steps, 0))
    cost = with_fit_and_step(400)(training, First(9.0, traces=2, steps=0), [4.6, 4.5])
    assert (cost.per_epoch, cost.per_step) == (pytest.approx(0.5), pytest.approx(0.01))
    assert (cost.first, cost.seconds, cost.traces) == (9.0, [4.6, 4.5], 2)


def test_an_epoch_and_a_step_are_not_told_apart_by_noise_or_where_no_step_is_counted():
    assert per_epoch_and_step(lambda size: (float(size.epochs), 0)) == (None, None)
    assert per_epoch_and_step(lambda size: (1.0, 8 * size.epochs * size.steps)) == (None, None)
