"""The same as `examples/recipes/sam.py`, as a `train_step` of Keras."""

import keras
import tensorflow as tf

from examples.recipes import sam


class Sam(keras.Sequential):
    """Takes the gradient a little uphill from the weights."""

    def train_step(self, data):
        """Train on one batch and return the running metrics."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        weights = self.trainable_weights
        with tf.GradientTape() as tape:
            y_pred = self(x, training=True)
            loss = self.compute_loss(x, y, y_pred, sample_weight)
        self.metrics[0].update_state(loss, sample_weight=tf.shape(x)[0])
        gradients = tape.gradient(loss, weights)
        before = [tf.identity(weight) for weight in weights]
        length = tf.linalg.global_norm(gradients)
        for weight, gradient in zip(weights, gradients):
            weight.assign_add(sam.RADIUS * gradient / (length + 1e-12))
        with tf.GradientTape() as tape:
            loss = self.compute_loss(x, y, self(x, training=True), sample_weight)
        gradients = tape.gradient(loss, weights)
        for weight, value in zip(weights, before):
            weight.assign(value)
        self.optimizer.apply(gradients, weights)
        return self.compute_metrics(x, y, y_pred, sample_weight)


def build():
    """Return the network of the recipe with this step."""
    return sam.build(Sam)
