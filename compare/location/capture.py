"""Capture tensors while a training runs.

Either one tensor of one step, or tensors of many steps, or what a training did: which samples each
batch had, and weights and gradients at some steps.
"""

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from compare.location.fingerprint import fingerprint_rows
from compare.location.ingraph import InGraph

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

    def see_forward(self, inputs: list[tf.Tensor], step: tf.Tensor) -> None:
        """No-op: no batches are captured."""

    def see_targets(self, targets: list[tf.Tensor]) -> None:
        """No-op: no batches are captured."""

    def see_differentiated(self) -> None:
        """No-op: no batches are captured."""

    def see_rate(self, rate: tf.Tensor, step: tf.Tensor) -> None:
        """No-op: no learning rates are captured."""

    def see(self, tensors: dict[str, tf.Tensor], step: tf.Tensor, first: bool) -> None:
        """Capture the tensor if this is the step.

        Args:
            tensors: The tensor by the name of its tap, of any shape of at most `size` elements.
            step: The step that runs, int64 scalar.
            first: Whether the first value in the step counts, and not the last.
        """
        tensor = tensors[self.name]
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

    def see_forward(self, inputs: list[tf.Tensor], step: tf.Tensor) -> None:
        """No-op: no batches are captured."""

    def see_targets(self, targets: list[tf.Tensor]) -> None:
        """No-op: no batches are captured."""

    def see_differentiated(self) -> None:
        """No-op: no batches are captured."""

    def see_rate(self, rate: tf.Tensor, step: tf.Tensor) -> None:
        """No-op: no learning rates are captured."""

    def see(self, tensors: dict[str, tf.Tensor], step: tf.Tensor, first: bool) -> None:
        """Capture tensors if this is a step to capture, and those that have no value in it yet."""
        row = step // self.stride
        due = (step % self.stride == 0) & (row < self._rows)
        row = tf.minimum(row, self._rows - 1)
        for name, tensor in tensors.items():
            seen = self._seen[name]
            wanted = due & tf.logical_not(seen[row])
            value = tf.where(wanted, tensor, self.values[name][row])
            self.values[name].scatter_nd_update([[row]], value[tf.newaxis])
            seen.scatter_nd_update([[row]], [seen[row] | wanted])


