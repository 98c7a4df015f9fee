"""The same as `examples/recipes/distillation.py`, as a `train_step` of Keras."""

import keras
import tensorflow as tf

from examples.recipes import distillation
from examples.recipes.distillation import SHARE, TEMPERATURE


class Student(keras.Model):
    """Adds to the loss how far the student is from its teacher."""

    def train_step(self, data):
        """Train on one batch and return the running metrics."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        soft = tf.nn.softmax(self.teacher(x, training=False) / TEMPERATURE)
        with tf.GradientTape() as tape:
            y_pred = self(x, training=True)
            loss = self.compute_loss(x, y, y_pred, sample_weight)
            apart = keras.losses.kl_divergence(soft, tf.nn.softmax(y_pred / TEMPERATURE))
            loss = (1 - SHARE) * loss + SHARE * TEMPERATURE**2 * tf.reduce_mean(apart)
        self.metrics[0].update_state(loss, sample_weight=tf.shape(x)[0])
        gradients = tape.gradient(loss, self.trainable_weights)
        self.optimizer.apply(gradients, self.trainable_weights)
        return self.compute_metrics(x, y, y_pred, sample_weight)


def build():
    """Return the networks of the recipe with this step."""
    return distillation.build(Student)
