"""The same as `examples/recipes/gan.py`, as a `train_step` of Keras."""

import keras
import tensorflow as tf

from examples.recipes import gan


class Gan(keras.Model):
    """Trains two networks against each other."""

    def __init__(self, generator, critic):
        super().__init__()
        self.generator, self.critic = generator, critic
        self.noise = keras.random.SeedGenerator(1)
        self.critic_loss = keras.metrics.Mean("critic_loss")
        self.generator_loss = keras.metrics.Mean("generator_loss")

    @property
    def metrics(self):
        """The means to reset; without this property Keras has a `loss` of its own among them."""
        return [self.critic_loss, self.generator_loss]

    def compile(self, critic_opt, generator_opt):
        """Keep both optimizers."""
        super().compile(critic_opt)
        self.critic_opt, self.generator_opt = critic_opt, generator_opt

    def train_step(self, data):
        """Train on one batch and return the running metrics."""
        x, size = data, tf.shape(data)[0]
        noise = keras.random.normal((size, 16), seed=self.noise)
        with tf.GradientTape() as tape:
            real, fake = self.critic(x), self.critic(self.generator(noise))
            loss = tf.reduce_mean(tf.nn.softplus(-real)) + tf.reduce_mean(tf.nn.softplus(fake))
        weights = self.critic.trainable_weights
        self.critic_opt.apply(tape.gradient(loss, weights), weights)
        self.critic_loss.update_state(loss, sample_weight=size)
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.nn.softplus(-self.critic(self.generator(noise))))
        weights = self.generator.trainable_weights
        self.generator_opt.apply(tape.gradient(loss, weights), weights)
        self.generator_loss.update_state(loss, sample_weight=size)
        return {metric.name: metric.result() for metric in self.metrics}


def build():
    """Return the networks of the recipe with this step."""
    model = Gan(**gan.networks())
    model.compile(
        keras.optimizers.Adam(5e-4, beta_1=0.5, name="critic_opt"),
        keras.optimizers.Adam(5e-4, beta_1=0.5, name="generator_opt"),
    )
    return model
