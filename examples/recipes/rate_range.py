"""Find a learning rate: let it grow at each step, and watch the loss.

Before the first training of a new model: a hundred steps show below which rate nothing happens and
above which the loss explodes. Then everything is as before (Smith, 2017, learning rate range test).
"""

import sys

import keras
from sklearn.datasets import load_digits

import loop
from loop.callbacks import LearningRateFinder

CLAIM = (
    "suggested rate {rate:.2g}: after two epochs accuracy {at_it:.2f}, "
    "with a hundredth {below:.2f}, with a hundred times {above:.2f}"
)
HOLDS = {"rate": (0.01, 2.0), "at_it": (0.85, 1.0), "below": (0.0, 0.6), "above": (0.0, 0.6)}


def build():
    """Return a classifier of digits that trains by plain gradient descent."""
    hidden = [keras.layers.Dense(64, "relu") for _ in range(2)]
    model = keras.Sequential([keras.Input((64,)), *hidden, keras.layers.Dense(10, "softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def data():
    """Return 1,792 digits: 56 steps an epoch."""
    digits = load_digits()
    x, y = digits.data.astype("float32") / 16, digits.target
    return {"x": x[:1792], "y": y[:1792], "epochs": 2}


def fit(model, callbacks=(), **arguments):
    """Try rates from 0.0001 to 10, one a step; return the rates and the losses of the batches."""
    finder = LearningRateFinder(1e-4, 10.0, steps=100)
    loop.fit(model, callbacks=[*callbacks, finder], **arguments)
    return {"rate": finder.rates.tolist(), "loss": finder.losses.tolist()}


def claim(plot=None):
    """Train with the suggested rate and with others; print the accuracy after two epochs."""
    keras.utils.set_random_seed(0)
    finder = LearningRateFinder(1e-4, 10.0, steps=100)
    loop.fit(build(), callbacks=[finder], verbose=0, **data())
    found = {}
    for times in (0.01, 0.1, 1.0, 10.0, 100.0):
        keras.utils.set_random_seed(0)
        model = build()
        model.optimizer.learning_rate = finder.suggestion * times
        found[times] = loop.fit(model, verbose=0, **data()).history["accuracy"][-1]
        print(f"rate {finder.suggestion * times:9.5f}  accuracy {found[times]:.3f}")
    if plot:
        finder.plot(plot)
    named = {"at_it": found[1.0], "below": found[0.01], "above": found[100.0]}
    return {"rate": finder.suggestion, **named}


if __name__ == "__main__":
    print(CLAIM.format(**claim(*sys.argv[1:])))
