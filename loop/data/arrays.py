"""Arrays in memory: an epoch is a permutation of the samples, cut into batches.

order   = permutation(n)            [samples] int64, drawn once for each pass
batch k = rows order[k*b : (k+1)*b] of every array; the last batch may be short, and is kept
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from loop.data.weights import class_to_sample_weight, weight_for_each_output
from loop.types import Batch, Structure


class ArraySource:
    """Batches of arrays `[samples, ...]`.

    Mirrors: keras.src.trainers.data_adapters.array_data_adapter.ArrayDataAdapter
    """

    def __init__(
        self,
        x: Structure,
        y: Structure = None,
        sample_weight: Structure = None,
        *,
        batch_size: int | None = None,
        steps: int | None = None,
        shuffle: bool | str = False,
        class_weight: dict[int, float] | None = None,
    ):
        if sample_weight is not None and class_weight is not None:
            raise ValueError(
                "You cannot pass `class_weight` and `sample_weight` at the same time: expected one "
                "of them. Multiply the class weights into `sample_weight`."
            )
        if class_weight is not None:
            sample_weight = class_to_sample_weight(y, class_weight)
        elif sample_weight is not None:
            sample_weight = weight_for_each_output(y, sample_weight)
        if batch_size is not None and batch_size < 0:
            raise ValueError(f"Expected `batch_size` to be 1 or more, got {batch_size}.")
        data = keras.utils.pack_x_y_sample_weight(x, y, sample_weight)
        self.num_samples = common_length(data)
        # fit(steps_per_epoch=k) without a batch size asks for k batches that cover the data.
        covering = math.ceil(self.num_samples / steps) if steps else 32
        self.batch_size = batch_size or covering
        self.num_batches = math.ceil(self.num_samples / self.batch_size)
        # Made now, under the seed of now: a callback that sets another one changes nothing.
        self._draw_order = orders(self.num_samples, self.batch_size, shuffle)
        self._order = self._draw_order() if not shuffle or global_seed_is_set() else None
        self.arrays = keras.tree.lists_to_tuples(keras.tree.map_structure(to_tensor, data))
        self.spec = keras.tree.map_structure(self._leaf_spec, self.arrays)

    def _leaf_spec(self, array: tf.Tensor | None) -> tf.TensorSpec | None:
        """Keras's graphs know the batch size only where every batch has it; so do ours."""
        if array is None:  # an output without a target, say: its batches are None too
            return None
        batch = None if self.num_samples % self.batch_size else self.batch_size
        return tf.TensorSpec([batch, *array.shape[1:]], array.dtype)

    def new_pass(self) -> Iterator[Batch]:
        """Draws an order and yields the batches of one pass, leaves `[batch, ...]`."""
        rows = self._draw_order() if self._order is None else self._order
        for start in range(0, self.num_samples, self.batch_size):
            yield take(self.arrays, rows[start : start + self.batch_size])


def take(arrays: Structure, rows: tf.Tensor) -> Batch:
    """Some rows, `[batch]` int64, of every array."""
    return keras.tree.map_structure(lambda a: None if a is None else tf.gather(a, rows), arrays)


def orders(num_samples: int, batch_size: int, shuffle: bool | str) -> Callable[[], tf.Tensor]:
    """A function that draws the order of the samples for one pass, `[samples]` int64.

    Keras draws it inside a `Dataset.map`, with the first random op of that graph, and makes a new
    iterator for each epoch. Under a global seed every epoch therefore has the SAME order, and one
    draw serves them all.

    Mirrors: keras.src.trainers.data_adapters.array_data_adapter.ArrayDataAdapter.get_tf_dataset
    """
    if not shuffle:
        return lambda: tf.range(num_samples, dtype=tf.int64)
    if shuffle == "batch":  # batches keep their places, rows are permuted inside each
        within = tf.data.Dataset.range(num_samples).batch(batch_size).map(tf.random.shuffle)
        return lambda: tf.concat(list(within), axis=0)

    def permutation(_: tf.Tensor) -> tf.Tensor:
        return tf.random.shuffle(tf.range(num_samples, dtype=tf.int64))

    over_all = tf.data.Dataset.range(1).map(permutation)
    return lambda: next(iter(over_all))


