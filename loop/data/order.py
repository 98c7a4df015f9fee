"""In which order an epoch sees the samples: the permutation that Keras would draw.

Keras draws it inside a `Dataset.map`, with the first random op of that graph, and makes a new
iterator for each epoch. Under a global seed every epoch therefore has the SAME order, and one draw
serves them all; without one nobody can tell which it is, and any permutation will do.
"""

import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf


def orders(num_samples: int, batch_size: int, shuffle: bool | str) -> Callable[[], tf.Tensor]:
    """A function that draws the order of the samples for one pass, `[samples]` int64.

    Mirrors: keras.src.trainers.data_adapters.array_data_adapter.ArrayDataAdapter.get_tf_dataset
    """
    if not shuffle:
        return lambda: tf.range(num_samples, dtype=tf.int64)
    if shuffle == "batch":  # batches keep their places, rows are permuted inside each
        within = tf.data.Dataset.range(num_samples).batch(batch_size).map(tf.random.shuffle)
        return lambda: tf.concat(list(within), axis=0)
    seed = global_seed()
    if seed is not None:
        return lambda: _seeded(seed, num_samples)
    # Of its own generator: what TensorFlow, NumPy and Python draw next is what it would have been.
    draw = np.random.default_rng().permutation
    return lambda: tf.constant(draw(num_samples), tf.int64)


@functools.lru_cache(maxsize=2)  # fits on the same data follow each other; a draw takes 6 ms
def _seeded(seed: int, num_samples: int) -> tf.Tensor:
    """The order under a global seed, `[samples]` int64."""

    def permutation(_: tf.Tensor) -> tf.Tensor:
        return tf.random.shuffle(tf.range(num_samples, dtype=tf.int64))

    assert seed == global_seed()  # the map takes it from there; the argument is what is cached by

    return next(iter(tf.data.Dataset.range(1).map(permutation)))


def global_seed() -> int | None:
    """What `keras.utils.set_random_seed` or `tf.random.set_seed` set, or None."""
    seed, _ = tf.compat.v1.get_seed(0)  # with a seed for the operation given: nothing is drawn
    if seed != 87_654_321:
        return seed
    # TensorFlow says this number for none as well; a graph knows which it is, but takes 1 ms.
    return tf.function(lambda: None, autograph=False).get_concrete_function().graph.seed
