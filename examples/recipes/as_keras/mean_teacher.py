"""The same as `examples/recipes/mean_teacher.py`, as a `train_step` of Keras."""

import keras
import tensorflow as tf

from examples.recipes import mean_teacher
from examples.recipes.mean_teacher import DECAY, NOISE, WEIGHT


class MeanTeacher(keras.Model):
    """Learns by agreeing with a running average of itself."""

    def __init__(self, student, teacher):
        super().__init__()
        self.student, self.teacher = student, teacher
        self.noise = keras.random.SeedGenerator(1)
        self.loss_mean = keras.metrics.Mean("loss")
        self.accuracy_mean = keras.metrics.Mean("accuracy")

    @property
    def metrics(self):
        """The means to reset; without this property Keras has a `loss` of its own among them."""
        return [self.loss_mean, self.accuracy_mean]

    def noisy(self, x):
        """Return points with noise."""
        return x + NOISE * keras.random.normal(tf.shape(x), seed=self.noise)

    def train_step(self, data):
        """Train on one batch and return the running loss."""
        x, y, weight = data
        answers = tf.nn.softmax(self.teacher(self.noisy(x)))
        weights = self.student.trainable_weights
        with tf.GradientTape() as tape:
            y_pred = tf.nn.softmax(self.student(self.noisy(x), training=True))
            wrong = keras.losses.sparse_categorical_crossentropy(y, y_pred)
            apart = tf.reduce_mean((y_pred - answers) ** 2, axis=1)
            loss = tf.reduce_mean(weight * wrong + WEIGHT * apart)
        self.optimizer.apply(tape.gradient(loss, weights), weights)
        for follower, weight in zip(self.teacher.weights, self.student.weights):
            follower.assign(DECAY * follower + (1 - DECAY) * weight)
        self.loss_mean.update_state(loss, sample_weight=tf.shape(x)[0])
        return {"loss": self.loss_mean.result()}

    def test_step(self, data):
        """Return the running accuracy of the teacher."""
        x, y = data
        right = keras.metrics.sparse_categorical_accuracy(y, self.teacher(x))
        self.accuracy_mean.update_state(right)
        return {"accuracy": self.accuracy_mean.result()}


def build():
    """Return the networks of the recipe with these steps."""
    model = MeanTeacher(**mean_teacher.networks())
    model.compile(keras.optimizers.Adam())
    return model
