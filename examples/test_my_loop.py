"""Test your own training loop against `model.fit`: `pytest examples/test_my_loop.py`."""

import keras
import numpy as np
import tensorflow as tf

from compare import Scenario


def my_fit(model, x, y, batch_size, epochs, **_):
    """Train as `model.fit` does on arrays with `shuffle=False`, one loss and no metrics.

    Validation, sample weights, masks, metrics and averaged weights take more: see docs/reasons.md.
    """
    loss_of, mean = keras.losses.MeanSquaredError(), keras.metrics.Mean()

    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape:
            # fit trains on the sum of the loss and what regularizers and `add_loss` add.
            loss = keras.ops.sum([loss_of(y, model(x, training=True)), *model.losses])
            scaled = model.optimizer.scale_loss(loss)  # for half precision
        gradients = tape.gradient(scaled, model.trainable_variables)
        model.optimizer.apply(gradients, model.trainable_variables)
        mean.update_state(loss, sample_weight=tf.shape(x)[0])  # a batch counts by its size

    history = {"loss": []}
    for _epoch in range(epochs):
        mean.reset_state()
        for batch in tf.data.Dataset.from_tensor_slices((x, y)).batch(batch_size):
            step(*batch)
        history["loss"].append(float(mean.result()))
    return history


def build():
    """Return a small network with a regularizer."""
    hidden = keras.layers.Dense(8, "relu", kernel_regularizer="l2")
    model = keras.Sequential([keras.Input((5,)), hidden, keras.layers.Dense(1)])
    model.compile("adam", "mse")
    return model


def data():
    """Return the arguments of fit: seventy samples, so that the last batch is short."""
    x = np.random.default_rng(0).normal(size=(70, 5)).astype("float32")
    return {"x": x, "y": x[:, :1] ** 2, "batch_size": 32, "epochs": 3, "shuffle": False}


def test_my_loop_is_model_fit(same_as_fit):
    same_as_fit(Scenario("mine", "a regularizer and a short last batch", build, data), my_fit)
