"""The same as `examples/recipes/maml.py`, as a `train_step` of Keras."""

import keras
import tensorflow as tf

from examples.recipes import maml


class Meta(keras.Model):
    """Trains weights that one gradient step adapts to a new task."""

    def __init__(self):
        super().__init__()
        hidden = [keras.layers.Dense(40, "relu") for _ in range(2)]
        self.network = keras.Sequential([keras.Input((1,)), *hidden, keras.layers.Dense(1)])
        self.mean_loss = keras.metrics.Mean("loss")

    def train_step(self, data):
        """Train on one batch and return the running metrics."""
        x, y = data
        with tf.GradientTape() as tape:
            loss = maml.mean_error(self.network, x, y)
        weights = self.network.trainable_weights
        self.optimizer.apply(tape.gradient(loss, weights), weights)
        self.mean_loss.update_state(loss, sample_weight=tf.shape(x)[0])
        return {"loss": self.mean_loss.result()}


def build():
    model = Meta()
    model.compile(keras.optimizers.Adam(0.002))
    return model