STEPS = (
    *range(17),
    *(step for power in range(4, 20) for step in (3 * 2**power // 2, 2 ** (power + 1))),
)
"""The steps whose weights and gradients are captured: the first ones all, then ever fewer."""

FORWARDS, SAMPLES = 2**16, 2**21
"""How many forward passes, and how many samples in all of them, are captured."""

RATES = 2**16
"""Of how many steps the learning rate is captured."""

ELEMENTS = 2**24
"""The most elements to capture of weights and gradients: 64 MiB of float32."""


class Forward(NamedTuple):
    """One forward pass.

    Attributes:
        step: The step that runs, counted from 0 over all epochs.
        rows: The fingerprints of its samples, int64 `[samples]`.
        is_differentiated: Whether a tape computed gradients of weights right after it.
        targets: The fingerprints of what its first loss was given as targets, int64 `[samples]`;
            0 where no loss was seen; of no use where it has another number of targets.
    """

    step: int
    rows: np.ndarray
    is_differentiated: bool
    targets: np.ndarray


class CapturedTraining:
    """What a training did: the samples of each forward pass, and its weights at some steps.

    Attributes:
        steps: The steps whose weights and gradients are captured, from `STEPS`.
        values: For each weight a variable `[len(steps), *shape]`: its value as the last forward
            pass of the step finds it. Gradients likewise.
    """

    def __init__(self, weights: dict[str, np.ndarray], gradients: dict[int, tuple[int, ...]]):
        """Make room for what is captured.

        Args:
            weights: The variables of the model by name, as they begin.
            gradients: The shapes of the weights that may have gradients, by their place among the
                variables of the model.
        """
        like = {f"begun/{name}": value for name, value in weights.items()}
        like |= {
            f"gradient_of/{place}": np.zeros(shape, np.float32)
            for place, shape in gradients.items()
        }
        self._note, self._note_targets = InGraph(self._add_forward), InGraph(self._add_targets)
        size = sum(value.size for value in like.values())
        self.steps = STEPS[: max(2, ELEMENTS // max(1, size))]  # two, of however large a model
        self._rows = {step: row for row, step in enumerate(self.steps)}
        with tf.device("CPU"):
            rows = len(self.steps) + 1  # steps that are not captured share the last row
            self.values = {
                name: tf.Variable(np.zeros((rows, *value.shape), value.dtype))
                for name, value in like.items()
            }
            self._forwards = tf.Variable(tf.zeros([FORWARDS + 1, 3], tf.int64))
            self._rates = tf.Variable(tf.zeros([RATES + 1]))
            self._samples = tf.Variable(tf.zeros([SAMPLES + 1], tf.int64))
            self._targets = tf.Variable(tf.zeros([SAMPLES + 1], tf.int64))
            self._counts = tf.Variable([0, 0], dtype=tf.int64)  # forward passes, samples

    @property
    def overflows(self) -> bool:
        """Whether there were more forward passes or samples than are captured."""
        calls, samples = (int(count) for count in self._counts.numpy())
        return calls > FORWARDS or samples > SAMPLES

    def forwards(self) -> list[Forward]:
        """Return all forward passes; empty if there were too many."""
        if self.overflows:
            return []
        calls = int(self._counts.numpy()[0])
        table, rows = self._forwards.numpy()[:calls], self._samples.numpy()
        targets, ends = self._targets.numpy(), np.cumsum(table[:, 1])
        return [
            Forward(
                int(step),
                rows[end - size : end],
                bool(is_differentiated),
                targets[end - size : end],
            )
            for (step, size, is_differentiated), end in zip(table, ends, strict=True)
        ]

    def rates(self, steps: int) -> list[float]:
        """Return the learning rates of the first steps, of the optimizer that ends them."""
        return [float(rate) for rate in self._rates.numpy()[: min(steps, RATES)]]

    def at(self, kind: str, step: int) -> dict[str, np.ndarray]:
        """Return the captured tensors of a kind, "begun" or "gradient_of", at a captured step."""
        row = self.steps.index(step)
        return {
            name: value[row].numpy()
            for name, value in self.values.items()
            if name.startswith(f"{kind}/")
        }

    def wants(self, name: str) -> bool:
        """Return whether the tensor of this tap is to be captured."""
        return name in self.values

    def see_forward(self, inputs: list[tf.Tensor], step: tf.Tensor) -> None:
        """Note which samples a forward pass is given.

        Args:
            inputs: The tensors of the inputs, `[samples, ...]`.
            step: The step that runs, int64 scalar.
        """
        self._note(inputs, tf.convert_to_tensor(step))

    def _add_forward(self, inputs: list[tf.Tensor], step: tf.Tensor) -> None:
        rows = fingerprint_rows(inputs)
        calls, samples = self._counts[0], self._counts[1]
        size = tf.size(rows, tf.int64)
        places = tf.minimum(samples + tf.range(size), SAMPLES)
        self._samples.scatter_nd_update(places[:, tf.newaxis], rows)
        self._forwards.scatter_nd_update([[tf.minimum(calls, FORWARDS)]], [[step, size, 0]])
        self._counts.assign_add(tf.stack([tf.constant(1, tf.int64), size]))

    def see_targets(self, targets: list[tf.Tensor]) -> None:
        """Note which targets the last forward pass is compared with, `[samples, ...]`."""
        self._note_targets(targets)

    def _add_targets(self, targets: list[tf.Tensor]) -> None:
        rows = fingerprint_rows(targets)
        samples, size = self._counts[1], tf.size(rows, tf.int64)
        # If these are more or fewer than the samples, they mix with those of another pass, and are
        # not the targets of the data all in all: that is how `Samples` knows that nothing is known.
        places = tf.minimum(tf.maximum(samples - size, 0) + tf.range(size), SAMPLES)
        self._targets.scatter_nd_update(places[:, tf.newaxis], rows)

    def see_differentiated(self) -> None:
        """Note that a tape computes gradients of weights after the last forward pass."""
        calls = self._counts[0]
        place = tf.where(calls > 0, tf.minimum(calls - 1, FORWARDS), FORWARDS)
        self._forwards.scatter_nd_update([[place, 2]], tf.constant([1], tf.int64))

    def see_rate(self, rate: tf.Tensor, step: tf.Tensor) -> None:
        """Note the learning rate of a step."""
        self._rates.scatter_nd_update([[tf.minimum(step, RATES)]], [tf.cast(rate, tf.float32)])

    def see(self, tensors: dict[str, tf.Tensor], step: tf.Tensor, first: bool) -> None:
        """Capture tensors if this is a step to capture; the last value in a step counts."""
        if tf.executing_eagerly():  # no op for a step that is not captured
            if (row := self._rows.get(int(step))) is None:
                return
        else:
            row = tf.reduce_sum(tf.cast(tf.constant(self.steps, tf.int64) < step, tf.int64))
            due = tf.reduce_any(tf.constant(self.steps, tf.int64) == step)
            row = tf.where(due, row, len(self.steps))
        for name, tensor in tensors.items():
            kept = self.values[name]
            kept.scatter_nd_update([[row]], tf.cast(tensor, kept.dtype)[tf.newaxis])


Capture = CapturedTensor | CapturedSteps | CapturedTraining
