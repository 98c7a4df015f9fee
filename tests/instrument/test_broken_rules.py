"""Every rule of fit is broken once: each must be located, and named. Minutes: `make faults`."""

import dataclasses
import functools
from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import loop
from compare import SCENARIOS
from compare.diagnosis.diagnose import diagnose_in
from compare.diagnosis.layout import capture_of
from compare.diagnosis.retrain import Retraining
from compare.diagnosis.rules import BROKEN
from compare.location.divergence import first_difference
from compare.location.locate import locate_in
from compare.location.tapped import TappedTrainings
from compare.recording.trials import Trainings
from compare.scenario import Scenario

pytestmark = pytest.mark.slow


def build(metrics=("mae",)):
    inputs = keras.Input((6,))
    values = layers.Dense(5, "relu", kernel_regularizer="l2")(inputs)
    values = layers.Dropout(0.3)(layers.BatchNormalization()(values))
    model = keras.Model(inputs, layers.Dense(1, "sigmoid")(values))
    model.compile(
        keras.optimizers.Adam(0.01, clipnorm=0.02, weight_decay=0.1, use_ema=True),
        "binary_crossentropy",
        metrics=list(metrics),
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


def largest(y, y_pred):
    """Return the batch's largest prediction for each sample: the mean depends on the batches."""
    return tf.fill(tf.shape(y)[:1], tf.reduce_max(y_pred))


BATCHED = dataclasses.replace(BUSY, name="batched", build=partial(build, ["mae", largest]))


def build_classifier():
    model = keras.Sequential([keras.Input((6,)), layers.Dense(1, "sigmoid")])
    # Only a weighted metric tells a forgotten class_weight from weights forgotten in the loss.
    model.compile("sgd", "binary_crossentropy", weighted_metrics=["mse"])
    return model


def data_of_classes():
    x, y = (data()[name] for name in ("x", "y"))
    slower = keras.callbacks.LearningRateScheduler(lambda epoch: 0.2 / (1 + epoch))
    return {
        "x": x[:30],
        "y": y[:30, 0],
        "class_weight": {0: 1.0, 1: 3.0},
        "batch_size": 8,
        "epochs": 3,
        "initial_epoch": 1,
        "validation_data": (x[30:], y[30:, 0]),
        "callbacks": [slower],
    }


CLASSES = Scenario("classes", "class weights and a schedule", build_classifier, data_of_classes)


def build_outputs():
    inputs = keras.Input((5,))
    words = layers.Embedding(7, 4, mask_zero=True)(inputs)
    each, all_ = layers.Dense(1, name="each"), layers.Dense(2, name="all")
    model = keras.Model(inputs, [each(words), all_(layers.GlobalAveragePooling1D()(words))])
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1))
    model.compile(optimizer, ["mse", "mse"], loss_weights=[0.3, 2.0])
    return model


def data_of_outputs():
    random = np.random.default_rng(5)
    y = [random.normal(size=size).astype("float32") for size in ((24, 5, 1), (24, 2))]
    return {"x": random.integers(0, 7, (24, 5)), "y": y, "batch_size": 8, "epochs": 2}


OUTPUTS = Scenario("outputs", "two of them, one with a mask", build_outputs, data_of_outputs)


def build_stateful():
    model = keras.Sequential(
        [keras.Input(batch_shape=(4, 3, 2)), layers.LSTM(3, stateful=True), layers.Dense(1)]
    )
    model.compile("sgd", "mse", metrics=["mae"])
    return model


def data_of_sequences():
    x = np.random.default_rng(5).normal(size=(12, 3, 2)).astype("float32")
    return {"x": x, "y": x[:, 0, :1], "batch_size": 4, "epochs": 2, "shuffle": False}


STATEFUL = Scenario("stateful", "states outlast an epoch", build_stateful, data_of_sequences)

