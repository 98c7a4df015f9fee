"""Real data, small enough to come along: the sets that ship inside scikit-learn."""

import keras
import numpy as np

from compare.scenario import FitArguments, Scenario


def _digits_cnn() -> keras.Model:
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(16, 3, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def _digits() -> FitArguments:
    from sklearn.datasets import load_digits

    digits = load_digits()
    return {
        "x": digits.images[..., np.newaxis] / 16,
        "y": digits.target,
        "epochs": 3,
        "validation_split": 0.2,
    }


def _breast_cancer_model() -> keras.Model:
    model = keras.Sequential(
        [
            keras.Input((30,)),
            keras.layers.BatchNormalization(),
            keras.layers.Dense(16, activation="relu"),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile("adam", "binary_crossentropy", metrics=["accuracy", keras.metrics.AUC()])
    return model


def _breast_cancer() -> FitArguments:
    from sklearn.datasets import load_breast_cancer

    x, y = load_breast_cancer(return_X_y=True)
    stop = keras.callbacks.EarlyStopping("val_loss", patience=1, restore_best_weights=True)
    counts = np.bincount(y)
    return {
        "x": x,
        "y": y,
        "batch_size": 64,
        "epochs": 6,
        "validation_split": 0.25,
        "class_weight": {label: len(y) / (2 * count) for label, count in enumerate(counts)},
        "callbacks": [stop],
    }


def _diabetes_model() -> keras.Model:
    model = keras.Sequential(
        [
            keras.Input((10,)),
            keras.layers.Dense(32, activation="tanh", kernel_regularizer="l2"),
            keras.layers.Dense(1),
        ]
    )
    model.compile(
        keras.optimizers.RMSprop(0.01), "mse", metrics=["mae"], weighted_metrics=["mse", "mae"]
    )
    return model


def _diabetes() -> FitArguments:
    from sklearn.datasets import load_diabetes

    x, y = load_diabetes(return_X_y=True)
    y = (y - y.mean()) / y.std()
    weight = np.exp(-np.abs(y))
    return {
        "x": x[:350],
        "y": y[:350],
        "sample_weight": weight[:350],
        "epochs": 5,
        "validation_data": (x[350:], y[350:], weight[350:]),
    }


def _wine_model() -> keras.Model:
    model = keras.Sequential(
        [
            keras.Input((13,)),
            keras.layers.BatchNormalization(),
            keras.layers.Dense(24, activation="relu"),
            keras.layers.Dropout(0.2),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile(
        keras.optimizers.SGD(0.05, momentum=0.9, nesterov=True),
        "categorical_crossentropy",
        metrics=["accuracy", "top_k_categorical_accuracy"],
    )
    return model


def _wine() -> FitArguments:
    from sklearn.datasets import load_wine

    x, y = load_wine(return_X_y=True)
    shuffled = np.random.default_rng(9).permutation(len(x))  # the file is sorted by class
    return {
        "x": x[shuffled],
        "y": keras.utils.to_categorical(y[shuffled]),
        "batch_size": 16,
        "epochs": 4,
        "validation_split": 0.3,
    }


REAL_DATA = (
    Scenario("digits_cnn", "a small CNN with dropout on 8x8 digits", _digits_cnn, _digits),
    Scenario("breast_cancer", "class weights, early stopping, best weights restored", _breast_cancer_model, _breast_cancer),
    Scenario("diabetes", "regression with sample weights, in validation too", _diabetes_model, _diabetes),
    Scenario("wine", "three classes, one-hot, Nesterov momentum", _wine_model, _wine),
)  # fmt: skip
