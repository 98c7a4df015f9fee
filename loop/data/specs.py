"""The shapes of batches that Python makes: like fit, we look at the first two.

What differs between them is left open, and so is the size of a batch.
"""

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from loop.data.sparse import to_sparse_tensor
from loop.types import Batch, Structure

PEEKED = 2
"""Batches to look at before training."""


def from_python(batches: Callable[[], Iterator[Batch]], spec: Structure) -> tf.data.Dataset:
    """A dataset whose passes run Python."""
    return tf.data.Dataset.from_generator(batches, output_signature=spec)


def common_spec(batches: list[Batch]) -> Structure:
    """What some batches have in common: a spec for each leaf, `[None, ...]`.

    Raises:
        ValueError: A leaf has no axis for samples, or another rank in another batch.

    Mirrors: keras.src.trainers.data_adapters.data_adapter_utils.get_tensor_spec
    """
    return keras.tree.map_structure(_leaf_spec, *batches)


def _leaf_spec(*leaves: Any) -> tf.TypeSpec:
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
    alike = [sizes[0] if len(set(sizes)) == 1 else None for sizes in zip(*shapes, strict=True)]
    shape = [None, *alike[1:]]
    dtype = keras.backend.standardize_dtype(first.dtype)
    if isinstance(first, tf.RaggedTensor):
        return tf.RaggedTensorSpec(shape, dtype, first.ragged_rank, first.row_splits.dtype)
    if isinstance(for_tensorflow(first), tf.SparseTensor):
        return tf.SparseTensorSpec(shape, dtype)
    return tf.TensorSpec(shape, dtype)


def fitting(leaf: Any, spec: tf.TypeSpec) -> Any:
    """A leaf of a batch as tf.data takes it.

    Raises:
        TypeError: Its shape is not that of the batches that were looked at.
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
    """A leaf as tf.data takes it, which knows no None."""
    return tf.experimental.Optional.empty(None) if leaf is None else to_sparse_tensor(leaf)
