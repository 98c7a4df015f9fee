"""A loop of one's own, held to `model.fit`: `pytest examples/test_my_loop.py`."""

import keras
import numpy as np
import tensorflow as tf

from compare import Scenario


def my_fit(model, x, y, batch_size, epochs, **_):
    """A loop that gets it right: regularization, sizes of batches, a new mean every epoch."""
    loss_of, mean = keras.losses.MeanSquaredError(), keras.metrics.Mean()

    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape:
            loss = loss_of(y, model(x, training=True)) + tf.add_n(model.losses)
        gradients = tape.gradient(loss, model.trainable_variables)
        model.optimizer.apply_gradients(zip(gradients, model.trainable_variables))
        mean.update_state(loss, sample_weight=tf.shape(x)[0])

    history = {"loss": []}
    for _epoch in range(epochs):
        mean.reset_state()
        for batch in tf.data.Dataset.from_tensor_slices((x, y)).batch(batch_size):
            step(*batch)
        history["loss"].append(float(mean.result()))
    return history


def build():
    """A small network with a regularizer."""
    hidden = keras.layers.Dense(8, "relu", kernel_regularizer="l2")
    model = keras.Sequential([keras.Input((5,)), hidden, keras.layers.Dense(1)])
    model.compile("adam", "mse")
    return model


def data():
    """Seventy samples: the last batch is short."""
    x = np.random.default_rng(0).normal(size=(70, 5)).astype("float32")
    return {"x": x, "y": x[:, :1] ** 2, "batch_size": 32, "epochs": 3, "shuffle": False}


def test_my_loop_is_model_fit(same_as_fit):
    same_as_fit(Scenario("mine", "a regularizer and a short last batch", build, data), my_fit)
