"""Train on mixtures of two samples and of their labels (mixup).

Use it for a classifier that learns its data by heart, or is too sure where it is wrong: between
two classes it learns to say so. The training accuracy is that on mixtures; read the validation.
Zhang et al. (2018), "mixup: Beyond Empirical Risk Minimization".
"""

import sys

import keras
import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

import loop

ALPHA, EPOCHS = 0.2, 100
CLAIM = "after {epochs} epochs the test loss is {mixup:.3f} (plain: {plain:.3f}, and rising)"
HOLDS = {"ratio": (0.0, 0.85), "rises": (1.1, 9.0)}


def build(kind=keras.Sequential):
    """Return a classifier of digits that holds the seeds of its mixtures."""
    layers = [keras.layers.Dense(128, "relu"), keras.layers.Dense(10, "softmax")]
    model = kind([keras.Input((64,)), *layers], name="digits")
    model.seeds = keras.random.SeedGenerator(1)  # part of the model: saved and resumed with it
    model.compile(keras.optimizers.Adam(0.003), "categorical_crossentropy", metrics=["accuracy"])
    return model


def data():
    """Return 1,000 digits with one-hot labels, and 797 to validate on."""
    digits = load_digits()
    x, y = digits.data.astype("float32") / 16, keras.utils.to_categorical(digits.target)
    return {"x": x[:1000], "y": y[:1000], "epochs": 2, "validation_data": (x[1000:], y[1000:])}


def step(model, batch):
    """Do as `loop.train_step` does, with mixtures."""
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
    x, y = mixed(x, y, model.seeds)
    with tf.GradientTape() as tape:
        y_pred = loop.forward(model, x, training=True)
        loss = loop.objective(model, x, y, y_pred, sample_weight, training=True)
        loop.track_loss(model, loss, x)
        scaled = model.optimizer.scale_loss(loss)
    weights = model.trainable_weights
    gradients = tape.gradient(scaled, weights)
    model.optimizer.apply_gradients(zip(gradients, weights, strict=True))
    return loop.update_metrics(model, x, y, y_pred, sample_weight)


def mixed(x, y, seeds):
    """Mix each sample with the one at its place from the end of the batch; labels in like shares.

    Args:
        x: `[batch, features]`.
        y: One-hot labels `[batch, classes]`.
        seeds: A `keras.random.SeedGenerator`.
    """
    share = keras.random.beta((tf.shape(x)[0], 1), ALPHA, ALPHA, seed=seeds)  # most near 0 or 1
    return [share * part + (1 - share) * tf.reverse(part, [0]) for part in (x, y)]


def claim(plot=None):
    """Train with and without it; print how sure each model is of its wrong answers."""
    found, wrong = {}, {}
    for name, own_step in {"plain": loop.train_step, "mixup": step}.items():
        keras.utils.set_random_seed(0)
        model, arguments = build(), {**data(), "epochs": EPOCHS, "verbose": 0}
        found[name] = loop.fit(model, **arguments, train_step=own_step).history
        x, y = arguments["validation_data"]
        y_pred = loop.predict(model, x, verbose=0)
        is_wrong = y_pred.argmax(1) != y.argmax(1)
        wrong[name] = y_pred.max(1)[is_wrong]
        print(f"{name:>6}: test accuracy {1 - is_wrong.mean():.3f}; where it is wrong, it is "
              f"{wrong[name].mean():.0%} sure")  # fmt: skip
    if plot:
        draw(wrong, plot)
    mixup, plain = (found[name]["val_loss"] for name in ("mixup", "plain"))
    last = {"epochs": EPOCHS, "mixup": mixup[-1], "plain": plain[-1]}
    return {**last, "ratio": mixup[-1] / plain[-1], "rises": plain[-1] / min(plain)}


def draw(wrong, plot):
    """Plot how sure each model is of its wrong answers."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    axes.hist(list(wrong.values()), np.linspace(0, 1, 21), label=list(wrong))
    axes.set(xlabel="probability given to a wrong answer", ylabel="digits")
    axes.legend()
    figure.savefig(plot)


if __name__ == "__main__":
    print(CLAIM.format(**claim(*sys.argv[1:])))
