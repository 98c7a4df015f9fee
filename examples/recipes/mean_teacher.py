"""Learn from samples without labels, by agreeing with a running average of oneself (mean teacher).

Use it with few labels and much data. Samples without a label have the sample weight 0; the teacher,
whose weights follow those of the student, says what the student should answer to them.
Tarvainen and Valpola (2017), "Mean teachers are better role models".
"""

import sys

import keras
import numpy as np
import tensorflow as tf
from keras.layers import Dense
from sklearn.datasets import load_digits

import loop

LABELS, NOISE, WEIGHT, DECAY = 50, 0.2, 1.0, 0.98
CLAIM = "with {labels} labels, the test accuracy is {teacher:.3f} (of these alone: {plain:.3f})"
HOLDS = {"teacher": (0.85, 1.0), "gained": (0.03, 1.0)}


def build():
    """Return a student of digits, its teacher with the same weights, and the seeds of the noise."""
    return loop.State(
        **networks(),
        opt=(keras.optimizers.Adam(), "student"),
        noise=keras.random.SeedGenerator(1),
    )


def networks():
    """Return two classifiers whose outputs are logits, with the same weights."""
    student, teacher = (
        keras.Sequential([keras.Input((64,)), Dense(128, "relu"), Dense(10)]) for _ in range(2)
    )
    teacher.set_weights(student.get_weights())
    return {"student": student, "teacher": teacher}


def data():
    """Return 1,000 digits, of which the first 50 count with their labels, and 797 to test on."""
    digits = load_digits()
    x, y = digits.data.astype("float32") / 16, digits.target
    has_label = (np.arange(1000) < LABELS).astype("float32")
    held_out = x[1000:], y[1000:]
    return {"x": x[:1000], "y": y[:1000], "sample_weight": has_label, "epochs": 2,
            "validation_data": held_out}  # fmt: skip


def step(state, batch):
    """Update the student, and let the teacher follow it."""
    x, y, has_label = batch
    answers = tf.nn.softmax(state.teacher(noisy(x, state.noise)))

    def loss():
        y_pred = tf.nn.softmax(state.student(noisy(x, state.noise), training=True))
        wrong = keras.losses.sparse_categorical_crossentropy(y, y_pred)
        apart = tf.reduce_mean((y_pred - answers) ** 2, axis=1)
        return tf.reduce_mean(has_label * wrong + WEIGHT * apart)

    loss = loop.minimize(loss, state.opt, state.trained_by("opt"))
    for follower, weight in zip(state.teacher.weights, state.student.weights):
        follower.assign(DECAY * follower + (1 - DECAY) * weight)
    return {"loss": loop.mean(loss)}


def test_step(state, batch):
    """Log how often the teacher is right."""
    x, y = batch
    return {"accuracy": loop.mean(keras.metrics.sparse_categorical_accuracy(y, state.teacher(x)))}


def noisy(x, seeds):
    """Return images with noise, `[batch, pixels]`."""
    return x + NOISE * keras.random.normal(tf.shape(x), seed=seeds)


def claim(plot=None):
    """Train with all digits and with those that have labels; print the accuracy of the teacher."""
    found, every = {}, {**data(), "train_step": step, "test_step": test_step, "verbose": 0}
    labelled = {key: every[key][:LABELS] for key in ("x", "y", "sample_weight")}
    steps = 50 * 32  # of 32 samples each, in both cases
    for name, arguments in {"plain": {**every, **labelled}, "teacher": every}.items():
        keras.utils.set_random_seed(0)
        a_pass = -(-len(arguments["x"]) // 32)
        arguments = {**arguments, "epochs": steps // a_pass, "validation_freq": 160 // a_pass}
        history = loop.fit(build(), **arguments).history["val_accuracy"]
        shown = ", ".join(f"{value:.3f}" for value in history)
        print(f"{name:>8}: test accuracy after every 160 steps: {shown}")
        found[name] = history
    if plot:
        draw(found, plot)
    teacher, plain = (found[name][-1] for name in ("teacher", "plain"))
    return {"labels": LABELS, "teacher": teacher, "plain": plain, "gained": teacher - plain}


def draw(found, plot):
    """Plot the accuracy on the test data over the steps."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    for name, history in found.items():
        axes.plot(160 * np.arange(1, len(history) + 1), history, label=name)
    axes.set(xlabel="steps", ylabel="test accuracy")
    axes.legend()
    figure.savefig(plot)


if __name__ == "__main__":
    print(CLAIM.format(**claim(*sys.argv[1:])))
