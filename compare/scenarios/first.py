"""The three trainings that users meet first: 1,000 samples of 10 features, one small network."""

import keras
import numpy as np

from compare.scenario import FitArguments, Scenario


def perceptron() -> keras.Model:
    """Return a compiled model: 10 features, 16 hidden units, one probability."""
    model = keras.Sequential(
        [
            keras.Input((10,)),
            keras.layers.Dense(16, activation="relu"),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    return model


def logistic() -> keras.Model:
    """Return a compiled model of one layer for scenarios about data: 10 features, one probability.

    It is traced in half the time of `perceptron`.
    """
    model = keras.Sequential([keras.Input((10,)), keras.layers.Dense(1, activation="sigmoid")])
    model.compile("sgd", "binary_crossentropy")
    return model


def uniform(samples: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    """Return features `[samples, 10]` float64 and random labels `[samples]` int64."""
    random = np.random.default_rng(7)
    return random.uniform(size=(samples, 10)), random.integers(0, 2, size=samples)


def _random_labels() -> FitArguments:
    x, y = uniform()
    held_out = (x[800:], y[800:])
    return {"x": x[:800], "y": y[:800], "batch_size": 32, "epochs": 10, "validation_data": held_out}


def _early_stopping() -> FitArguments:
    stop = keras.callbacks.EarlyStopping(monitor="val_loss", patience=3)
    return {**_random_labels(), "epochs": 20, "callbacks": [stop]}


def _rare_class() -> FitArguments:
    x, _ = uniform()
    y = np.random.default_rng(8).permutation(np.repeat([0, 1], [900, 100]))
    return {
        "x": x[:800],
        "y": y[:800],
        "batch_size": 32,
        "epochs": 10,
        "class_weight": {0: 1, 1: 9},
        "validation_data": (x[800:], y[800:]),
    }


FIRST = (
    Scenario("random_labels", "ten epochs with validation, nothing to learn", perceptron, _random_labels),
    Scenario("early_stopping", "stops on val_loss after three epochs of patience", perceptron, _early_stopping),
    Scenario("rare_class", "900 zeros, 100 ones, the ones weighing nine times", perceptron, _rare_class),
)  # fmt: skip
