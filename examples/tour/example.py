"""The training that the tour looks at: 70 samples, batches of 32, 32 and 6, an L2, a class weight.

Train it with a rung: `glassfit parity examples.tour.example:scenario --candidate
examples.tour.r04_added_losses:fit`.
"""

import keras
import numpy as np

from compare import Scenario


def build():
    """Return a classifier with an L2 and with dropout, trained on the squared error."""
    layers = [
        keras.Input((8,)),
        keras.layers.Dense(16, "relu", kernel_regularizer=keras.regularizers.L2(0.01)),
        keras.layers.Dropout(0.25),
        keras.layers.Dense(1, "sigmoid"),
    ]
    model = keras.Sequential(layers)
    model.compile(keras.optimizers.SGD(0.5), "mse", metrics=["accuracy"])
    return model


def data():
    """Return the arguments of fit: 70 samples to train on and 30 to validate on."""
    x = np.random.default_rng(0).normal(size=(100, 8)).astype("float32")
    y = (x[:, 0] + x[:, 1] > 1).astype("float32")  # a quarter of them is 1
    return {
        "x": x[:70],
        "y": y[:70],
        "batch_size": 32,
        "epochs": 3,
        "class_weight": {1: 3.0},
        "validation_data": (x[70:], y[70:]),
    }


scenario = Scenario("tour", "an L2, dropout, a class weight, a short last batch", build, data)
