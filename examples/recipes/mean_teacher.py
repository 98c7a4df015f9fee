"""Learn from unlabelled samples: agree with a running average of oneself (mean teacher).

Use it with few labels and much data that falls into clusters. Samples without a label have the
weight 0; the teacher, whose weights follow those of the student, answers in place of the label.
Tarvainen and Valpola (2017), "Mean teachers are better role models".
"""

import sys

import keras
import numpy as np
import tensorflow as tf
from keras.layers import Dense
from sklearn.datasets import make_moons

import loop

LABELS, NOISE, WEIGHT, DECAY = 8, 0.2, 20.0, 0.98
CLAIM = "with {labels} labels, the test accuracy is {teacher:.3f} (of these alone: {plain:.3f})"
HOLDS = {"teacher": (0.93, 1.0), "gained": (0.1, 1.0)}


def build():
    """Return a student of two classes, a teacher with the same weights, the seeds of the noise."""
    return loop.State(
        **networks(),
        opt=(keras.optimizers.Adam(), "student"),
        noise=keras.random.SeedGenerator(1),
    )


def networks():
    """Return two classifiers of points whose outputs are logits, with the same weights."""
    student, teacher = (
        keras.Sequential([keras.Input((2,)), Dense(64, "relu"), Dense(64, "relu"), Dense(2)])
        for _ in range(2)
    )
    teacher.set_weights(student.get_weights())
    return {"student": student, "teacher": teacher}


def data():
    """Return two moons of 500 points, four of each with a label that counts, and 500 to test on."""
    x, y = make_moons(1500, noise=0.06, random_state=1)
    x, weight = x.astype("float32"), np.zeros(1000, "float32")
    for moon in (0, 1):  # weighted so that all labels together count as much as all points
        weight[np.flatnonzero(y[:1000] == moon)[: LABELS // 2]] = 1000 / LABELS
    held_out = x[1000:], y[1000:]
    return {"x": x[:1000], "y": y[:1000], "sample_weight": weight, "batch_size": 50, "epochs": 2,
            "validation_data": held_out}  # fmt: skip


def step(state, batch):
    """Update the student, and let the teacher follow it."""
    x, y, weight = batch
    answers = tf.nn.softmax(state.teacher(noisy(x, state.noise)))

    def loss():
        y_pred = tf.nn.softmax(state.student(noisy(x, state.noise), training=True))
        wrong = keras.losses.sparse_categorical_crossentropy(y, y_pred)
        apart = tf.reduce_mean((y_pred - answers) ** 2, axis=1)
        return tf.reduce_mean(weight * wrong + WEIGHT * apart)

    loss = loop.minimize(loss, state.opt, state.trained_by("opt"))
    for follower, followed in zip(state.teacher.weights, state.student.weights):
        follower.assign(DECAY * follower + (1 - DECAY) * followed)
    return {"loss": loop.mean(loss)}


def test_step(state, batch):
    """Log how often the teacher is right."""
    x, y = batch
    return {"accuracy": loop.mean(keras.metrics.sparse_categorical_accuracy(y, state.teacher(x)))}


def noisy(x, seeds):
    """Return points with noise, `[batch, 2]`."""
    return x + NOISE * keras.random.normal(tf.shape(x), seed=seeds)


def claim(plot=None):
    """Train with all points and with those that have labels; print the teacher's accuracy."""
    found, every = {}, {**data(), "train_step": step, "test_step": test_step, "verbose": 0}
    has_label = every["sample_weight"] > 0
    labelled = {key: every[key][has_label] for key in ("x", "y", "sample_weight")}
    for name, part in {"plain": labelled, "teacher": {}}.items():
        keras.utils.set_random_seed(0)
        a_pass = 1 if part else 20  # steps; 2,400 in both cases
        times = {"epochs": 2400 // a_pass, "validation_freq": 240 // a_pass}
        state = build()
        history = loop.fit(state, **{**every, **part, **times}).history["val_accuracy"]
        shown = ", ".join(f"{value:.3f}" for value in history)
        print(f"{name:>8}: test accuracy after every 240 steps: {shown}")
        found[name] = state.teacher, history[-1]
    if plot:
        draw({name: teacher for name, (teacher, _) in found.items()}, every, has_label, plot)
    teacher, plain = (found[name][1] for name in ("teacher", "plain"))
    return {"labels": LABELS, "teacher": teacher, "plain": plain, "gained": teacher - plain}


def draw(teachers, points, has_label, plot):
    """Plot where each teacher answers what, the points, and those with labels."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    x, y = points["x"], points["y"]
    across, up = np.meshgrid(np.linspace(-1.5, 2.5, 200), np.linspace(-1, 1.5, 200))
    grid = np.stack([across, up], axis=-1).reshape(-1, 2).astype("float32")
    for axes, (name, teacher) in zip(figure.subplots(1, 2), teachers.items()):
        share = tf.nn.softmax(teacher(grid))[:, 1].numpy().reshape(200, 200)
        axes.contourf(across, up, share, 20, cmap="RdBu", alpha=0.6)
        axes.scatter(*x.T, s=1, color="gray")
        axes.scatter(*x[has_label].T, c=y[has_label], cmap="RdBu", edgecolors="black")
        axes.set_title(name)
    figure.savefig(plot)


if __name__ == "__main__":
    print(CLAIM.format(**claim(*sys.argv[1:])))
