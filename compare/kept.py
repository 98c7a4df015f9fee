"""What a training with taps keeps as it is: one tensor of one step, or an album of many."""

import numpy as np
import tensorflow as tf


class Kept:
    """A tensor of one step, kept as it is.

    Attributes:
        name: Its name.
        step: The step, of all.
        value: A variable with it; empty until it was seen.
    """

    def __init__(self, name: str, step: int, dtype: tf.DType):
        self.name = name
        self.step = step
        empty = tf.zeros([0], dtype)
        self.value = tf.Variable(empty, shape=tf.TensorShape(None), validate_shape=False)
        self._seen = tf.Variable(False)

    def wants(self, name: str) -> bool:
        """Whether this is the tensor."""
        return name == self.name

    def see(self, name: str, tensor: tf.Tensor, step: tf.Tensor, first: bool) -> None:
        """Keeps a tensor if this is the step: what it is last, or at first."""
        wanted = tf.equal(step, self.step)
        if first:
            wanted &= tf.logical_not(self._seen)
        tf.cond(wanted, lambda: self.value.assign(tensor).read_value(), lambda: tensor)
        self._seen.assign(self._seen | wanted)


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
