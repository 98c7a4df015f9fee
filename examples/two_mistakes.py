"""A loop as people write it, with two mistakes that are easy to make.

Ask what they are: `glassfit diagnose examples.two_mistakes:scenario --candidate
examples.two_mistakes:fit`.
"""

import keras
import numpy as np
import tensorflow as tf

from compare import Scenario


def fit(model, x, y, batch_size, epochs, **_):
    """Trains; where it leaves `model.fit`, and why, is for `glassfit` to say."""
    loss_of = keras.losses.BinaryCrossentropy()

    @tf.function(reduce_retracing=True)
    def step(x, y):
        with tf.GradientTape() as tape:
            loss = loss_of(y, model(x, training=True))
        gradients = tape.gradient(loss, model.trainable_variables)
        model.optimizer.apply_gradients(zip(gradients, model.trainable_variables))
        return loss

    history = {"loss": []}
    for _epoch in range(epochs):
        losses = [
            step(x[start : start + batch_size], y[start : start + batch_size])
            for start in range(0, len(x), batch_size)
        ]
        history["loss"].append(float(np.mean(losses)))
    return history


def build():
    """A classifier with a regularizer."""
    hidden = keras.layers.Dense(16, "relu", kernel_regularizer="l2")
    output = keras.layers.Dense(1, "sigmoid")
    model = keras.Sequential([keras.Input((8,)), hidden, output])
    model.compile("adam", "binary_crossentropy")
    return model


def data():
    """A hundred samples: the last batch is short."""
    x = np.random.default_rng(0).normal(size=(100, 8)).astype("float32")
    y = (x[:, :1] > 0).astype("float32")
    return {"x": x, "y": y, "batch_size": 32, "epochs": 3, "shuffle": False}


scenario = Scenario("two_mistakes", "a regularizer and a short last batch", build, data)
