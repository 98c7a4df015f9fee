"""A model with a train_step of its own, class weights, and training on single batches."""

import argparse

import keras
import numpy as np
import tensorflow as tf
from keras import layers


class CustomModel(keras.Model):
    """Adds noise to the inputs while it trains; without the noise it trains as `keras.Model`."""

    def train_step(self, data):
        """Train on one batch and return the running metrics."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        noisy = x + 0.05 * tf.random.normal(tf.shape(x), dtype=x.dtype)  # the line that differs
        with tf.GradientTape() as tape:
            y_pred = self(noisy, training=True)
            loss = self.compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight)
            # Half precision needs larger gradients. `apply` divides by the same factor.
            scaled = self.optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, self.trainable_weights)
        self.optimizer.apply(gradients, self.trainable_weights)
        for metric in self.metrics:
            if metric.name == "loss":
                # A batch counts by its size: the last one of an epoch may be short.
                metric.update_state(loss, sample_weight=tf.shape(x)[0])
            else:
                # All of `compile(metrics=..., weighted_metrics=...)`; only the latter are weighted.
                metric.update_state(y, y_pred, sample_weight=sample_weight)
        return self.get_metrics_result()


def main(epochs):
    """Train with fit, then on single batches, then evaluate."""
    keras.utils.set_random_seed(7)
    random = np.random.default_rng(7)
    x = random.normal(size=(600, 12)).astype("float32")
    y = (x[:, :3].sum(axis=1) > 1).astype("float32")

    inputs = keras.Input(shape=(12,))
    hidden = layers.Dense(32, activation="relu", kernel_regularizer="l2")(inputs)
    model = CustomModel(inputs, layers.Dense(1, activation="sigmoid")(layers.Dropout(0.2)(hidden)))
    model.compile(optimizer="adam", loss="binary_crossentropy", metrics=["accuracy"])

    model.fit(x[:500], y[:500], epochs=epochs, class_weight={0: 1.0, 1: 3.0}, verbose=2)
    for start in range(0, 96, 32):
        print("batch:", model.train_on_batch(x[start : start + 32], y[start : start + 32]))
    print(model.evaluate(x[500:], y[500:], return_dict=True, verbose=0))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=4)
    main(parser.parse_args().epochs)
