"""Faults are planted, one rule of fit broken at a time: each must be located, and named."""

import dataclasses
import functools
import pydoc
import runpy
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import loop
from compare import SCENARIOS, Recorder, assert_same, find, record
from compare.broken import BROKEN, RULES
from compare.diagnose import diagnose
from compare.divergence import locate
from compare.heat import heat_of
from compare.scenario import Scenario
from compare.taps import fingerprint
from compare.ulps import farthest, ulps_between


def build():
    inputs = keras.Input((6,))
    values = layers.Dense(5, "relu", kernel_regularizer="l2")(inputs)
    values = layers.Dropout(0.3)(layers.BatchNormalization()(values))
    model = keras.Model(inputs, layers.Dense(1, "sigmoid")(values))
    model.compile(
        keras.optimizers.Adam(0.01, clipnorm=0.02, weight_decay=0.1, use_ema=True),
        "binary_crossentropy",
        metrics=["mae"],
        weighted_metrics=["accuracy"],
    )
    return model


def data():
    random = np.random.default_rng(5)
    x = random.normal(size=(40, 6)).astype("float32")
    return {
        "x": x,
        "y": (x[:, :1] > 0).astype("float32"),
        "sample_weight": random.uniform(0.2, 2.0, 40).astype("float32"),
        "batch_size": 8,
        "epochs": 3,
        "initial_epoch": 1,
        "validation_split": 0.25,
    }


BUSY = Scenario("busy", "a bit of everything, 4 steps an epoch, the last one short", build, data)


