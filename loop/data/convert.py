"""Converts arrays of all kinds as fit does: to NumPy arrays or tensors, floats to `floatx`."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from loop.data.sparse import is_composite, to_sparse_tensor
from loop.types import Structure


def is_array(value: Any) -> bool:
    """Return whether fit treats a value as an array: NumPy, TensorFlow, pandas, any `__array__`.

    Mirrors: keras.src.trainers.data_adapters.array_slicing.can_slice_array
    """
    return (
        isinstance(value, tf.Tensor | tf.Variable)
        or is_composite(value)
        or hasattr(value, "__array__")
    )


def to_array(value: Any) -> Any:
    """Return an array as NumPy or as a tensor, floats cast to `floatx`, integers unchanged.

    A pandas Series `[samples]` becomes a column `[samples, 1]`.

    Raises:
        ValueError: Its dtype is not supported by fit.

    Mirrors: keras.src.trainers.data_adapters.array_slicing.convert_to_sliceable
    """
    if value is None:
        return None
    floatx = keras.config.floatx()
    value = to_sparse_tensor(value)
    if is_composite(value):
        return tf.cast(value, floatx) if value.dtype.is_floating else value
    if isinstance(value, tf.Tensor | tf.Variable):
        return tf.cast(value, floatx) if value.dtype.is_floating else tf.convert_to_tensor(value)
    if hasattr(value, "iloc"):  # pandas, not imported; a frame has a dtype for each column
        dtypes = list(value.dtypes) if value.ndim == 2 else [value.dtype]
        value = value.astype(floatx) if any(map(_needs_cast, dtypes)) else value
        array = value.to_numpy()
        return array[:, np.newaxis] if array.ndim == 1 else array
    array = np.asarray(value)
    if array.dtype == object and array.ndim == 1 and all(isinstance(text, str) for text in array):
        return tf.convert_to_tensor(array, tf.string)
    return array.astype(floatx) if _needs_cast(array.dtype) else array


def _needs_cast(dtype: Any) -> bool:
    """Return whether fit casts a dtype to `floatx`.

    Raises:
        ValueError: No model can be trained on data of this dtype.
    """
    # Not supported: extension dtypes of pandas, strings, dates, objects, structured dtypes.
    if not isinstance(dtype, np.dtype) or dtype.kind not in _SUPPORTED_KINDS or dtype.names:
        raise ValueError(
            f"Invalid dtype: {dtype}. Expected numbers or booleans in NumPy's own dtypes, or texts "
            "in a one-dimensional array of dtype object. Convert the data, for example with "
            '`.astype("float32")` or `.astype(object)`, or map texts and categories to integers.'
        )
    known = tf.as_dtype(dtype)
    return known.is_floating and known != tf.as_dtype(keras.config.floatx())


_SUPPORTED_KINDS = "biufcV"  # numbers and booleans; V: bfloat16 and other dtypes of ml_dtypes


def to_tensor(value: Any) -> Any:
    """Return an array as a tensor, which copies it to the device; sparse and ragged stay as is."""
    array = to_array(value)
    return array if array is None or is_composite(array) else tf.convert_to_tensor(array)


def common_length(data: Structure) -> int:
    """Return the number of samples, which must be the same in every array.

    Raises:
        ValueError: The arrays differ in length.
        KeyError: There is no array (Keras raises the same class).

    Mirrors: keras.src.trainers.data_adapters.data_adapter_utils.check_data_cardinality
    """
    lengths = {int(a.shape[0]) for a in keras.tree.flatten(data) if a is not None}
    if not lengths:
        raise KeyError(
            "No data: expected arrays or a tf.data.Dataset as `x`, got None. Pass loop.fit(model, "
            "x, y), or loop.fit(model, dataset)."
        )
    if len(lengths) > 1:
        sizes = {
            name: [int(a.shape[0]) for a in keras.tree.flatten(part) if a is not None]
            for name, part in zip(("x", "y", "sample_weight"), data, strict=False)
        }
        raise ValueError(
            "Data cardinality is ambiguous. Make sure all arrays contain the same number of "
            f"samples: expected one length along the first axis, got {sizes}."
        )
    return lengths.pop()
