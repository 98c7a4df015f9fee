"""A step of your own for `loop.fit`: train on the signs of the gradients."""

import keras
import numpy as np
import tensorflow as tf

import loop
from loop.objective import objective
from loop.step import forward, track_loss, update_metrics


def signed_step(model, batch):
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
    scale = model.optimizer.scale_loss  # multiplies in half precision; `apply` divides again
    with tf.GradientTape() as tape:
        y_pred = forward(model, x, training=True)
        loss = objective(model, x, y, y_pred, sample_weight)
        track_loss(model, loss, x)
        scaled = scale(loss)
    weights = model.trainable_weights
    gradients = tape.gradient(scaled, weights)  # None for a weight that the loss does not use
    gradients = [g if g is None else scale(sign(g)) for g in gradients]  # the line that differs
    model.optimizer.apply(gradients, weights)
    return update_metrics(model, x, y, y_pred, sample_weight)


def sign(gradient):  # inf and NaN stay: in half precision they tell `apply` to skip the step
    return tf.where(tf.math.is_finite(gradient), tf.sign(gradient), gradient)


def main():
    """Train a small classifier with it."""
    keras.utils.set_random_seed(0)
    x = np.random.uniform(size=(1000, 10))
    y = (x.sum(axis=1) > 5).astype("float32")
    layers = [keras.layers.Dense(16, "relu"), keras.layers.Dense(1, "sigmoid")]
    model = keras.Sequential(layers)
    model.compile(keras.optimizers.SGD(0.001), "binary_crossentropy", metrics=["accuracy"])
    loop.fit(model, x, y, epochs=5, validation_split=0.2, verbose=2, train_step=signed_step)


if __name__ == "__main__":
    main()
