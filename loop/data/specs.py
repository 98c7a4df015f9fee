"""The specs of batches from Python code, found by peeking at the first two batches, as in Keras.

Axes that differ between the two are None in the spec, and so is the batch size.
"""

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from loop.data.sparse import to_sparse_tensor
from loop.types import Batch, Structure

PEEKED = 2
"""Number of batches that are drawn before training to find their shapes."""


def from_python(batches: Callable[[], Iterator[Batch]], spec: Structure) -> tf.data.Dataset:
    """Return a dataset that calls `batches` at the start of each pass and yields from it."""
    return tf.data.Dataset.from_generator(batches, output_signature=spec)


def common_spec(batches: list[Batch]) -> Structure:
    """Return the spec that all given batches fit: for each leaf `[None, ...]`.

    Raises:
        ValueError: A leaf is a scalar, or its rank differs between batches.

    Mirrors: keras.src.trainers.data_adapters.data_adapter_utils.get_tensor_spec
    """
    return keras.tree.map_structure(_leaf_spec, *batches)


def _leaf_spec(*leaves: Any) -> tf.TypeSpec:
    """Return the spec of a leaf, given the same leaf of several batches."""
    first = leaves[0]
    if first is None:
        return tf.OptionalSpec(None)
    first = first if hasattr(first, "shape") else np.array(first)
    if len(first.shape) < 1:
        raise ValueError(
            "When passing a dataset to a Keras model, the arrays must be at least rank 1. "
            f"Received: {first} of rank {len(first.shape)}."
        )
    shapes = [
        tuple(np.shape(leaf) if not hasattr(leaf, "shape") else leaf.shape) for leaf in leaves
    ]
    if len({len(shape) for shape in shapes}) > 1:
        raise ValueError(
            "When passing a dataset to a Keras model, the corresponding arrays in each batch must "
            f"have the same rank. Received: shapes {shapes}"
        )
    common = [sizes[0] if len(set(sizes)) == 1 else None for sizes in zip(*shapes, strict=True)]
    shape = [None, *common[1:]]
    dtype = keras.backend.standardize_dtype(first.dtype)
    if isinstance(first, tf.RaggedTensor):
        return tf.RaggedTensorSpec(shape, dtype, first.ragged_rank, first.row_splits.dtype)
    if isinstance(for_tensorflow(first), tf.SparseTensor):
        return tf.SparseTensorSpec(shape, dtype)
    return tf.TensorSpec(shape, dtype)


def check_against_spec(leaf: Any, spec: tf.TypeSpec) -> Any:
    """Return a leaf of a batch as tf.data accepts it.

    Raises:
        TypeError: Its shape does not fit the spec of the batches that were peeked at.
    """
    leaf = for_tensorflow(leaf)
    if not isinstance(spec, tf.OptionalSpec) and not spec.shape.is_compatible_with(leaf.shape):
        raise TypeError(
            f"Generator yielded an element of shape {leaf.shape} where an element of shape "
            f"{spec.shape} was expected. Your generator provides tensors with variable input "
            "dimensions other than the batch size. Make sure that the generator's first two "
            "batches do not have the same dimension value wherever there is a variable input "
            "dimension."
        )
    return leaf


def for_tensorflow(leaf: Any) -> Any:
    """Return a leaf as tf.data accepts it: an empty Optional for None, a SparseTensor if sparse."""
    return tf.experimental.Optional.empty(None) if leaf is None else to_sparse_tensor(leaf)
