"""The same as `examples/recipes/pinn.py`, as a `train_step` of Keras."""

import keras
import tensorflow as tf

from examples.recipes import pinn


class Informed(keras.Model):
    """Minimizes how far a network is from solving a differential equation."""

    def __init__(self):
        super().__init__()
        hidden = [keras.layers.Dense(32, "tanh") for _ in range(3)]
        self.network = keras.Sequential([keras.Input((2,)), *hidden, keras.layers.Dense(1)])
        names = ("loss", "equation", "boundary")
        self.means = [keras.metrics.Mean(name) for name in names]

    def train_step(self, x):
        """Train on one batch and return the running metrics."""
        with tf.GradientTape() as tape:
            parts = pinn.errors(self.network, x)
        weights = self.network.trainable_weights
        self.optimizer.apply(tape.gradient(parts[0], weights), weights)
        for mean, part in zip(self.means, parts):
            mean.update_state(part, sample_weight=tf.shape(x)[0])
        return {mean.name: mean.result() for mean in self.means}


def build():
    model = Informed()
    rate = keras.optimizers.schedules.CosineDecay(0.005, 3000)
    model.compile(keras.optimizers.Adam(rate))
    return model