PLACES = {
    "permutation": (BUSY, 1, 0, "batch"),
    "plain_metrics": (BUSY, 1, 0, "metrics"),
    "regularization_losses": (BUSY, 1, 0, "loss"),
    "training_flag": (BUSY, 1, 0, "prediction"),
    "batch_statistics": (BUSY, 1, 0, "prediction"),
    "states_reset": (STATEFUL, 1, 0, "prediction"),
    "batch_size_weights": (BUSY, 1, 0, "metrics"),
    "epoch_mean": (BUSY, 1, 1, "metrics"),
    "final_averages": (BUSY, 2, None, "end"),
    "gradient_clipping": (BUSY, 1, 0, "update"),
    "last_partial_batch": (BUSY, 1, 3, "batch"),
    "metric_reset": (BUSY, 2, 0, "metrics"),
    "output_metric_reset": (BUSY, 2, 0, "metrics"),
    "metrics_before_update": (BUSY, 1, 0, "metrics"),
    "metrics_of_a_second_pass": (BUSY, 1, 0, "metrics"),
    "one_forward_pass": (BUSY, 1, 0, "begun"),
    "optimizer_epsilon": (BUSY, 1, 0, "update"),
    "sample_weights": (BUSY, 1, 0, "loss"),
    "shuffle": (BUSY, 1, 0, "batch"),
    "validation_batch_size": (BATCHED, 1, None, "metrics"),
    "validation_regularization": (BUSY, 1, None, "metrics"),
    "validation_tail": (BUSY, 1, 0, "batch"),
    "validation_training_flag": (BUSY, 1, None, "validation"),
    "weight_decay": (BUSY, 1, 0, "update"),
    "weighted_metrics": (BUSY, 1, 0, "metrics"),
    "weights_in_numerator_only": (BUSY, 1, 0, "loss"),
    "class_weights": (CLASSES, 1, 0, "loss"),
    "same_rank": (CLASSES, 1, 0, "batch"),  # what the loss is given
    "initial_epoch": (CLASSES, 1, 0, "begun"),  # another learning rate
    "callbacks": (CLASSES, 1, 0, "begun"),
    "validation": (CLASSES, 1, None, "logs"),
    "loss_weights": (OUTPUTS, 0, 0, "loss"),
    "masks": (OUTPUTS, 0, 0, "loss"),
    "loss_scaling": (OUTPUTS, 0, 0, "loss"),
    "mean_over_samples": (CLASSES, 1, 0, "loss"),
    "from_logits": (CLASSES, 1, 0, "loss"),
    "optimizer_state": (BUSY, 1, None, "between epochs"),
    "metrics_of_the_epoch": (BUSY, 1, 1, "metrics"),
    "arguments_of_the_loss": (CLASSES, 1, 0, "batch"),  # what the loss is given
    "loss_after_the_epoch": (CLASSES, 1, 3, "metrics"),
    "metrics_of_batches": (BUSY, 1, 1, "metrics"),
    "same_rank_in_metrics": (CLASSES, 1, 0, "metrics"),
    "logged_regularization": (BUSY, 1, 0, "metrics"),
    "epoch_sum": (BUSY, 1, 0, "metrics"),
}
"""In which scenario each rule is broken and where that parts: epoch, step in it, stage."""


COMPILED = ("one_forward_pass", "validation_tail", "loss_scaling")
"""Rules that are named with compiled steps; with the others, tracing would take all the time."""


@functools.cache
def eagerly(scenario):
    def build():
        model = scenario.build()
        model.run_eagerly = True
        return model

    return dataclasses.replace(scenario, build=build)


@functools.cache
def by_keras(scenario):
    """Return the trainings of a scenario; those without a candidate are shared by all rules."""
    return Retraining(TappedTrainings(Trainings(scenario, keras.Model.fit), capture_of))


def broken(rule, scenario):
    return by_keras(scenario).by_another(BROKEN[rule].fit)


def test_every_rule_is_broken_here():
    assert set(PLACES) == set(BROKEN)


@pytest.mark.bits
@pytest.mark.parametrize("rule", PLACES)
def test_a_broken_rule_is_located(rule):
    scenario, *place = PLACES[rule]
    found = locate_in(broken(rule, scenario).tapped)
    assert [found.epoch, found.step, found.stage] == place, found
    assert not found.disturbed


@pytest.mark.bits
@pytest.mark.parametrize("rule", PLACES)
def test_a_broken_rule_is_named(rule):
    scenario = PLACES[rule][0] if rule in COMPILED else eagerly(PLACES[rule][0])
    found = diagnose_in(broken(rule, scenario))
    assert [(verdict.rule, verdict.exact) for verdict in found] == [(rule, True)], found
    assert found.rest == "nothing"


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_no_scenario_raises_a_false_alarm_and_no_tap_one(scenario):
    trainings = Trainings(scenario, loop.fit)
    trainings.by_reference("batches")  # has what the other recordings of Keras would have
    tapped = TappedTrainings(trainings)
    assert locate_in(tapped) is None
    theirs, ours = tapped.both()
    disturbed = theirs.disturbed(trainings.by_reference("epochs").trace) or ours.disturbed(
        trainings.by_candidate("epochs").trace
    )
    # XLA fuses otherwise where a tap reads a tensor; `locate` says so then.
    assert scenario.xla or not disturbed
    assert disturbed or first_difference(theirs, ours) is None
