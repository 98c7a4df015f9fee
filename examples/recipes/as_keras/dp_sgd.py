"""The same as `examples/recipes/dp_sgd.py`, as a `train_step` of Keras."""

import keras
import tensorflow as tf

from examples.recipes import dp_sgd
from examples.recipes.dp_sgd import LONGEST, NOISE


class Private(keras.Sequential):
    """Clips the gradient of each sample, and adds noise to their sum."""

    def train_step(self, data):
        """Train on one batch and return the running metrics."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        y_pred = self(x, training=True)
        loss = self.compute_loss(x, y, y_pred, sample_weight)
        self.metrics[0].update_state(loss, sample_weight=tf.shape(x)[0])
        weights = self.trainable_weights

        def of_one(sample):
            x, y = (part[None] for part in sample)
            with tf.GradientTape() as tape:
                loss = self.compute_loss(x, y, self(x, training=True))
            return tape.gradient(loss, weights)

        gradients = tf.vectorized_map(of_one, (x, y))
        flat = [tf.reshape(gradient, [tf.shape(x)[0], -1]) for gradient in gradients]
        factor = tf.minimum(1.0, LONGEST / tf.norm(tf.concat(flat, axis=1), axis=1))
        means = []
        for one, gradient in zip(flat, gradients):
            gradient = tf.reshape(tf.expand_dims(factor, 1) * one, tf.shape(gradient))
            noise = LONGEST * NOISE * keras.random.normal(gradient.shape[1:], seed=self.seeds)
            total = tf.reduce_sum(gradient, axis=0) + noise
            means.append(total / tf.cast(tf.shape(x)[0], total.dtype))
        self.optimizer.apply(means, weights)
        return self.compute_metrics(x, y, y_pred, sample_weight)


def build():
    """Return the network of the recipe with this step."""
    return dp_sgd.build(Private)
