"""Compute the gradients of a large batch in small parts (accumulation).

Use it where a batch does not fit into memory: each part is gone before the next one is computed,
and callbacks, logs and rates see one step. (To add up over batches of the data instead, give a
Keras optimizer `gradient_accumulation_steps=`.) BatchNormalization sees parts, not the batch.
"""

import sys

import keras
import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

import loop

PARTS = 8
CLAIM = "after {steps:.0f} steps, no weight is more than {apart:.1e} from those of whole batches"
HOLDS = {"apart": (0.0, 1e-5), "accuracy": (0.9, 1.0)}


def build(kind=keras.Sequential):
    """Return a classifier of digits."""
    layers = [keras.layers.Dense(64, "relu"), keras.layers.Dense(10, "softmax")]
    model = kind([keras.Input((64,)), *layers], name="digits")
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def data():
    """Return 1,536 digits in six batches, each of which is eight parts of 32."""
    digits = load_digits()
    x, y = digits.data.astype("float32") / 16, digits.target
    held_out = x[1536:], y[1536:]
    return {"x": x[:1536], "y": y[:1536], "batch_size": 256, "epochs": 3,
            "validation_data": held_out}  # fmt: skip


def step(model, batch):
    """Do as `loop.train_step` does, a part of the batch at a time; `PARTS` divides its size."""
    parts = keras.tree.map_structure(in_parts, batch)
    weights = model.trainable_weights

    def add(part, total):
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(
            keras.tree.map_structure(lambda leaf: leaf[part], parts)
        )
        with tf.GradientTape() as tape:
            y_pred = loop.forward(model, x, training=True)
            loss = loop.objective(model, x, y, y_pred, sample_weight, training=True)
            loop.track_loss(model, loss, x)
            scaled = model.optimizer.scale_loss(loss / PARTS)
        gradients = tape.gradient(scaled, weights)
        loop.update_metrics(model, x, y, y_pred, sample_weight)
        return [one + gradient for one, gradient in zip(total, gradients)]

    gradients = keras.ops.fori_loop(0, PARTS, add, [tf.zeros_like(one) for one in weights])
    model.optimizer.apply_gradients(zip(gradients, weights, strict=True))
    return model.get_metrics_result()


def in_parts(leaf):
    """Return `[batch, ...]` as `[PARTS, batch / PARTS, ...]`."""
    return tf.reshape(leaf, [PARTS, -1, *leaf.shape[1:]])


def claim(plot=None):
    """Train on parts and on whole batches; print how the weights move apart by rounding."""
    apart, models = [], {}
    for name, own_step in {"whole": loop.train_step, "parts": step}.items():
        keras.utils.set_random_seed(0)
        models[name] = build(), own_step
    for _ in range(20):
        for model, own_step in models.values():
            history = loop.fit(model, **data(), train_step=own_step, verbose=0).history
        whole, parts = (model.get_weights() for model, _ in models.values())
        apart.append(max(np.abs(a - b).max() for a, b in zip(whole, parts)))
    shown = ", ".join(f"{value:.1e}" for value in apart[::4])
    print(f"largest difference of a weight, every 72 steps: {shown}")
    if plot:
        draw(apart, plot)
    steps = int(model.optimizer.iterations)
    return {"steps": steps, "apart": max(apart), "accuracy": history["val_accuracy"][-1]}


def draw(apart, plot):
    """Plot the largest difference of a weight over the steps."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    axes.semilogy(18 * np.arange(1, len(apart) + 1), apart)
    axes.set(xlabel="steps", ylabel="largest difference of a weight")
    figure.savefig(plot)


if __name__ == "__main__":
    print(CLAIM.format(**claim(*sys.argv[1:])))
