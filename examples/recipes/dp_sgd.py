"""Clip the gradient of each sample, and add noise to their sum (DP-SGD).

Use it where no single sample may be read out of the weights. How private a training is follows from
the noise, the batch size and the number of steps: an accountant, `dp-accounting` for example, says.
Abadi et al. (2016), "Deep Learning with Differential Privacy".
"""

import sys

import keras
import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

import loop

LONGEST, NOISE = 0.5, 0.6
CLAIM = (
    "clipped gradients are within {apart:.0e} of single-sample runs; test accuracy {accuracy:.3f}"
)
HOLDS = {"apart": (0.0, 1e-5), "clipped": (0.2, 1.0), "accuracy": (0.85, 1.0)}


def build(kind=keras.Sequential):
    """Return a classifier of digits that holds the seeds of its noise."""
    layers = [keras.layers.Dense(64, "relu"), keras.layers.Dense(10, "softmax")]
    model = kind([keras.Input((64,)), *layers], name="digits")
    model.seeds = keras.random.SeedGenerator(1)  # part of the model: saved and resumed with it
    optimizer = keras.optimizers.SGD(0.5)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def data():
    """Return 1,280 digits in batches of 128, and 517 to validate on."""
    digits = load_digits()
    x, y = digits.data.astype("float32") / 16, digits.target
    held_out = x[1280:], y[1280:]
    return {"x": x[:1280], "y": y[:1280], "batch_size": 128, "epochs": 3,
            "validation_data": held_out}  # fmt: skip


def step(model, batch):
    """Do as `loop.train_step` does, with private gradients (in float32)."""
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
    y_pred = loop.forward(model, x, training=True)
    loss = loop.objective(model, x, y, y_pred, sample_weight, training=True)
    loop.track_loss(model, loss, x)
    weights = model.trainable_weights
    gradients = clipped(loop.per_example_gradients(loss_of, model, batch))
    gradients = [private(gradient, model.seeds) for gradient in gradients]
    model.optimizer.apply_gradients(zip(gradients, weights, strict=True))
    return loop.update_metrics(model, x, y, y_pred, sample_weight)


def loss_of(model, one):
    """Return the loss of a batch of one."""
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(one)
    return loop.objective(model, x, y, loop.forward(model, x, training=True), sample_weight)


def clipped(gradients):
    """Make the gradient of each sample, over all weights, at most `LONGEST` long.

    Args:
        gradients: One for each weight, `[batch, *weight.shape]`.
    """
    flat = [tf.reshape(gradient, [tf.shape(gradient)[0], -1]) for gradient in gradients]
    factor = tf.minimum(1.0, LONGEST / tf.norm(tf.concat(flat, axis=1), axis=1))
    return [
        tf.reshape(tf.expand_dims(factor, 1) * one, tf.shape(gradient))
        for one, gradient in zip(flat, gradients)
    ]


def private(gradient, seeds):
    """Return the mean over samples with noise, `[*weight.shape]`."""
    noise = LONGEST * NOISE * keras.random.normal(gradient.shape[1:], seed=seeds)
    size = tf.cast(tf.shape(gradient)[0], gradient.dtype)
    return (tf.reduce_sum(gradient, axis=0) + noise) / size


def claim(plot=None):
    """Train it, and compare clipped gradients with those of samples run one by one."""
    keras.utils.set_random_seed(0)
    model, arguments = build(), {**data(), "epochs": 40, "verbose": 0}
    history = loop.fit(model, **arguments, train_step=step).history
    x, y = (tf.convert_to_tensor(arguments[key][:128]) for key in ("x", "y"))
    together = clipped(loop.per_example_gradients(loss_of, model, (x, y)))
    apart, lengths = 0.0, []
    for place in range(128):
        with tf.GradientTape() as tape:
            loss = loss_of(model, (x[place : place + 1], y[place : place + 1]))
        alone = tape.gradient(loss, model.trainable_weights)
        lengths.append(float(tf.linalg.global_norm(alone)))
        alone, _ = tf.clip_by_global_norm(alone, LONGEST)
        apart = max(apart, *(np.abs(a - b[place]).max() for a, b in zip(alone, together)))
    share = np.mean(np.array(lengths) > LONGEST)
    print(f"lengths of gradients: {np.percentile(lengths, [0, 25, 50, 75, 100]).round(3)}")
    if plot:
        draw(lengths, plot)
    return {"apart": apart, "clipped": share, "accuracy": history["val_accuracy"][-1]}


def draw(lengths, plot):
    """Plot the lengths of the gradients, and where they are clipped."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    axes.hist(lengths, 40)
    axes.axvline(LONGEST, color="black", linestyle=":")
    axes.set(xlabel="length of the gradient of a sample", ylabel="samples")
    figure.savefig(plot)


if __name__ == "__main__":
    print(CLAIM.format(**claim(*sys.argv[1:])))
