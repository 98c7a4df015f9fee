"""Evaluate every few steps, and keep the best weights.

Where an epoch is too long to wait for its end, or the best weights come within it. Steps between
share calls, and the running metrics of the training stay as they are. Where nothing but the curve
is wanted, `loop.fit(..., eval_every=10)` draws it in one line.
"""

import sys

import keras
import numpy as np
from sklearn.datasets import load_digits

import loop

EVERY = 10  # steps

CLAIM = "best after step {step:.0f}: test accuracy {best:.3f}, and {last:.3f} after the last step"
HOLDS = {"step": (30, 900), "best": (0.85, 1.0), "lost": (0.03, 1.0)}


def build():
    """Return a classifier of digits, large enough to learn wrong labels by heart."""
    hidden = [keras.layers.Dense(128, "relu") for _ in range(2)]
    model = keras.Sequential([keras.Input((64,)), *hidden, keras.layers.Dense(10, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def data():
    """Return 1,000 digits, 400 of them with a label drawn at random, and 797 to evaluate on."""
    digits, random = load_digits(), np.random.default_rng(0)
    x, y = digits.data.astype("float32") / 16, digits.target.copy()
    y[:400] = random.integers(10, size=400)
    tested = x[1000:], y[1000:]
    return {"x": x[:1000], "y": y[:1000], "epochs": 2, "validation_data": tested}


def fit(model, x, y, validation_data, epochs, **_):
    """Train; return the step, the running loss and the accuracy at each evaluation, as lists."""
    curve, best = {"step": [], "loss": [], "val_accuracy": []}, []
    for step, logs in loop.steps(model, (x, y), every=EVERY, epochs=epochs):
        tested = loop.evaluate(model, *validation_data, verbose=0, return_dict=True)
        if tested["accuracy"] > max(curve["val_accuracy"], default=0.0):
            best = model.get_weights()
        curve["step"].append(step)
        curve["loss"].append(logs["loss"])
        curve["val_accuracy"].append(tested["accuracy"])
    model.set_weights(best)
    return curve


def claim(plot=None):
    """Train for 1,000 steps on labels of which four in ten are wrong; print the curve."""
    keras.utils.set_random_seed(0)
    model, arguments = build(), {**data(), "epochs": 32}
    curve = fit(model, **arguments)
    for step, accuracy in list(zip(curve["step"], curve["val_accuracy"]))[9::10]:
        print(f"step {step:4}  test accuracy {accuracy:.3f}  {'#' * round(40 * accuracy)}")
    if plot:
        draw(curve, plot)
    kept = loop.evaluate(model, *arguments["validation_data"], verbose=0, return_dict=True)
    best, last = kept["accuracy"], curve["val_accuracy"][-1]
    step = curve["step"][int(np.argmax(curve["val_accuracy"]))]
    return {"step": step, "best": best, "last": last, "lost": best - last}


def draw(curve, path):
    """Draw the test accuracy over the steps."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    best = int(np.argmax(curve["val_accuracy"]))
    axes.plot(curve["step"], curve["val_accuracy"])
    axes.plot(curve["step"][best], curve["val_accuracy"][best], "o", label="weights that are kept")
    axes.set(xlabel="step", ylabel="test accuracy", ylim=(0.7, 0.9))
    axes.legend()
    figure.savefig(path)


if __name__ == "__main__":
    print(CLAIM.format(**claim(*sys.argv[1:])))