def global_seed_is_set() -> bool:
    """Whether `keras.utils.set_random_seed` or `tf.random.set_seed` was called."""
    seed, _ = tf.compat.v1.get_seed(0)  # with a seed for the operation given: nothing is drawn
    return seed != 87_654_321  # what TensorFlow reports for none


def is_array(value: Any) -> bool:
    """Whether fit takes a value for an array: NumPy, TensorFlow, pandas, whatever has `__array__`.

    Mirrors: keras.src.trainers.data_adapters.array_slicing.can_slice_array
    """
    return isinstance(value, tf.Tensor | tf.Variable | tf.RaggedTensor | tf.SparseTensor) or (
        hasattr(value, "__array__")
    )


def to_array(value: Any) -> Any:
    """One array as fit sees it: a NumPy array or a tensor, floats of `floatx`, integers untouched.

    A pandas Series `[samples]` becomes a column `[samples, 1]`.

    Raises:
        ValueError: It is of a dtype that fit does not know.

    Mirrors: keras.src.trainers.data_adapters.array_slicing.convert_to_sliceable
    """
    if value is None:
        return None
    if isinstance(value, tf.RaggedTensor | tf.SparseTensor):
        raise NotImplementedError(
            f"`model.fit` takes a {type(value).__name__}, loop.fit does not yet. Pass a dense "
            "tensor (`.to_tensor()`, `tf.sparse.to_dense`) or a tf.data.Dataset."
        )
    floatx = keras.config.floatx()
    if isinstance(value, tf.Tensor | tf.Variable):
        return tf.cast(value, floatx) if value.dtype.is_floating else tf.convert_to_tensor(value)
    if hasattr(value, "iloc"):  # pandas, without importing it: of a frame the columns decide
        dtypes = list(value.dtypes) if value.ndim == 2 else [value.dtype]
        value = value.astype(floatx) if any(map(_is_other_float, dtypes)) else value
        array = value.to_numpy()
        return array[:, np.newaxis] if array.ndim == 1 else array
    array = np.asarray(value)
    if array.dtype == object and array.ndim == 1 and all(isinstance(one, str) for one in array):
        return tf.convert_to_tensor(array, tf.string)
    return array.astype(floatx) if _is_other_float(array.dtype) else array


def _is_other_float(dtype: Any) -> bool:
    """Whether fit casts a dtype to `floatx`.

    Raises:
        ValueError: It is no dtype that a model can be trained on.
    """
    # Neither an extension dtype of pandas, nor texts, dates, objects or records with fields.
    if not isinstance(dtype, np.dtype) or dtype.kind not in _KINDS or dtype.names:
        raise ValueError(
            f"Invalid dtype: {dtype}. Expected numbers or booleans in NumPy's own dtypes, or a "
            "one-dimensional array of str objects. Convert the data, for example with "
            '`.astype("float32")`, or map texts and categories to integers.'
        )
    known = tf.as_dtype(dtype)
    return known.is_floating and known != tf.as_dtype(keras.config.floatx())


_KINDS = "biufcV"  # numbers and booleans; V: bfloat16 and its kin, registered by ml_dtypes


def to_tensor(value: Any) -> tf.Tensor | None:
    """One array as a tensor on the device, all of it at once."""
    array = to_array(value)
    return None if array is None else tf.convert_to_tensor(array)


def common_length(data: Structure) -> int:
    """The number of samples, the same in every array.

    Raises:
        ValueError: The arrays differ in length.
        KeyError: There is no array at all (the class that Keras raises here).

    Mirrors: keras.src.trainers.data_adapters.data_adapter_utils.check_data_cardinality
    """
    lengths = {int(a.shape[0]) for a in keras.tree.flatten(data) if a is not None}
    if not lengths:
        raise KeyError("No data: expected arrays or a tf.data.Dataset as `x`, got None.")
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
