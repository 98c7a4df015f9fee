"""Train on the samples of each batch that are easy by now.

For data with wrong labels: a network fits right ones first, so the samples with the largest losses
are left out, more of them as training goes on (Han et al., 2018, Co-teaching, without the second
network). With the comparison turned round, it trains on the hard samples.
"""

import sys

import keras
import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

import loop

WRONG, RAMP = 0.4, 300  # the share that is left out in the end, and the steps until then

CLAIM = "with 40% of the labels wrong, test accuracy {easy:.3f} (on all samples: {all:.3f})"
HOLDS = {"easy": (0.85, 1.0), "gained": (0.1, 1.0)}


def build(kind=keras.Sequential):
    """Return a classifier of digits, large enough to learn wrong labels by heart."""
    hidden = [keras.layers.Dense(128, "relu") for _ in range(2)]
    model = kind([keras.Input((64,)), *hidden, keras.layers.Dense(10, "softmax")], name="digits")
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def data():
    """Return 1,000 digits, 400 of them with a wrong label, and 797 to test on."""
    digits, random = load_digits(), np.random.default_rng(0)
    x, y = digits.data.astype("float32") / 16, digits.target.copy()
    wrong = random.permutation(1000)[:400]
    y[wrong] = (y[wrong] + random.integers(1, 10, size=400)) % 10
    tested = x[1000:], y[1000:]
    return {"x": x[:1000], "y": y[:1000], "epochs": 2, "validation_data": tested}


def easy(model, x, y):
    """Return weights `[batch]`: 1 for the samples with the smaller losses, 0 for the rest."""
    y_pred = loop.forward(model, x, training=False)
    losses = keras.losses.sparse_categorical_crossentropy(y, y_pred)
    progress = tf.minimum(tf.cast(model.optimizer.iterations, "float32") / RAMP, 1.0)
    kept = (1.0 - WRONG * progress) * tf.cast(tf.size(losses), "float32")
    largest = tf.sort(losses)[tf.cast(kept, "int32") - 1]
    return tf.cast(losses <= largest, "float32")


def step(model, batch):
    """Do as `loop.train_step` does, with weights that leave samples out."""
    x, y = batch
    return loop.train_step(model, (x, y, easy(model, x, y)))


def claim(plot=None):
    """Train on all samples and on the easy ones; print the test accuracy by epoch."""
    found = {}
    for name, own_step in {"all": loop.train_step, "easy": step}.items():
        keras.utils.set_random_seed(0)
        arguments = {**data(), "epochs": 60, "train_step": own_step, "verbose": 0}
        found[name] = loop.fit(build(), **arguments).history["val_accuracy"]
        shown = "  ".join(f"{value:.3f}" for value in found[name][9::10])
        print(f"{name:>4}: test accuracy after every tenth epoch  {shown}")
    if plot:
        draw(found, plot)
    ends = {name: accuracy[-1] for name, accuracy in found.items()}
    return {**ends, "gained": ends["easy"] - ends["all"]}


def draw(found, path):
    """Draw the test accuracy by epoch."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    for name, accuracy in found.items():
        axes.plot(accuracy, label=f"trained on {name} samples")
    axes.set(xlabel="epoch", ylabel="test accuracy")
    axes.legend()
    figure.savefig(path)


if __name__ == "__main__":
    print(CLAIM.format(**claim(*sys.argv[1:])))
