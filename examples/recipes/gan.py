"""Train two networks against each other, each by an optimizer of its own (GAN).

Use it to sample from data, and as the pattern of every training with two optimizers: `loop.State`
holds networks, optimizers and seeds, and saves and resumes all of it.
Goodfellow et al. (2014), "Generative Adversarial Nets".
"""

import sys

import keras
import numpy as np
import tensorflow as tf
from keras.layers import Dense
from sklearn.datasets import load_digits

import loop

CLAIM = "a classifier is sure of {sure:.0%} of its digits (real ones: {real:.0%}), of {kinds} kinds"
HOLDS = {"sure": (0.5, 1.0), "kinds": (8, 10)}


def build():
    """Return the networks with their optimizers and the seeds of the noise."""
    return loop.State(
        **networks(),
        critic_opt=(keras.optimizers.Adam(5e-4, beta_1=0.5, name="critic_opt"), "critic"),
        generator_opt=(keras.optimizers.Adam(5e-4, beta_1=0.5, name="generator_opt"), "generator"),
        noise=keras.random.SeedGenerator(1),
    )


def networks():
    """Return a generator of digits, and a critic that tells them from real ones by a logit."""
    hidden = [Dense(128, "leaky_relu"), Dense(128, "leaky_relu")]
    generator = [keras.Input((16,)), *hidden, Dense(64, "sigmoid")]
    hidden = [Dense(128, "leaky_relu"), Dense(64, "leaky_relu")]
    critic = [keras.Input((64,)), *hidden, Dense(1)]
    return {"generator": keras.Sequential(generator), "critic": keras.Sequential(critic)}


def data():
    """Return all digits, without labels."""
    return {"x": load_digits().data.astype("float32") / 16, "batch_size": 64, "epochs": 3}


def step(state, batch):
    """Update the critic, then the generator, which is to be taken for real by the new critic."""
    x, _, _ = keras.utils.unpack_x_y_sample_weight(batch)
    noise = keras.random.normal((tf.shape(x)[0], 16), seed=state.noise)

    def of_critic():
        real, fake = state.critic(x), state.critic(state.generator(noise))
        return tf.reduce_mean(tf.nn.softplus(-real)) + tf.reduce_mean(tf.nn.softplus(fake))

    def of_generator():
        return tf.reduce_mean(tf.nn.softplus(-state.critic(state.generator(noise))))

    critic = loop.minimize(of_critic, state.critic_opt, state.critic.trainable_variables)
    generator = loop.minimize(
        of_generator, state.generator_opt, state.generator.trainable_variables
    )
    return {"critic_loss": loop.mean(critic), "generator_loss": loop.mean(generator)}


def claim(plot=None):
    """Train it; print ten of its digits, and what a classifier of real digits takes them for."""
    keras.utils.set_random_seed(0)
    state, arguments = build(), {**data(), "epochs": 120, "verbose": 0}
    loop.fit(state, **arguments, train_step=step)
    images = loop.predict(state.generator, keras.random.normal((1000, 16), seed=2), verbose=0)
    for row in np.hstack(images[:10].reshape(10, 8, 8)):
        print("".join(" .:-=+*#%@"[int(9 * value)] * 2 for value in row))
    if plot:
        keras.utils.save_img(plot, tiled(images[:100]))
    judge = keras.Sequential([keras.Input((64,)), Dense(64, "relu"), Dense(10, "softmax")])
    judge.compile("adam", "sparse_categorical_crossentropy")
    x, y = arguments["x"], load_digits().target
    loop.fit(judge, x[:1000], y[:1000], epochs=80, verbose=0)
    answers = loop.predict(judge, images, verbose=0)
    print("taken for 0 to 9:", np.bincount(answers.argmax(1), minlength=10))
    sure, real = ((found.max(1) > 0.9).mean() for found in (answers, judge(x[1000:]).numpy()))
    kinds = (np.bincount(answers.argmax(1), minlength=10) >= 20).sum()
    return {"sure": sure, "real": real, "kinds": kinds}


def tiled(images):
    """Return 100 images `[100, 64]` as one of ten by ten in frames, each pixel four by four."""
    framed = np.pad(images.reshape(10, 10, 8, 8), [(0, 0), (0, 0), (1, 1), (1, 1)], "edge")
    framed[:, :, [0, -1]] = framed[:, :, :, [0, -1]] = 0.4
    return np.kron(framed.transpose(0, 2, 1, 3).reshape(100, 100, 1), np.ones((4, 4, 1)))


if __name__ == "__main__":
    print(CLAIM.format(**claim(*sys.argv[1:])))
