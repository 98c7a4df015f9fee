"""Sparse and ragged arrays in memory: tf.data draws batches of their rows, as in Keras.

A SparseTensor cannot be indexed by rows. Its indices and values can, as ragged tensors.
"""

from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from loop.types import Structure


class SparseRows(NamedTuple):
    """A sparse tensor, and its indices and values by row.

    Attributes:
        whole: The tensor, `[samples, ...]`.
        indices: The indices of the values of each row, `[samples, (values), rank]` int64.
        values: The values of each row, `[samples, (values)]`.
    """

    whole: tf.SparseTensor
    indices: tf.RaggedTensor
    values: tf.RaggedTensor


def is_composite(value: Any) -> bool:
    """Return whether an array is sparse or ragged, of TensorFlow, scipy or jax."""
    return isinstance(value, tf.RaggedTensor | tf.SparseTensor) or is_foreign_sparse(value)


def is_foreign_sparse(value: Any) -> bool:
    """Return whether a value is a sparse array of scipy or jax, without importing either."""
    return type(value).__module__.startswith(("scipy.sparse", "jax.experimental.sparse"))


def to_sparse_tensor(value: Any) -> Any:
    """Return a sparse array of scipy or jax as a SparseTensor, any other value unchanged.

    Mirrors: keras.src.trainers.data_adapters.data_adapter_utils.scipy_sparse_to_tf_sparse
    """
    if not is_foreign_sparse(value):
        return value
    if hasattr(value, "tocoo"):
        coordinates = value.tocoo()
        indices = np.stack([coordinates.row, coordinates.col], axis=1)
        return tf.SparseTensor(indices, coordinates.data, coordinates.shape)
    return tf.SparseTensor(value.indices, value.data, value.shape)


def rows_of(array: Any, start: int, stop: int) -> Any:
    """Return rows `start` to `stop` of an array of any kind, `[stop - start, ...]`."""
    if isinstance(array, tf.SparseTensor):
        first = [start] + [0] * (array.shape.rank - 1)
        return tf.sparse.slice(array, first, [stop - start, *array.shape[1:]])
    return array[start:stop]


def dataset_of_rows(
    arrays: Structure,
    num_samples: int,
    batch_size: int,
    drop_remainder: bool,
    shuffle: bool | str,
) -> tf.data.Dataset:
    """Return a dataset of batches of arrays, which may be sparse or ragged.

    As in Keras, the order is drawn by the first random op in the graph of a map: the op seed, and
    with it the order, depends on that.

    Args:
        arrays: Leaves `[samples, ...]`: dense, sparse or ragged tensors, or None.
        num_samples: Samples in each array.
        batch_size: Samples per batch.
        drop_remainder: Whether to leave out the last batch of a pass if it is short.
        shuffle: True, False or "batch".

    Mirrors: keras.src.trainers.data_adapters.array_data_adapter.ArrayDataAdapter.get_tf_dataset
    """

    def permutation(_: tf.Tensor) -> tf.Tensor:
        order = tf.range(num_samples, dtype=tf.int64)
        return tf.random.shuffle(order) if shuffle and shuffle != "batch" else order

    def batched(order: tf.Tensor) -> tf.data.Dataset:
        # Matches Keras's graphs: the batch size is static only if all batches have it.
        whole = drop_remainder or num_samples % batch_size == 0
        return tf.data.Dataset.from_tensor_slices(order).batch(batch_size, drop_remainder=whole)

    def take(order: tf.Tensor, leaves: tuple) -> Structure:
        taken = iter([_gather_rows(leaf, order) for leaf in leaves])
        return keras.tree.map_structure(lambda a: None if a is None else next(taken), arrays)

    orders = tf.data.Dataset.range(1).map(permutation).flat_map(batched)
    if shuffle == "batch":
        orders = orders.map(tf.random.shuffle)
    leaves = tuple(_indexable(leaf) for leaf in keras.tree.flatten(arrays) if leaf is not None)
    everything = tf.data.Dataset.from_tensors(leaves).repeat()
    batches = tf.data.Dataset.zip((orders, everything)).map(take, tf.data.AUTOTUNE)
    return batches.prefetch(tf.data.AUTOTUNE)


def _indexable(array: Any) -> Any:
    """Return SparseRows for a SparseTensor, any other array unchanged."""
    if not isinstance(array, tf.SparseTensor):
        return array
    samples = array.dense_shape[0]
    of_row = tf.experimental.RowPartition.from_value_rowids(array.indices[:, 0], nrows=samples)
    splits = of_row.row_splits()
    return SparseRows(
        array,
        tf.RaggedTensor.from_row_splits(array.indices, splits),
        tf.RaggedTensor.from_row_splits(array.values, splits),
    )


def _gather_rows(array: Any, rows: tf.Tensor) -> Any:
    """Return some rows, `[batch]` int64, of an array or of SparseRows, as a tensor of its kind."""
    if not isinstance(array, SparseRows):
        return tf.gather(array, rows)
    indices, values = tf.gather(array.indices, rows), tf.gather(array.values, rows)
    places = tf.concat([indices.value_rowids()[:, tf.newaxis], indices.flat_values[:, 1:]], axis=1)
    batch = rows.shape[0] or tf.shape(rows)[0]
    return tf.SparseTensor(places, values.flat_values, (batch, *array.whole.shape[1:]))
