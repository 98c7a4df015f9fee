"""The same as `examples/recipes/reptile.py`, as a `train_step` of Keras."""

import keras
import tensorflow as tf

from examples.recipes import reptile


class Reptile(keras.Model):
    """Moves the weights towards those that steps on each task lead to."""

    def __init__(self):
        super().__init__()
        hidden = [keras.layers.Dense(64, "tanh") for _ in range(2)]
        self.network = keras.Sequential([keras.Input((1,)), *hidden, keras.layers.Dense(1)])
        self.mean_loss = keras.metrics.Mean("loss")

    def train_step(self, data):
        """Train on one batch and return the running metrics."""
        ways, loss = reptile.way_back(self.network, *data)
        self.optimizer.apply(ways, self.network.trainable_weights)
        self.mean_loss.update_state(loss, sample_weight=tf.shape(data[0])[0])
        return {"loss": self.mean_loss.result()}


def build():
    model = Reptile()
    model.compile(keras.optimizers.Adam(0.001))
    return model
