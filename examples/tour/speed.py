"""The ladder of compilation: the same step, called in five ways, with microseconds of each.

Run it: `python -m examples.tour.speed`. The graphs without XLA give the bits of fit: they run the
same operations in the same order. TensorFlow rewrites graphs, so eager operations may round
otherwise, and XLA compiles kernels of its own.
"""

import time

import keras
import numpy as np
import tensorflow as tf

from examples.base import compiled, to_batches, train_step

STEPS = 100
BATCH_SIZE = 32


def model_fit(model, x, y):
    """Return `model.fit` on an epoch, to compare with."""
    return lambda: model.fit(x, y, BATCH_SIZE, shuffle=False, verbose=0)


def eager(model, x, y):
    """Call each operation of a step from Python, as a loop without `tf.function` does."""
    batches = to_batches(x, y, None, BATCH_SIZE, shuffle=False)
    return lambda: [train_step(model, batch) for batch in batches]


def graph_a_step(model, x, y):
    """Call a graph for each step and read its logs, as in `examples/base.py` and in fit."""
    batches = to_batches(x, y, None, BATCH_SIZE, shuffle=False)
    train = compiled(train_step, model)

    def epoch():
        iterator = iter(batches)
        for _ in range(len(batches)):
            keras.tree.map_structure(float, train(iterator))

    return epoch


def call_an_epoch(model, x, y):
    """Call a graph for each epoch; it draws its batches from an iterator."""
    batches = to_batches(x, y, None, BATCH_SIZE, shuffle=False)

    @tf.function
    def run(iterator):
        for _ in tf.range(STEPS):
            train_step(model, next(iterator))

    return lambda: run(iter(batches))


def batches_in_the_graph(model, x, y, jit_compile=None):
    """Call a graph for each epoch; it cuts its batches out of tensors in memory."""

    @tf.function(jit_compile=jit_compile)
    def run(x, y):
        for step in tf.range(STEPS):
            rows = [step * BATCH_SIZE, 0]
            train_step(
                model, [tf.slice(array, rows, [BATCH_SIZE, array.shape[1]]) for array in (x, y)]
            )

    x, y = tf.constant(x), tf.constant(y)
    return lambda: run(x, y)


def by_xla(model, x, y):
    """Compile the same with XLA."""
    return batches_in_the_graph(model, x, y, jit_compile=True)


WAYS = (model_fit, eager, graph_a_step, call_an_epoch, batches_in_the_graph, by_xla)


def build():
    """Return a small classifier."""
    keras.utils.set_random_seed(0)
    layers = [keras.Input((10,)), keras.layers.Dense(16, "relu"), keras.layers.Dense(1, "sigmoid")]
    model = keras.Sequential(layers)
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    return model


def seconds(epoch, model):
    """Return the seconds that an epoch takes, until its last update can be read."""
    started = time.perf_counter()
    epoch()
    model.weights[-1].numpy()  # waits for the device
    return time.perf_counter() - started


def main():
    """Print what a step takes in each way, and whether its weights are those of fit."""
    random = np.random.default_rng(0)
    x = random.normal(size=(STEPS * BATCH_SIZE, 10)).astype("float32")
    y = (x.sum(axis=1, keepdims=True) > 0).astype("float32")
    print(f"{'':24}first epoch   a step later   weights after an epoch")
    expected = None
    for way in WAYS:
        model = build()
        epoch = way(model, x, y)
        first = seconds(epoch, model)
        weights = model.get_weights()
        expected = expected or weights
        same = all(map(np.array_equal, weights, expected))
        bits = "those of fit" if same else "rounded otherwise"
        later = min(seconds(epoch, model) for _ in range(5)) / STEPS * 1e6
        name = way.__name__.replace("_", " ")
        print(f"{name:24}{first:>9.1f} s{later:>12,.0f} us   {bits}")


if __name__ == "__main__":
    main()
