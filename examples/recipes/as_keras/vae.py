"""The same as `examples/recipes/vae.py`, as a `train_step` of Keras."""

import keras
import tensorflow as tf

from examples.recipes import vae


class Vae(keras.Model):
    """Trains an encoder and a decoder on a bound of the likelihood."""

    def __init__(self, encoder, decoder):
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.noise = keras.random.SeedGenerator(1)
        self.trackers = [keras.metrics.Mean(name) for name in ("loss", "pixels", "code")]

    @property
    def metrics(self):
        """The means to reset; without this property Keras has a `loss` of its own among them."""
        return self.trackers

    def losses_of(self, x):
        """Return the loss of a batch and its parts."""
        mean, log_variance = tf.split(self.encoder(x), 2, axis=1)
        noise = keras.random.normal(tf.shape(mean), seed=self.noise)
        logits = self.decoder(mean + tf.exp(log_variance / 2) * noise)
        pixels = tf.nn.sigmoid_cross_entropy_with_logits(x, logits)
        code = (tf.exp(log_variance) + mean**2 - 1 - log_variance) / 2
        pixels, code = (tf.reduce_mean(tf.reduce_sum(part, axis=1)) for part in (pixels, code))
        return pixels + code, pixels, code

    def track(self, losses, x):
        """Update the means of a batch and return them."""
        for tracker, loss in zip(self.trackers, losses):
            tracker.update_state(loss, sample_weight=tf.shape(x)[0])
        return {tracker.name: tracker.result() for tracker in self.trackers}

    def train_step(self, data):
        """Train on one batch and return the running metrics."""
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        weights = [*self.encoder.trainable_weights, *self.decoder.trainable_weights]
        with tf.GradientTape() as tape:
            losses = self.losses_of(x)
        self.optimizer.apply(tape.gradient(losses[0], weights), weights)
        return self.track(losses, x)

    def test_step(self, data):
        """Return the running metrics of validation."""
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        return self.track(self.losses_of(x), x)


def build():
    """Return the networks of the recipe with these steps."""
    model = Vae(**vae.networks())
    model.compile(keras.optimizers.Adam(2e-3))
    return model
