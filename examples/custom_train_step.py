"""A model with a train_step of its own, class weights, and training on single batches."""

import argparse

import keras
import numpy as np
import tensorflow as tf
from keras import layers


class CustomModel(keras.Model):
    """Adds noise to the inputs while it trains."""

    def train_step(self, data):
        """One batch, as Keras calls it."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        noisy = x + 0.05 * tf.random.normal(tf.shape(x))
        with tf.GradientTape() as tape:
            y_pred = self(noisy, training=True)
            loss = self.compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight)
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables))
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss)
            else:
                metric.update_state(y, y_pred, sample_weight=sample_weight)
        return {metric.name: metric.result() for metric in self.metrics}


def main(epochs):
    """Trains, then goes on batch by batch."""
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
