"""Train the same model from twenty seeds, and report the mean with its spread (many seeds).

Use it before you say that one model is better than another. In sequence each training has the bits
of its own `model.fit`; `vectorized=True` trains all at once, close to that and faster still.
Bouthillier et al. (2021), "Accounting for Variance in Machine Learning Benchmarks".
"""

import sys
import time

import keras
import numpy as np
from sklearn.datasets import load_digits

import loop

SEEDS = range(20)
CLAIM = "test accuracy {mean:.3f} ± {spread:.3f} over 20 seeds; all at once takes {seconds:.1f} s"
HOLDS = {"mean": (0.85, 1.0), "spread": (0.001, 0.05), "apart": (0.0, 0.02)}


def build():
    """Return a small classifier of digits; the seed decides its weights."""
    layers = [keras.layers.Dense(32, "relu"), keras.layers.Dense(10, "softmax")]
    model = keras.Sequential([keras.Input((64,)), *layers], name="digits")
    loss = "sparse_categorical_crossentropy"
    model.compile(keras.optimizers.Adam(name="adam"), loss, metrics=["accuracy"])
    return model


def data():
    """Return a few seeds, 1,000 digits, and 797 to validate on."""
    digits = load_digits()
    x, y = digits.data.astype("float32") / 16, digits.target
    held_out = x[1000:], y[1000:]
    return {"seeds": SEEDS[:3], "x": x[:1000], "y": y[:1000], "epochs": 2,
            "validation_data": held_out}  # fmt: skip


def fit(_, seeds, **arguments):
    """Train all seeds; return each log of the last epoch, a value for each seed."""
    histories = loop.fit_seeds(build, seeds, **arguments)
    return {name: histories.values(name)[:, -1].tolist() for name in histories.names}


def claim(plot=None):
    """Train all seeds at once, and some in sequence; print the spread by epoch."""
    arguments = {**data(), "seeds": SEEDS, "epochs": 20, "verbose": 0}
    begun = time.perf_counter()
    histories = loop.fit_seeds(build, **arguments, vectorized=True)
    seconds = time.perf_counter() - begun
    for name in ("accuracy", "val_accuracy"):
        pairs = zip(histories.mean(name)[4::5], histories.spread(name)[4::5])
        print(f"{name:>12}: " + ", ".join(f"{mean:.3f} ± {spread:.3f}" for mean, spread in pairs))
    one = loop.fit_seeds(build, **{**arguments, "seeds": SEEDS[:2]})
    apart = np.abs(one.values("val_accuracy") - histories.values("val_accuracy")[:2]).max()
    if plot:
        draw(histories, plot)
    mean, spread = (of("val_accuracy")[-1] for of in (histories.mean, histories.spread))
    return {"mean": mean, "spread": spread, "seconds": seconds, "apart": apart}


def draw(histories, plot):
    """Plot the test accuracy of every seed, and their mean."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    axes.plot(histories.values("val_accuracy").T, color="#1f5f8b", alpha=0.25)
    axes.plot(histories.mean("val_accuracy"), color="black")
    axes.set(xlabel="epoch", ylabel="test accuracy")
    figure.savefig(plot)


if __name__ == "__main__":
    print(CLAIM.format(**claim(*sys.argv[1:])))
