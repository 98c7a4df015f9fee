"""Add to the loss how far the student is from its teacher (distillation).

Use it to make a large model small, or to hand on what a model learned from data that one no longer
has. The teacher is a part of the student, frozen, so it is saved with it and not trained.
Hinton et al. (2015), "Distilling the Knowledge in a Neural Network".
"""

import sys

import keras
import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

import loop

TEMPERATURE, SHARE, UNSEEN = 4.0, 0.9, 3
CLAIM = (
    "a student that never saw a 3 knows {distilled:.0%} of them (without a teacher: {plain:.0%})"
)
HOLDS = {"distilled": (0.5, 1.0), "plain": (0.0, 0.0), "rest": (0.9, 1.0)}


def build(kind=keras.Model):
    """Return a small student of digits, with a teacher to be trained."""
    student = network(16, kind, "student")
    student.teacher = network(256, keras.Model, "teacher")
    student.teacher.trainable = False
    return student


def network(units, kind, name):
    """Return a compiled classifier whose outputs are logits."""
    inputs = keras.Input((64,))
    outputs = keras.layers.Dense(10)(keras.layers.Dense(units, "relu")(inputs))
    model = kind(inputs, outputs, name=name)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"])
    return model


def data(unseen=UNSEEN):
    """Return 1,200 digits less those of a class that the student never sees."""
    digits = load_digits()
    x, y = digits.data.astype("float32") / 16, digits.target
    kept = y[:1200] != unseen
    held_out = x[1200:], y[1200:]
    return {"x": x[:1200][kept], "y": y[:1200][kept], "epochs": 2, "validation_data": held_out}


def step(model, batch):
    """Do as `loop.train_step` does, with a share of the loss that the teacher gives."""
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
    soft = tf.nn.softmax(model.teacher(x, training=False) / TEMPERATURE)
    with tf.GradientTape() as tape:
        y_pred = loop.forward(model, x, training=True)
        loss = loop.objective(model, x, y, y_pred, sample_weight, training=True)
        apart = keras.losses.kl_divergence(soft, tf.nn.softmax(y_pred / TEMPERATURE))
        # Times the temperature squared: so the gradients are as large as at a temperature of 1.
        loss = (1 - SHARE) * loss + SHARE * TEMPERATURE**2 * tf.reduce_mean(apart)
        loop.track_loss(model, loss, x)
        scaled = model.optimizer.scale_loss(loss)
    weights = model.trainable_weights
    gradients = tape.gradient(scaled, weights)
    model.optimizer.apply_gradients(zip(gradients, weights, strict=True))
    return loop.update_metrics(model, x, y, y_pred, sample_weight)


def claim(plot=None):
    """Train a teacher on all digits, students on all but the 3s; print what these take 3s for."""
    found = {}
    for name, own_step in {"plain": loop.train_step, "distilled": step}.items():
        keras.utils.set_random_seed(0)
        student = build()
        student.teacher.trainable = True
        loop.fit(student.teacher, **{**data(unseen=None), "epochs": 30}, verbose=0)
        student.teacher.trainable = False
        loop.fit(student, **{**data(), "epochs": 100}, train_step=own_step, verbose=0)
        x, y = data()["validation_data"]
        found[name] = loop.predict(student, x, verbose=0).argmax(1)
        answers, counts = np.unique(found[name][y == UNSEEN], return_counts=True)
        shown = ", ".join(f"{answer} ({count} times)" for answer, count in zip(answers, counts))
        print(f"{name:>9} takes a {UNSEEN} for {shown}")
    if plot:
        draw(found, y, plot)
    right = {name: (answers == y)[y == UNSEEN].mean() for name, answers in found.items()}
    return {**right, "rest": (found["distilled"] == y)[y != UNSEEN].mean()}


def draw(found, y, plot):
    """Plot the answers of each student to the digits of the class that it never saw."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    answers = [answers[y == UNSEEN] for answers in found.values()]
    axes.hist(answers, np.arange(11) - 0.5, label=list(found))
    axes.set(xlabel=f"answer to a {UNSEEN}", ylabel="digits", xticks=range(10))
    axes.legend()
    figure.savefig(plot)


if __name__ == "__main__":
    print(CLAIM.format(**claim(*sys.argv[1:])))
