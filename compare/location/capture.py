"""What a training with taps keeps as it is: one tensor of one step, or an album of many."""

import math

import numpy as np
import tensorflow as tf

RANK = 16
"""The highest rank of a tensor that is kept."""

UNSEEN = np.int64(-1)
"""Stands for a dimension that a shape does not have."""


class Kept:
    """A tensor of one step, kept as it is.

    XLA keeps a variable only in the shape that it has, so the elements stand in one long row.

    Attributes:
        name: Its name.
        step: The step, of all.
    """

    def __init__(self, name: str, step: int, dtype: tf.DType, size: int):
        self.name = name
        self.step = step
        self._size = size
        with tf.device("CPU"):
            self._row = tf.Variable(tf.zeros([size], dtype))
            self._shape = tf.Variable(tf.fill([RANK], UNSEEN))
            self._seen = tf.Variable(False)

    @property
    def value(self) -> tf.Tensor:
        """The tensor, as soon as it was seen; before, an empty one."""
        shape = [int(size) for size in self._shape.numpy() if size != UNSEEN]
        if not self._seen.numpy():
            shape = [0]
        return tf.reshape(self._row[: math.prod(shape)], shape)

    def wants(self, name: str) -> bool:
        """Whether this is the tensor."""
        return name == self.name

    def see(self, name: str, tensor: tf.Tensor, step: tf.Tensor, first: bool) -> None:
        """Keeps a tensor if this is the step: what it is last, or at first."""
        wanted = tf.equal(step, self.step)
        if first:
            wanted &= tf.logical_not(self._seen)
        self._row.assign(tf.where(wanted, _filled_up(tensor, self._size), self._row))
        spare = tf.fill([RANK - tf.rank(tensor)], UNSEEN)
        shape = tf.concat([tf.shape(tensor, tf.int64), spare], 0)
        self._shape.assign(tf.where(wanted, shape, self._shape))
        self._seen.assign(self._seen | wanted)


def _filled_up(tensor: tf.Tensor, size: int) -> tf.Tensor:
    """The elements of a tensor in one row of a given size."""
    flat = tf.reshape(tensor, [-1])
    return tf.concat([flat, tf.zeros([size - tf.size(flat)], tensor.dtype)], 0)


class Album:
    """Tensors of many steps, kept as they are at first in each.

    Attributes:
        stride: Every so many steps are kept.
        values: By name a variable with a row for each of those steps.
    """

    def __init__(self, like: dict[str, np.ndarray], rows: int, stride: int):
        self.stride = stride
        with tf.device("CPU"):
            self.values = {
                name: tf.Variable(np.zeros((rows, *one.shape), one.dtype))
                for name, one in like.items()
            }
            self._seen = {name: tf.Variable(tf.zeros([rows], tf.bool)) for name in like}
        self._rows = rows

    def wants(self, name: str) -> bool:
        """Whether this is one of them."""
        return name in self.values

    def see(self, name: str, tensor: tf.Tensor, step: tf.Tensor, first: bool) -> None:
        """Keeps a tensor if this is one of the steps, and it was not seen in it."""
        row, seen = step // self.stride, self._seen[name]
        due = (step % self.stride == 0) & (row < self._rows)
        row = tf.minimum(row, self._rows - 1)
        wanted = due & tf.logical_not(seen[row])
        kept = tf.where(wanted, tensor, self.values[name][row])
        self.values[name].scatter_nd_update([[row]], kept[tf.newaxis])
        seen.scatter_nd_update([[row]], [seen[row] | wanted])
