"""Engines with a known mistake: a proof that cannot fail proves nothing."""

from importlib import import_module

import keras
import numpy as np
import pytest
import tensorflow as tf
from references import keras_trace

import loop
from compare import differences, find, parity, record
from compare.errors import CannotCompareError
from compare.scenario import Scenario
from loop import metrics, schedule, step
from loop._keras import loss_tracker, output_metrics
from loop.callbacks import Callbacks
from loop.data import arrays
from loop.data.arrays import ArraySource
from loop.types import OutputMetrics

objective = import_module("loop.objective")  # `loop.objective` is its function

pytestmark = pytest.mark.bits


def differences_of(name, candidate=loop.fit):
    """Return the differences between a candidate, trained once, and Keras."""
    (scenario,) = find([name])
    return differences(keras_trace(scenario), record(scenario, candidate)[0])[1]


@pytest.mark.long
def test_two_swapped_batches_are_found(monkeypatch):
    honest = ArraySource.new_pass

    def swapped(self):
        batches, size = honest(self), self.batch_size
        arrays, order = batches.inputs
        first, second, others = order[:size], order[size : 2 * size], order[2 * size :]
        batches.inputs = arrays, tf.concat([second, first, others], axis=0)
        return batches

    monkeypatch.setattr(ArraySource, "new_pass", swapped)
    found = parity(*find(["no_shuffle"])).differences
    assert found
    assert any(one.where.startswith("variables/weights") for one in found)


def test_a_dropped_regularization_loss_is_found(monkeypatch):
    monkeypatch.setattr(objective, "added_losses", lambda model: [])
    assert any(one.where == "history/loss/0" for one in differences_of("added_losses"))


def test_batch_losses_averaged_without_their_sizes_are_found(monkeypatch):
    def average_of_averages(model, loss, x):
        loss_tracker(model).update_state(loss)

    monkeypatch.setattr(step, "track_loss", average_of_averages)
    found = differences_of("last_partial_batch")
    assert any(one.where == "history/loss/0" for one in found)
    assert not any(one.where.startswith("variables/weights") for one in found), "only logs part"


def test_validation_with_the_training_flag_on_is_found():
    def test_step(model, batch):
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
        y_pred = model(x, training=True)
        step.track_loss(model, objective.objective(model, x, y, y_pred), x)
        return step.update_metrics(model, x, y, y_pred, sample_weight)

    found = differences_of(
        "wine", lambda model, **arguments: loop.fit(model, **arguments, test_step=test_step)
    )
    assert any(one.where == "history/val_loss/0" for one in found)


@pytest.mark.long
def test_weights_off_by_the_last_bit_are_found():
    def nudged(model, **arguments):
        history = loop.fit(model, **arguments)
        kernel = model.weights[0]
        values = kernel.numpy()
        values[0, 0] = np.nextafter(values[0, 0], np.float32(np.inf))
        kernel.assign(values)
        return history

    found = parity(*find(["no_shuffle"]), nudged).differences
    where = "variables/weights/0/sequential/dense/kernel[0]"
    assert [one.where for one in found] == [where, f"unwatched/{where}"]


def forget(*_, **__):
    """Does nothing, in place of something."""


def backwards(samples, *_):
    return lambda: tf.range(samples, dtype=tf.int64)[::-1]


def without_weights(model, y, y_pred):
    plain, weighted = output_metrics(model, y, y_pred)
    return OutputMetrics([a + b for a, b in zip(plain, weighted, strict=True)], [])


# What is replaced, by what, and where the difference shows in which scenario.
PLANTED = {
    "a hook that no scenario of this kind has": (
        (Callbacks, "on_test_begin", forget),
        ("no_shuffle", None),
    ),
    "a dropped hook": ((Callbacks, "on_test_end", forget), ("validation_split", "events/(length)")),
    "averages left out": (
        (keras.optimizers.Optimizer, "finalize_variable_values", forget),
        ("averages", "variables/weights"),
    ),
    "a lost warning": (
        (schedule, "_warn_out_of_data", forget),
        ("steps_beyond_the_pass", "warnings/(length)"),
    ),
    "another order": ((arrays, "orders", backwards), ("last_partial_batch", "variables/weights")),
    "metrics without weights": (
        (metrics, "output_metrics", without_weights),
        ("diabetes", "history/"),
    ),
    "metrics never reset": (
        (keras.Model, "reset_metrics", forget),
        ("no_shuffle", "history/loss/1"),
    ),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_found(monkeypatch, fault):
    replaced, (scenario, where) = PLANTED[fault]

    def faulty(model, **arguments):  # only the candidate has the fault
        with monkeypatch.context() as patch:
            patch.setattr(*replaced)
            return loop.fit(model, **arguments)

    found = [one.where for one in differences_of(scenario, faulty)]
    if where is None:  # the control: what is not used cannot part
        assert found == []
    else:
        assert any(one.startswith(where) for one in found), found


@pytest.mark.sampled
@pytest.mark.parametrize(
    "candidate",
    [lambda model, **_: None, lambda model, **_: keras.callbacks.History(), lambda model, **_: {}],
    ids=["nothing", "an_empty_history", "an_empty_dict"],
)
def test_a_candidate_that_never_trains_is_never_identical(candidate):
    with pytest.raises(CannotCompareError):
        parity(*find(["run_eagerly"]), candidate)


def test_a_reference_that_does_not_repeat_itself_is_what_is_reported():
    def build():
        inputs = keras.Input((10,))
        noisy = keras.layers.Lambda(lambda x: x + np.random.default_rng().normal())(inputs)
        model = keras.Model(inputs, keras.layers.Dense(1)(noisy))
        model.compile("sgd", "mse", run_eagerly=True)
        return model

    def data():
        return {"x": tf.ones((8, 10)), "y": tf.zeros((8, 1))}

    verdict = parity(Scenario("noisy", "draws from the system's entropy", build, data))
    assert not verdict.identical
    assert "does not repeat itself" in str(verdict)
