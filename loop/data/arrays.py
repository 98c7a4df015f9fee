"""Arrays in memory: an epoch is a permutation of the samples, cut into batches.

order   = permutation(n)            [samples] int64, drawn once for each pass
batch k = rows order[k*b : (k+1)*b] of every array; the last batch may be short, and is kept
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import keras
import tensorflow as tf

from loop.data.convert import common_length, to_tensor
from loop.data.order import global_seed, orders
from loop.data.weights import class_to_sample_weight, weight_for_each_output
from loop.types import Batch, Structure

ROOM_FOR_ORDERS = 2**22  # numbers, 32 MiB: as many as orders drawn ahead may take


class Samples(NamedTuple):
    """Arrays that belong together.

    Attributes:
        arrays: `x`, `(x,)`, `(x, y)` or `(x, y, sample_weight)`, leaves `[samples, ...]` or None.
        num_samples: How many there are.
        batch_size: Samples in a batch.
    """

    arrays: Structure
    num_samples: int
    batch_size: int

    @property
    def num_batches(self) -> int:
        """Batches in one pass; the last may be short."""
        return math.ceil(self.num_samples / self.batch_size)


def gathered(
    x: Structure,
    y: Structure,
    sample_weight: Structure,
    batch_size: int | None,
    steps: int | None,
    class_weight: dict[int, float] | None,
) -> Samples:
    """What the user passed as arrays, with class weights as sample weights.

    Raises:
        ValueError: The arguments contradict each other, or the arrays differ in length.
        KeyError: There is no array at all.

    Mirrors: keras.src.trainers.data_adapters.array_data_adapter.ArrayDataAdapter
    """
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
    num_samples = common_length(data)
    # fit(steps_per_epoch=k) without a batch size asks for k batches that cover the data.
    covering = math.ceil(num_samples / steps) if steps else 32
    arrays = keras.tree.lists_to_tuples(keras.tree.map_structure(to_tensor, data))
    return Samples(arrays, num_samples, batch_size or covering)


class ArraySource:
    """Batches of dense arrays `[samples, ...]`.

    Mirrors: keras.src.trainers.data_adapters.array_data_adapter.ArrayDataAdapter
    """

    is_endless = False

    def __init__(self, samples: Samples, shuffle: bool | str = False):
        self.arrays, self.num_samples, self.batch_size = samples
        self.num_batches = samples.num_batches
        # Made now, under the seed of now: a callback that sets another one changes nothing.
        self._draw_order = orders(self.num_samples, self.batch_size, shuffle)
        self.repeats_its_order = not shuffle or global_seed() is not None
        self._order = self._draw_order() if self.repeats_its_order else None
        self.flat = [array for array in keras.tree.flatten(self.arrays) if array is not None]
        self.last_is_short = self.num_samples % self.batch_size > 0
        self.spec = keras.tree.map_structure(self._leaf_spec, self.arrays)

    def begin_epoch(self) -> None:
        """No-op."""

    def end_epoch(self) -> None:
        """No-op."""

    def _leaf_spec(self, array: tf.Tensor | None) -> tf.TensorSpec | None:
        """Keras's graphs know the batch size only where every batch has it; so do ours."""
        if array is None:  # an output without a target, say: its batches are None too
            return None
        batch = None if self.last_is_short else self.batch_size
        return tf.TensorSpec([batch, *array.shape[1:]], array.dtype)

    def new_pass(self) -> "ArrayPass":
        """Draws an order and starts a pass over the data."""
        order = self._draw_order() if self._order is None else self._order
        return ArrayPass((self.flat, order), self._take, self.batch_size)

    def orders(self, wanted: int) -> tf.Tensor:
        """Orders for the next passes, `[passes, samples]` int64: as many as wanted, or fewer.

        Where every pass has the same order, one row stands for all of them.
        """
        if self._order is not None:
            return self._order[tf.newaxis]
        room = max(1, ROOM_FOR_ORDERS // max(self.num_samples, 1))
        return tf.stack([self._draw_order() for _ in range(min(wanted, room))])

    def signature(self, static: bool = False) -> Structure:
        """Specs of `ArrayPass.inputs`; the number of samples is left open unless `static`."""
        samples = self.num_samples if static else None
        arrays = [tf.TensorSpec([samples, *one.shape[1:]], one.dtype) for one in self.flat]
        return arrays, tf.TensorSpec([samples], tf.int64)

    def draw(self, inputs: Structure, place: tf.Tensor) -> Batch:
        """Inside a graph: batch number `place` of a pass, leaves `[batch, ...]`.

        Its size is static exactly where it is in `spec`.
        """
        if self.last_is_short:
            arrays, order = inputs
            start = place * self.batch_size
            end = tf.minimum(start + self.batch_size, tf.size(order, tf.int64))
            return self._take(arrays, order[start:end])
        return self.draw_full(inputs, place)

    def draw_full(self, inputs: Structure, place: tf.Tensor) -> Batch:
        """The same for any batch but a short last one, where every shape must be static."""
        arrays, order = inputs
        return self._take(arrays, tf.slice(order, [place * self.batch_size], [self.batch_size]))

    def draw_short(self, inputs: Structure) -> Batch:
        """The same for the short last batch, where every shape must be static."""
        arrays, order = inputs
        return self._take(arrays, order[self.num_samples - self.num_samples % self.batch_size :])

    def _take(self, arrays: list[tf.Tensor], rows: tf.Tensor) -> Batch:
        """Some rows, `[batch]` int64, of every array, in the structure that the user gave."""
        taken = iter([tf.gather(array, rows) for array in arrays])
        return keras.tree.map_structure(lambda a: None if a is None else next(taken), self.arrays)


class ArrayPass:
    """One pass over arrays: batches by their place, leaves `[batch, ...]`.

    Attributes:
        inputs: The arrays, `[samples, ...]` each, and the order, `[samples]` int64: all that a
            compiled call needs to draw batches itself.
    """

    def __init__(self, inputs: Structure, take: Callable[..., Batch], batch_size: int):
        self.inputs = inputs
        self._take = take
        self._batch_size = batch_size

    def batch(self, place: int) -> Batch:
        """Return batch number `place`, leaves `[batch, ...]`.

        Raises:
            StopIteration: The pass has no more batches.
        """
        arrays, order = self.inputs
        start = place * self._batch_size
        if start >= len(order):
            raise StopIteration
        return self._take(arrays, order[start : start + self._batch_size])
