"""Models of several outputs: which loss, weight, target and metric belongs to which."""

import keras
import numpy as np
from keras import layers

from compare.scenario import FitArguments, Scenario
from compare.scenarios.first import uniform


def _two_headed() -> keras.Model:
    inputs = keras.Input((10,))
    hidden = layers.Dense(8, activation="relu")(inputs)
    price = layers.Dense(1, name="price")(hidden)
    kind = layers.Dense(3, activation="softmax", name="kind")(hidden)
    return keras.Model(inputs, [price, kind])


def _dict_losses() -> keras.Model:
    model = _two_headed()
    model.compile(
        "adam",
        loss={"price": "mse", "kind": "sparse_categorical_crossentropy"},
        loss_weights={"price": 0.3, "kind": 2.0},
        metrics={"price": ["mae", "mae"], "kind": "accuracy"},
        weighted_metrics={"kind": ["accuracy"]},
    )
    return model


def _list_losses() -> keras.Model:
    model = _two_headed()
    model.compile(
        "sgd",
        loss=["mae", keras.losses.SparseCategoricalCrossentropy()],
        loss_weights=[1.0, 0.5],
        metrics=["mse", None],
        weighted_metrics=[["mse"], ["accuracy"]],
    )
    return model


def _one_loss_only() -> keras.Model:
    model = _two_headed()
    model.compile("sgd", loss=["mse", None], metrics=[["mae"], None])
    return model


def _two_targets(samples: int = 100) -> dict[str, np.ndarray]:
    random = np.random.default_rng(3)
    return {"price": random.normal(size=samples), "kind": random.integers(0, 3, samples)}


def _named_targets() -> FitArguments:
    return {"x": uniform(100)[0], "y": _two_targets(), "epochs": 2, "validation_split": 0.2}


def _single_samples() -> FitArguments:
    return {"x": uniform(60)[0], "y": _two_targets(60), "epochs": 2, "batch_size": 1}


def _dict_losses_in_loops() -> keras.Model:
    model = _dict_losses()
    model.steps_per_execution = 2
    return model


def _listed_targets() -> FitArguments:
    weight = np.random.default_rng(4).uniform(size=96)
    targets = list(_two_targets(96).values())
    return {"x": uniform(96)[0], "y": targets, "sample_weight": weight, "epochs": 2}


def _first_target_only() -> FitArguments:
    return {"x": uniform(100)[0], "y": [_two_targets()["price"]], "epochs": 2}


def _dict_outputs() -> keras.Model:
    inputs = keras.Input((10,))
    outputs = {
        "b": layers.Dense(1, activation="sigmoid", name="b")(inputs),
        "a": layers.Dense(1, activation="sigmoid", name="a")(inputs),
    }
    model = keras.Model(inputs, outputs)
    model.compile("sgd", {"a": "mse", "b": "binary_crossentropy"}, metrics={"b": ["accuracy"]})
    return model


def _dict_targets() -> FitArguments:
    x, y = uniform(100)
    weight = np.random.default_rng(4).uniform(size=100)
    return {
        "x": x,
        "y": {"a": x.mean(axis=1), "b": y},
        "sample_weight": {"a": weight, "b": weight**2},
        "epochs": 2,
        "validation_split": 0.2,
    }


def _second_target_missing() -> FitArguments:
    targets = [_two_targets()["price"], None]
    return {"x": uniform(100)[0], "y": targets, "epochs": 2}


OUTPUTS = (
    Scenario("dict_losses", "losses, loss weights and metrics by output name", _dict_losses, _named_targets),
    Scenario("list_losses", "losses by place, one sample weight for all outputs", _list_losses, _listed_targets),
    Scenario("one_output_without_loss", "a target only where there is a loss", _one_loss_only, _first_target_only),
    Scenario("one_target_is_none", "None in place of a target", _one_loss_only, _second_target_missing),
    Scenario("dict_outputs", "outputs, targets, losses and sample weights by key", _dict_outputs, _dict_targets),
    Scenario("single_samples", "several losses, batches of one: the sum of a log is regrouped", _dict_losses, _single_samples),
    Scenario("single_samples_in_loops", "the same in Keras's own loops, where nothing is", _dict_losses_in_loops, _single_samples),
)  # fmt: skip
