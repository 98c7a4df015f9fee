"""The same as `examples/recipes/accumulation.py`, as a `train_step` of Keras."""

import keras
import tensorflow as tf

from examples.recipes import accumulation
from examples.recipes.accumulation import PARTS


class Accumulation(keras.Sequential):
    """Computes the gradients of a large batch in small parts."""

    def train_step(self, data):
        """Train on one batch and return the running metrics."""
        x, y = [tf.reshape(leaf, [PARTS, -1, *leaf.shape[1:]]) for leaf in data]
        weights = self.trainable_weights

        def add(part, total):
            with tf.GradientTape() as tape:
                y_pred = self(x[part], training=True)
                loss = self.compute_loss(x[part], y[part], y_pred)
                scaled = loss / PARTS
            gradients = tape.gradient(scaled, weights)
            self.metrics[0].update_state(loss, sample_weight=tf.shape(x[part])[0])
            self.compute_metrics(x[part], y[part], y_pred)
            return [one + gradient for one, gradient in zip(total, gradients)]

        gradients = keras.ops.fori_loop(0, PARTS, add, [tf.zeros_like(one) for one in weights])
        self.optimizer.apply(gradients, weights)
        return self.get_metrics_result()


def build():
    """Return the network of the recipe with this step."""
    return accumulation.build(Accumulation)
