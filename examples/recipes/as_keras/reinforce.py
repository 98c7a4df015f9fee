"""The same as `examples/recipes/reinforce.py`, as a `train_step` of Keras."""

import keras
import numpy as np
import tensorflow as tf

from examples.recipes import reinforce


class Player(keras.Model):
    """Learns a policy without data."""

    def __init__(self):
        super().__init__()
        layers = [keras.layers.Dense(32, "tanh"), keras.layers.Dense(1)]
        self.policy = keras.Sequential([keras.Input((4,)), *layers])
        self.dice = keras.random.SeedGenerator(0)
        self.mean_stands = keras.metrics.Mean("stands")

    def train_step(self, data):
        """Train on one batch and return the running metrics."""
        carts, right, stands = reinforce.Carts.play(self.policy, self.dice)
        with tf.GradientTape() as tape:
            loss = reinforce.regret(self.policy, carts, right, stands)
        weights = self.policy.trainable_weights
        self.optimizer.apply(tape.gradient(loss, weights), weights)
        self.mean_stands.update_state(tf.reduce_sum(stands) / reinforce.CARTS)
        return {"stands": self.mean_stands.result()}


def build():
    model = Player()
    model.compile(keras.optimizers.Adam(0.01))
    return model


def fit(model, steps_per_epoch, **arguments):
    """Train on as many zeros as there are steps: Keras has no fit without data."""
    return model.fit(np.zeros((steps_per_epoch, 1)), batch_size=1, **arguments)