def build_lean():
    hidden = layers.Dense(5, "relu", kernel_regularizer="l2")
    model = keras.Sequential([keras.Input((6,)), hidden, layers.Dropout(0.3), layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


def data_lean():
    arguments = data()
    return {name: arguments[name] for name in ("x", "y", "batch_size")} | {"epochs": 2}


LEAN = Scenario("lean", "what trains in no time, 5 steps an epoch", build_lean, data_lean)

PLACES = {
    "permutation": (1, 0, "batch"),
    "plain_metrics": (1, 0, "metrics"),
    "regularization_losses": (1, 0, "loss"),
    "training_flag": (1, 0, "prediction"),
    "batch_size_weights": (1, 0, "metrics"),
    "epoch_mean": (1, 1, "metrics"),
    "final_averages": (2, 3, "weights"),
    "gradient_clipping": (1, 0, "update"),
    "last_partial_batch": (1, 3, "batch"),
    "metric_reset": (2, 0, "metrics"),
    "metrics_before_update": (1, 0, "metrics"),
    "one_forward_pass": (1, 0, "begun"),
    "optimizer_epsilon": (1, 0, "update"),
    "sample_weights": (1, 0, "loss"),
    "shuffle": (1, 0, "batch"),
    "validation_batch_size": (2, None, "metrics"),  # the sums of epoch 1 round to the same
    "validation_regularization": (1, None, "metrics"),
    "validation_tail": (1, 0, "batch"),
    "validation_training_flag": (1, 3, "validation"),
    "weight_decay": (1, 0, "update"),
    "weighted_metrics": (1, 0, "metrics"),
    "weights_in_numerator_only": (1, 0, "loss"),
}
"""Where each rule parts when it is broken: epoch, step in it, stage."""


def test_where_a_loop_leaves_fit_is_found_inside_its_compiled_calls():
    found = locate(LEAN, BROKEN["training_flag"].fit)
    assert (found.epoch, found.step, found.stage) == (0, 0, "prediction"), found
    found = locate(LEAN, BROKEN["metric_reset"].fit)
    assert (found.epoch, found.step, found.stage) == (1, 0, "metrics"), found


@pytest.mark.slow
@pytest.mark.parametrize("rule", PLACES)
def test_a_broken_rule_is_located(rule):
    found = locate(BUSY, BROKEN[rule].fit)
    assert (found.epoch, found.step, found.stage) == PLACES[rule], found
    assert not found.disturbed


@functools.cache
def _trace(rule):
    fit = BROKEN[rule].fit if rule else keras.Model.fit
    trace = record(BUSY, fit, "epochs")[0]
    return {"history": trace.history, "variables": trace.variables}


@pytest.mark.slow
def test_every_broken_rule_gives_bits_of_its_own():
    named = {repr(_trace(rule)["history"]): rule for rule in PLACES if rule != "final_averages"}
    assert len(named) == len(PLACES) - 1  # that one only shows in the weights
    assert repr(_trace(None)["history"]) not in named


def test_a_rule_is_named_by_the_bits_it_gives_and_the_missing_line_is_shown():
    some = [BROKEN[rule] for rule in ("epoch_mean", "regularization_losses", "training_flag")]
    (verdict, *_) = diagnose(LEAN, BROKEN["regularization_losses"].fit, rules=some)
    assert (verdict.rule, verdict.exact) == ("regularization_losses", True)
    assert "model.losses" in verdict.line
    assert verdict.line in str(verdict)


@pytest.mark.slow
def test_two_mistakes_are_named_together_as_the_readme_shows():
    example = runpy.run_path(str(Path(__file__).parent.parent / "examples" / "two_mistakes.py"))
    (verdict, *_) = diagnose(example["scenario"], example["fit"])
    assert (verdict.rule, verdict.exact) == ("regularization_losses+batch_size_weights", True)


@pytest.mark.slow
@pytest.mark.parametrize("rule", PLACES)
def test_every_rule_is_named(rule):
    (verdict, *_) = diagnose(BUSY, BROKEN[rule].fit)
    assert (verdict.rule, verdict.exact) == (rule, True)


@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_no_scenario_raises_a_false_alarm(scenario):
    assert locate(scenario) is None


def test_the_weights_of_two_trainings_are_compared_step_by_step():
    heat = heat_of(LEAN, BROKEN["regularization_losses"].fit)
    assert heat.steps == list(range(10))
    kernel = heat.ulps[heat.variables.index("sequential/dense/kernel")]
    assert kernel[0] == 0
    assert (kernel[1:] > 0).all()
    (seeds,) = (heat.ulps[i] for i, one in enumerate(heat.variables) if "seed" in one)
    assert not seeds.any()
    assert "part before step 1, in sequential/dense/kernel first" in str(heat)


def test_what_is_the_same_has_no_place_and_no_verdict():
    assert locate(LEAN) is None
    assert diagnose(LEAN) == []


def hand_written(model, x, y, batch_size, epochs, **_):
    """A loop as people write it: it returns plain lists, and calls no callback."""
    history = {"loss": []}
    for _ in range(epochs):
        model.reset_metrics()
        for start in range(0, len(x), batch_size):
            rows = slice(start, start + batch_size)
            logs = loop.train_step(model, (x[rows], y[rows]))
        history["loss"].append(float(logs["loss"]))
    return history


def plain():
    model = keras.Sequential([keras.Input((6,)), layers.Dense(1)])
    model.compile("sgd", "mse", run_eagerly=True)
    return model


def of_plain():
    x = np.random.default_rng(5).normal(size=(24, 6)).astype("float32")
    return {"x": x, "y": x[:, :1] * 2, "batch_size": 8, "epochs": 2, "shuffle": False}


PLAIN = Scenario("plain", "a loop of one's own", plain, of_plain)


def test_a_loop_that_returns_plain_lists_is_held_to_history_and_weights():
    assert_same(hand_written, PLAIN)
    shuffled = dataclasses.replace(PLAIN, data=lambda: {**of_plain(), "shuffle": True})
    with pytest.raises(AssertionError, match="epoch 0, step 0, batch: batch/x/0"):
        assert_same(hand_written, shuffled)


def test_a_loop_with_metrics_of_its_own_is_not_blamed_for_them():
    def forgets_the_last_batch(model, x, y, batch_size, epochs, **_):
        mean, history = keras.metrics.Mean(), {"loss": []}
        for _ in range(epochs):
            mean.reset_state()
            for start in range(0, len(x) - batch_size, batch_size):
                rows = slice(start, start + batch_size)
                with tf.GradientTape() as tape:
                    loss = model.loss(y[rows], model(x[rows], training=True))
                gradients = tape.gradient(loss, model.trainable_variables)
                model.optimizer.apply(gradients, model.trainable_variables)
                mean.update_state(loss, sample_weight=batch_size)
            history["loss"].append(float(mean.result()))
        return history

    def compiled():
        model = plain()
        model.compile("sgd", keras.losses.MeanSquaredError(), run_eagerly=True)
        return model

    found = locate(dataclasses.replace(PLAIN, build=compiled), forgets_the_last_batch)
    assert (found.epoch, found.step, found.stage) == (0, 2, "batch"), found


def test_what_parts_only_in_the_hooks_of_batches_parts():
    def deaf(model, callbacks, **arguments):  # to those who listen to batches
        callbacks = [one for one in callbacks if type(one) is not Recorder]
        return loop.fit(model, **arguments, callbacks=callbacks)

    assert locate(PLAIN, deaf).stage not in ("weights", "logs")


def test_ragged_rows_are_tapped_as_well():
    (ragged,) = find(["ragged_tensor"])
    found = locate(ragged, BROKEN["epoch_mean"].fit)
    assert (found.epoch, found.step, found.stage) == (0, 1, "metrics"), found


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int32", "uint8", "bool"])
def test_one_bit_elsewhere_is_another_fingerprint(dtype):
    values = np.random.default_rng(1).integers(0, 2, 50).astype(dtype)
    others = [np.roll(values, 1), values[:-1], np.where(np.arange(50) == 7, 1 - values, values)]
    prints = [int(fingerprint(tf.constant(one.astype(dtype)))) for one in (values, *others)]
    assert len(set(prints)) == 4
    assert int(fingerprint(tf.constant(values.copy()))) == prints[0]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_signs_are_seen_even_where_they_cancel(dtype):
    values = np.random.default_rng(2).normal(size=8).astype(dtype)
    pair = np.array([3, -3], dtype)
    prints = [int(fingerprint(tf.constant(one))) for one in (values, -values, pair, -pair)]
    assert len(set(prints)) == 4


def test_the_farthest_element_counts_and_what_has_no_distance_is_infinitely_far():
    one = np.array([1, 2, 3], np.float32)
    assert farthest(one, one) == 0
    assert farthest(one, np.nextafter(one, np.float32(9)) * [1, 1, 0] + [0, 0, 3]) == np.inf
    assert farthest(one, np.nextafter(one, np.float32(9))) == 1
    assert farthest(one, np.array([1, 2, np.nan], np.float32)) == np.inf
    assert farthest(np.array([1]), np.array([2])) == np.inf
    assert farthest(np.array([1.0]), np.array([-1.0])) == 2 * 0x3FF0000000000000


def test_ulps_are_steps_between_numbers():
    one = np.float32(1)
    assert ulps_between(one, np.nextafter(one, np.float32(2))) == 1
    assert ulps_between(np.float32(0.0), np.float32(-0.0)) == 0
    assert ulps_between(np.float32(-1e-45), np.float32(1e-45)) == 2
    assert ulps_between(one, np.float32(np.nan)) is None


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.rule)
def test_what_a_rule_mirrors_exists(rule):
    assert pydoc.locate(rule.mirrors) is not None
