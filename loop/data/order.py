"""The order of the samples in an epoch: the permutation that Keras would draw.

Keras draws it inside a `Dataset.map`, with the first random op of that graph, and makes a new
iterator for each epoch. Under a global seed every epoch therefore has the SAME order, which is
drawn once here. Without a global seed Keras's order cannot be reproduced: any permutation is right.
"""

import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf


def orders(num_samples: int, batch_size: int, shuffle: bool | str) -> Callable[[], tf.Tensor]:
    """Return a function that draws the order of the samples for a pass, `[samples]` int64.

    Mirrors: keras.src.trainers.data_adapters.array_data_adapter.ArrayDataAdapter.get_tf_dataset
    """
    if not shuffle:
        return lambda: tf.range(num_samples, dtype=tf.int64)
    if shuffle == "batch":  # batches keep their places; rows are permuted within a batch
        within = tf.data.Dataset.range(num_samples).batch(batch_size).map(tf.random.shuffle)
        return lambda: tf.concat(list(within), axis=0)
    seed = global_seed()
    if seed is not None:
        return lambda: _seeded(seed, num_samples)
    # A generator of its own leaves the random state of TensorFlow, NumPy and Python unchanged.
    draw = np.random.default_rng().permutation
    return lambda: tf.constant(draw(num_samples), tf.int64)


@functools.lru_cache(maxsize=2)  # for successive fits on the same data; a draw takes 5 ms
def _seeded(seed: int, num_samples: int) -> tf.Tensor:
    """Return the order under a global seed, `[samples]` int64.

    A new graph draws the first numbers of the seed, as Keras's new iterator does, and is built in a
    fraction of the time of a dataset.
    """
    assert seed == global_seed()  # the graph uses the global seed; the argument is the cache key

    def permutation() -> tf.Tensor:
        return tf.random.shuffle(tf.range(num_samples, dtype=tf.int64))

    order: tf.Tensor = tf.function(permutation, autograph=False).get_concrete_function()()
    return order


def global_seed() -> int | None:
    """Return the seed set by `keras.utils.set_random_seed` or `tf.random.set_seed`, or None."""
    seed, _ = tf.compat.v1.get_seed(0)  # giving an op seed (0) leaves TensorFlow's state unchanged
    if seed != 87_654_321:
        return seed
    # TensorFlow returns this number without a global seed, too. Only the seed of a graph
    # distinguishes the two cases, which takes 1 ms.
    return tf.function(lambda: None, autograph=False).get_concrete_function().graph.seed
