"""A training loop with two common mistakes, on purpose. Do not copy it.

The command that finds them: `glassfit diagnose examples.two_mistakes:scenario --candidate
examples.two_mistakes:fit`.
"""

import keras
import numpy as np
import tensorflow as tf

from compare import Scenario


def fit(model, x, y, batch_size, epochs, **_):
    """Train; comments mark the two mistakes."""
    loss_of = keras.losses.BinaryCrossentropy()

    @tf.function(reduce_retracing=True)
    def step(x, y):
        with tf.GradientTape() as tape:
            # Mistake 1: the losses of regularizers and `add_loss` are left out. fit trains on
            # keras.ops.sum([loss_of(y, y_pred), *model.losses]).
            loss = loss_of(y, model(x, training=True))
            scaled = model.optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, model.trainable_variables)
        model.optimizer.apply(gradients, model.trainable_variables)
        return loss

    history = {"loss": []}
    for _epoch in range(epochs):
        losses = [
            step(x[start : start + batch_size], y[start : start + batch_size])
            for start in range(0, len(x), batch_size)
        ]
        # Mistake 2: a mean of the means of batches. The last batch is short, and in fit it counts
        # by its size: np.average(losses, weights=sizes_of_batches).
        history["loss"].append(float(np.mean(losses)))
    return history


def build():
    """Return a classifier with a regularizer."""
    hidden = keras.layers.Dense(16, "relu", kernel_regularizer="l2")
    output = keras.layers.Dense(1, "sigmoid")
    model = keras.Sequential([keras.Input((8,)), hidden, output])
    model.compile("adam", "binary_crossentropy")
    return model


def data():
    """Return the arguments of fit: a hundred samples, so that the last batch is short."""
    x = np.random.default_rng(0).normal(size=(100, 8)).astype("float32")
    y = (x[:, :1] > 0).astype("float32")
    return {"x": x, "y": y, "batch_size": 32, "epochs": 3, "shuffle": False}


scenario = Scenario("two_mistakes", "a regularizer and a short last batch", build, data)
