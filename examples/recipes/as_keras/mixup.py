"""The same as `examples/recipes/mixup.py`, as a `train_step` of Keras."""

import keras
import tensorflow as tf

from examples.recipes import mixup


class Mixup(keras.Sequential):
    """Trains on mixtures of two samples and of their labels."""

    def train_step(self, data):
        """Train on one batch and return the running metrics."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        shape = tf.shape(x)[0], 1
        share = keras.random.beta(shape, mixup.ALPHA, mixup.ALPHA, seed=self.seeds)
        x = share * x + (1 - share) * tf.reverse(x, [0])
        y = share * y + (1 - share) * tf.reverse(y, [0])
        with tf.GradientTape() as tape:
            y_pred = self(x, training=True)
            loss = self.compute_loss(x, y, y_pred, sample_weight)
        self.metrics[0].update_state(loss, sample_weight=tf.shape(x)[0])
        gradients = tape.gradient(loss, self.trainable_weights)
        self.optimizer.apply(gradients, self.trainable_weights)
        return self.compute_metrics(x, y, y_pred, sample_weight)


def build():
    """Return the network of the recipe with this step."""
    return mixup.build(Mixup)
