"""Train an encoder and a decoder on a bound of the likelihood (VAE).

Use it for codes of the data that one can sample from and walk along. Each part of the loss is a log
of its own, averaged over the epoch by `loop.mean`, in training and in validation.
Kingma and Welling (2014), "Auto-Encoding Variational Bayes".
"""

import sys

import keras
import numpy as np
import tensorflow as tf
from keras.layers import Dense
from sklearn.datasets import load_digits

import loop

CODES = 8
CLAIM = (
    "a test digit takes {loss:.2f} nats, {code:.1f} of them for its code (no code: {pixels:.2f})"
)
HOLDS = {"saved": (4.0, 20.0), "code": (4.0, 15.0)}


def build():
    """Return an encoder to means and log variances, and a decoder to logits of pixels."""
    return loop.State(
        **networks(),
        opt=(keras.optimizers.Adam(2e-3), "encoder", "decoder"),
        noise=keras.random.SeedGenerator(1),
    )


def networks():
    """Return the encoder and the decoder by name."""
    encoder = [keras.Input((64,)), Dense(128, "relu"), Dense(2 * CODES)]
    decoder = [keras.Input((CODES,)), Dense(128, "relu"), Dense(64)]
    return {"encoder": keras.Sequential(encoder), "decoder": keras.Sequential(decoder)}


def data():
    """Return 1,500 digits in black and white, and 297 to validate on, without labels."""
    x = (load_digits().data > 7).astype("float32")
    return {"x": x[:1500], "validation_data": (x[1500:],), "epochs": 2}


def step(state, batch):
    """Update both networks; log the loss and its two parts."""
    x, _, _ = keras.utils.unpack_x_y_sample_weight(batch)
    losses = loop.minimize(lambda: bound(state, x), state.opt, state.trained_by("opt"))
    return logs(losses)


def test_step(state, batch):
    """Log the same and train nothing."""
    x, _, _ = keras.utils.unpack_x_y_sample_weight(batch)
    return logs(bound(state, x))


def bound(state, x):
    """Return the loss of a batch, in nats a sample, and its parts: three scalars."""
    mean, log_variance = tf.split(state.encoder(x), 2, axis=1)
    noise = keras.random.normal(tf.shape(mean), seed=state.noise)
    logits = state.decoder(mean + tf.exp(log_variance / 2) * noise)
    pixels = tf.nn.sigmoid_cross_entropy_with_logits(x, logits)
    code = (tf.exp(log_variance) + mean**2 - 1 - log_variance) / 2  # from a normal distribution
    pixels, code = (tf.reduce_mean(tf.reduce_sum(part, axis=1)) for part in (pixels, code))
    return pixels + code, pixels, code


def logs(losses):
    """Name the losses, to be averaged over the epoch."""
    return {name: loop.mean(loss) for name, loss in zip(("loss", "pixels", "code"), losses)}


def claim(plot=None):
    """Train it; print the way from the code of one digit to that of another."""
    keras.utils.set_random_seed(0)
    state, arguments = build(), {**data(), "epochs": 60, "verbose": 0}
    steps = {"train_step": step, "test_step": test_step}
    history = loop.fit(state, **arguments, **steps).history
    x, share = arguments["x"], np.linspace(0, 1, 10)[:, None]
    start, end = state.encoder(x[:2]).numpy()[:, :CODES]  # a 0 and a 1
    walk = tf.sigmoid(state.decoder((1 - share) * start + share * end)).numpy()
    for row in np.hstack(walk.reshape(10, 8, 8)):
        print("".join(" .:-=+*#%@"[int(9 * value)] * 2 for value in row))
    if plot:
        drawn = tf.sigmoid(state.decoder(keras.random.normal((100, CODES), seed=2))).numpy()
        keras.utils.save_img(plot, tiled(drawn))
    held_out, shade = arguments["validation_data"][0], x.mean(0).clip(1e-3, 1 - 1e-3)
    pixels = -(held_out * np.log(shade) + (1 - held_out) * np.log(1 - shade)).sum(1).mean()
    loss, code = history["val_loss"][-1], history["val_code"][-1]
    return {"loss": loss, "code": code, "pixels": pixels, "saved": pixels - loss}


def tiled(images):
    """Return 100 images `[100, 64]` as one of ten by ten in frames, each pixel four by four."""
    framed = np.pad(images.reshape(10, 10, 8, 8), [(0, 0), (0, 0), (1, 1), (1, 1)], "edge")
    framed[:, :, [0, -1]] = framed[:, :, :, [0, -1]] = 0.4
    return np.kron(framed.transpose(0, 2, 1, 3).reshape(100, 100, 1), np.ones((4, 4, 1)))


if __name__ == "__main__":
    print(CLAIM.format(**claim(*sys.argv[1:])))
