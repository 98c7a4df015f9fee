"""Arrays in memory: a pass over them is a permutation of the samples, divided into batches.

order   = permutation(n)            [samples] int64, drawn once for each pass
batch k = rows order[k*b : (k+1)*b] of every array; a short last batch is dropped only on demand
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

ROOM_FOR_ORDERS = 2**22
"""The most int64 numbers, 32 MiB, in the orders that are drawn ahead for several passes."""


class Samples(NamedTuple):
    """Arrays of the same length, and their batch size.

    Attributes:
        arrays: `x`, `(x,)`, `(x, y)` or `(x, y, sample_weight)`, leaves `[samples, ...]` or None.
        num_samples: Number of samples.
        batch_size: Samples per batch.
        drop_remainder: Whether to leave out the last batch of a pass if it is short.
    """

    arrays: Structure
    num_samples: int
    batch_size: int
    drop_remainder: bool = False

    @property
    def num_batches(self) -> int:
        """Batches in one pass; the last may be short."""
        full = self.num_samples // self.batch_size
        return full if self.drop_remainder else math.ceil(self.num_samples / self.batch_size)


def prepare_arrays(
    x: Structure,
    y: Structure,
    sample_weight: Structure,
    batch_size: int | None,
    steps: int | None,
    class_weight: dict[int, float] | None,
    drop_remainder: bool = False,
) -> Samples:
    """Return the arrays given to fit as tensors, with class weights turned into sample weights.

    Raises:
        ValueError: The arguments contradict each other, the arrays differ in length, or
            `drop_remainder` leaves no batch.
        KeyError: No array was given.

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
    # Matches Keras: without a batch size, steps_per_epoch=k divides the data into k batches.
    default_size = math.ceil(num_samples / steps) if steps else 32
    arrays = keras.tree.lists_to_tuples(keras.tree.map_structure(to_tensor, data))
    samples = Samples(arrays, num_samples, batch_size or default_size, drop_remainder)
    if drop_remainder and not samples.num_batches:
        raise ValueError(
            f"`drop_remainder=True` leaves no batch: {num_samples} samples are fewer than the "
            f"{samples.batch_size} of a batch. Pass batch_size={max(1, num_samples)} or less."
        )
    return samples


class ArraySource:
    """Batches of dense arrays `[samples, ...]`.

    Mirrors: keras.src.trainers.data_adapters.array_data_adapter.ArrayDataAdapter
    """

    is_endless = False

    def __init__(self, samples: Samples, shuffle: bool | str = False):
        self.arrays, given, self.batch_size, drops = samples
        self.num_batches = samples.num_batches
        self.num_samples = kept = self.num_batches * self.batch_size if drops else given
        # Depends on the global seed at this point: a callback that sets another has no effect.
        draw = orders(given, self.batch_size, shuffle)
        self._draw_order = (lambda: draw()[:kept]) if drops else draw
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
        """Return the spec of a leaf of a batch; matches Keras's graphs in what is static.

        The batch size is static only if all batches have it.
        """
        if array is None:  # for example the target of an output that has none
            return None
        batch = None if self.last_is_short else self.batch_size
        return tf.TensorSpec([batch, *array.shape[1:]], array.dtype)

    def new_pass(self) -> "ArrayPass":
        """Draw an order and start a pass over the data."""
        order = self._draw_order() if self._order is None else self._order
        return ArrayPass((self.flat, order), self._take, self.batch_size)

    def orders(self, wanted: int) -> tf.Tensor:
        """Return the orders of the next passes, `[passes, samples]` int64.

        There are `wanted` of them, or fewer if they need too much memory, or a single row if every
        pass has the same order.
        """
        if self._order is not None:
            return self._order[tf.newaxis]
        room = max(1, ROOM_FOR_ORDERS // max(self.num_samples, 1))
        return tf.stack([self._draw_order() for _ in range(min(wanted, room))])

    def signature(self, static: bool = False) -> Structure:
        """Return the specs of `ArrayPass.inputs`; the number of samples is None unless `static`."""
        arrays = [
            tf.TensorSpec([len(array) if static else None, *array.shape[1:]], array.dtype)
            for array in self.flat
        ]
        return arrays, tf.TensorSpec([self.num_samples if static else None], tf.int64)

    def draw(self, inputs: Structure, place: tf.Tensor) -> Batch:
        """Return the batch at `place` of a pass, leaves `[batch, ...]`. Call it inside a graph.

        The batch size is static exactly if it is static in `spec`.
        """
        return (self.draw_any if self.last_is_short else self.draw_full)(inputs, place)

    def draw_any(self, inputs: Structure, place: tf.Tensor) -> Batch:
        """Return a full or a short batch, leaves `[batch, ...]`; its size is not static."""
        arrays, order = inputs
        start = place * self.batch_size
        end = tf.minimum(start + self.batch_size, tf.size(order, tf.int64))
        return self._take(arrays, order[start:end])

    def draw_full(self, inputs: Structure, place: tf.Tensor) -> Batch:
        """Return a full batch, leaves `[batch_size, ...]`, with static shapes (XLA needs them)."""
        arrays, order = inputs
        return self._take(arrays, tf.slice(order, [place * self.batch_size], [self.batch_size]))

    def draw_short(self, inputs: Structure) -> Batch:
        """Return the short last batch with static shapes (XLA needs them)."""
        arrays, order = inputs
        return self._take(arrays, order[self.num_samples - self.num_samples % self.batch_size :])

    def _take(self, arrays: list[tf.Tensor], rows: tf.Tensor) -> Batch:
        """Return some rows, `[batch]` int64, of every array, in the structure given to fit."""
        taken = iter([tf.gather(array, rows) for array in arrays])
        return keras.tree.map_structure(lambda a: None if a is None else next(taken), self.arrays)


def no_data(steps: int) -> ArraySource:
    """Return the source for a step that makes its own data: a pass has `steps` times None."""
    return ArraySource(Samples(None, steps, 1))


class ArrayPass:
    """One pass over arrays, with random access to its batches.

    Attributes:
        inputs: The arrays, `[samples, ...]`, and the order, `[samples]` int64: the arguments from
            which a compiled call draws batches.
    """

    def __init__(self, inputs: Structure, take: Callable[..., Batch], batch_size: int):
        self.inputs = inputs
        self._take = take
        self._batch_size = batch_size

    def batch(self, place: int) -> Batch:
        """Return the batch at `place`, counted from 0, leaves `[batch, ...]`.

        Raises:
            StopIteration: The pass has no more batches.
        """
        arrays, order = self.inputs
        start = place * self._batch_size
        if start >= len(order):
            raise StopIteration
        return self._take(arrays, order[start : start + self._batch_size])
