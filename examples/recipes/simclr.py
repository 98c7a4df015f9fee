"""Learn features without labels, from two views of each image.

For many images and few labels. Views of one image are to be alike, those of others not; then a
small classifier needs a handful of labels (Chen, Kornblith, Norouzi and Hinton, 2020, SimCLR).
"""

import sys

import keras
import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

import loop

TEMPERATURE, LABELS = 0.2, (1, 2, 3, 5)  # of the loss; labels a digit of the classifier

CLAIM = "accuracy from one label a digit: {features:.1%} on features, {pixels:.1%} on pixels"
HOLDS = {"features": (0.7, 1.0), "gained": (0.04, 0.4)}


def networks():
    """Return what makes views, an encoder `[batch, 8, 8, 1] -> [batch, 64]`, and a head for it."""
    views = keras.Sequential([
        keras.Input((8, 8, 1)),
        keras.layers.RandomTranslation(0.12, 0.12, fill_mode="constant"),
        keras.layers.RandomRotation(0.03, fill_mode="constant"),
        keras.layers.GaussianNoise(0.2),
    ])  # fmt: skip
    hidden = [keras.layers.Dense(256, "relu"), keras.layers.Dense(64, "relu")]
    encoder = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), *hidden])
    return views, encoder, keras.Sequential([keras.Input((64,)), keras.layers.Dense(32)])


def build():
    """Return the networks and the optimizer of two of them."""
    views, encoder, head = networks()
    optimizer = keras.optimizers.Adam(0.002)
    return loop.State(views=views, encoder=encoder, head=head, opt=(optimizer, "encoder", "head"))


def images():
    """Return 1,797 handwritten digits, `[1797, 8, 8, 1]` from 0 to 1, and their labels."""
    digits = load_digits()
    return digits.images[..., None].astype("float32") / 16, digits.target


def data():
    return {"x": images()[0], "batch_size": 128, "epochs": 2}


def contrast(views, encoder, head, x):
    """Return the loss: each view must find the other view of its image among all others."""
    size = tf.shape(x)[0]
    seen = tf.concat([views(x, training=True), views(x, training=True)], axis=0)
    z = tf.math.l2_normalize(head(encoder(seen)), axis=1)
    alike = tf.matmul(z, z, transpose_b=True) / TEMPERATURE
    alike -= 1e9 * tf.eye(2 * size)  # no view is compared with itself
    other = tf.math.floormod(tf.range(2 * size) + size, 2 * size)
    return tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(other, alike, True))


def step(state, x):
    """Train on images `[batch, 8, 8, 1]`: without targets, the batch is x alone."""
    loss = loop.minimize(
        lambda: contrast(state.views, state.encoder, state.head, x),
        state.optimizer,
        state.trained_by("opt"),
    )
    return {"loss": loop.mean(loss)}


def claim(plot=None):
    """Classify by few labels, on features and on pixels; print means of ten draws of the labels."""
    keras.utils.set_random_seed(0)
    x, y = images()
    state = build()
    loop.fit(state, x, batch_size=128, epochs=30, train_step=step, verbose=0)
    seen = {"features": loop.predict(state.encoder, x, verbose=0), "pixels": x.reshape(len(x), -1)}
    found = {name: [with_few_labels(of, y, each) for each in LABELS] for name, of in seen.items()}
    for each, features, pixels in zip(LABELS, *found.values()):
        print(f"{each} labels a digit: accuracy {features:.3f} on features, {pixels:.3f} on pixels")
    if plot:
        draw(found, plot)
    features, pixels = (accuracies[0] for accuracies in found.values())
    return {"features": features, "pixels": pixels, "gained": features - pixels}


def with_few_labels(features, y, each):
    """Return the accuracy of a linear classifier that saw `each` labels of every digit."""
    accuracies = []
    for seed in range(10):
        order = np.random.default_rng(seed).permutation(len(y))
        known = np.concatenate([order[y[order] == digit][:each] for digit in range(10)])
        rest = np.setdiff1d(order, known)
        classifier = LogisticRegression(max_iter=200).fit(features[known], y[known])
        accuracies.append(classifier.score(features[rest], y[rest]))
    return float(np.mean(accuracies))


def draw(found, path):
    """Draw the accuracies over the number of labels."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    for name, accuracies in found.items():
        axes.plot(LABELS, accuracies, "o-", label=f"on {name}")
    axes.set(xlabel="labels a digit", ylabel="accuracy on all other images", xticks=LABELS)
    axes.legend()
    figure.savefig(path)


if __name__ == "__main__":
    print(CLAIM.format(**claim(*sys.argv[1:])))
