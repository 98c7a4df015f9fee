"""Capture tensors while a training runs: one tensor of one step, or tensors of many steps."""

import math

import numpy as np
import tensorflow as tf

RANK = 16
"""The highest rank of a tensor that can be captured."""

NO_DIMENSION = np.int64(-1)
"""Pads the stored shape of a tensor up to `RANK`."""


class CapturedTensor:
    """One tensor of one step, with its dtype and shape.

    XLA cannot change the shape of a variable, so the elements are stored flat, `[size]`.

    Attributes:
        name: The name of the tap, like `gradients/0`.
        step: The step, counted from 0 over all epochs.
    """

    def __init__(self, name: str, step: int, dtype: tf.DType, size: int):
        self.name = name
        self.step = step
        self._size = size
        with tf.device("CPU"):
            self._row = tf.Variable(tf.zeros([size], dtype))
            self._shape = tf.Variable(tf.fill([RANK], NO_DIMENSION))
            self._seen = tf.Variable(False)

    @property
    def value(self) -> tf.Tensor:
        """The captured tensor; an empty tensor, `[0]`, before it was captured."""
        shape = [int(size) for size in self._shape.numpy() if size != NO_DIMENSION]
        if not self._seen.numpy():
            shape = [0]
        return tf.reshape(self._row[: math.prod(shape)], shape)

    def wants(self, name: str) -> bool:
        """Return whether the tensor of this tap is to be captured."""
        return name == self.name

    def see(self, name: str, tensor: tf.Tensor, step: tf.Tensor, first: bool) -> None:
        """Capture the tensor if this is the step.

        Args:
            name: The name of the tap.
            tensor: The tensor, of any shape of at most `size` elements.
            step: The step that runs, int64 scalar.
            first: Whether the first value in the step counts, and not the last.
        """
        wanted = tf.equal(step, self.step)
        if first:
            wanted &= tf.logical_not(self._seen)
        self._row.assign(tf.where(wanted, _padded(tensor, self._size), self._row))
        spare = tf.fill([RANK - tf.rank(tensor)], NO_DIMENSION)
        shape = tf.concat([tf.shape(tensor, tf.int64), spare], 0)
        self._shape.assign(tf.where(wanted, shape, self._shape))
        self._seen.assign(self._seen | wanted)


def _padded(tensor: tf.Tensor, size: int) -> tf.Tensor:
    """Return the elements of a tensor, flat and padded with zeros to `[size]`."""
    flat = tf.reshape(tensor, [-1])
    return tf.concat([flat, tf.zeros([size - tf.size(flat)], tensor.dtype)], 0)


class CapturedSteps:
    """Tensors of many steps: the first value of each tensor in every `stride`-th step.

    Attributes:
        stride: How many steps lie between two captured steps.
        values: For each tap a variable `[rows, *shape of the tensor]`, one row for each step.
    """

    def __init__(self, like: dict[str, np.ndarray], rows: int, stride: int):
        self.stride = stride
        with tf.device("CPU"):
            self.values = {
                name: tf.Variable(np.zeros((rows, *array.shape), array.dtype))
                for name, array in like.items()
            }
            self._seen = {name: tf.Variable(tf.zeros([rows], tf.bool)) for name in like}
        self._rows = rows

    def wants(self, name: str) -> bool:
        """Return whether the tensor of this tap is to be captured."""
        return name in self.values

    def see(self, name: str, tensor: tf.Tensor, step: tf.Tensor, first: bool) -> None:
        """Capture the tensor if this is a step to capture and the tap has no value in it yet."""
        row, seen = step // self.stride, self._seen[name]
        due = (step % self.stride == 0) & (row < self._rows)
        row = tf.minimum(row, self._rows - 1)
        wanted = due & tf.logical_not(seen[row])
        value = tf.where(wanted, tensor, self.values[name][row])
        self.values[name].scatter_nd_update([[row]], value[tf.newaxis])
        seen.scatter_nd_update([[row]], [seen[row] | wanted])


Capture = CapturedTensor | CapturedSteps
