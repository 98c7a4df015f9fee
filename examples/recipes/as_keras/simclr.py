"""The same as `examples/recipes/simclr.py`, as a `train_step` of Keras."""

import keras
import tensorflow as tf

from examples.recipes import simclr


class Contrastive(keras.Model):
    """Learns features without labels."""

    def __init__(self):
        super().__init__()
        self.views, self.encoder, self.head = simclr.networks()
        self.mean_loss = keras.metrics.Mean("loss")

    def train_step(self, x):
        """Train on one batch and return the running metrics."""
        with tf.GradientTape() as tape:
            loss = simclr.contrast(self.views, self.encoder, self.head, x)
        weights = self.encoder.trainable_weights + self.head.trainable_weights
        self.optimizer.apply(tape.gradient(loss, weights), weights)
        self.mean_loss.update_state(loss, sample_weight=tf.shape(x)[0])
        return {"loss": self.mean_loss.result()}


def build():
    model = Contrastive()
    model.compile(keras.optimizers.Adam(0.002))
    return model
