"""Predictions of batches: one call a batch, as Keras does it, or many batches in a compiled call.

    while place < end:
        if now >= deadline: end = place + 1                 # this batch is the last one
        predictions[place - start] = predict([source.draw(inputs, place)])
        place += 1

The loop calls the graph that a single call on such a batch would run, so the bits are Keras's. Only
full batches run in it: for the short last batch Keras has a graph of its own.
"""

import time
from typing import Any

import tensorflow as tf

from loop.data import ArraySource
from loop.engine.graphs import FlatFunction, concrete, flat_call, graph, why_alone
from loop.types import Batch, Segment, Structure

SAVED = 3e-4
"""Seconds that a batch saves in a loop, against a call of its own, on 2 cores."""

TO_BUILD = 2.0
"""How much longer than the first call of a single batch it takes, at most, to build a loop."""

ROOM = 2**26
"""The most bytes of predictions in one call, 64 MiB."""


class PredictFunction:
    """Predicts batches, one or many per call.

    Attributes:
        function: Returns the predictions of a list of batches: a `FlatFunction`, or Python.
        in_xla: Whether the step is compiled with XLA; then no batches share a call.
    """

    def __init__(self, function: Any, in_xla: bool):
        self.function = function
        self.in_xla = in_xla
        self._loops: dict[tuple, Loop | None] = {}
        self._first_seconds: float | None = None
        self._single = 0  # batches predicted in calls of their own since a loop was built

    def __call__(self, batches: list[Batch]) -> Structure:
        """Return the predictions of a few batches, `[samples, ...]`, in a call of their own."""
        started = time.perf_counter()
        outputs = self.function(batches)
        if self._first_seconds is None:
            self._first_seconds = time.perf_counter() - started
        self._single += len(batches)
        return outputs

    def may_loop(self, source: Any) -> bool:
        """Return whether batches of a source may share a call, as far as is known untraced."""
        is_graph = isinstance(self.function, FlatFunction) and not self.in_xla
        eagerly = tf.config.functions_run_eagerly() or tf.distribute.has_strategy()
        return is_graph and not eagerly and isinstance(source, ArraySource)

    def run(self, source: ArraySource, segment: Segment) -> tuple[int, Structure]:
        """Predict batches of a segment over arrays until its time limit or `ROOM` ends the call.

        Returns:
            How many batches were predicted, at least 1; and their predictions, `[samples, ...]`.
        """
        full = min(segment.steps, source.num_samples // source.batch_size - segment.place)
        loop = self._loop(source, segment, full) if full > 1 else None
        if loop is None:
            return 1, self([segment.batches.batch(segment.place)])
        return loop.run(segment, full)

    def _loop(self, source: ArraySource, segment: Segment, full: int) -> "Loop | None":
        """Return the loop for full batches; None if there is none, or none yet."""
        pays = self._pays(full)
        if not pays and not self._loops:
            return None
        batch = segment.batches.batch(segment.place)
        picked = self.function.pick([batch])
        key = picked, repr(source.signature()), source.batch_size
        if pays and key not in self._loops:
            possible = _can_loop(picked, batch)
            self._loops[key] = Loop(picked, source, batch) if possible else None
            self._single = 0
        return self._loops.get(key)

    def _pays(self, full: int) -> bool:
        """Return whether to build a loop: whether the batches before and to come repay it."""
        if self._first_seconds is None:
            return False
        return (self._single + full) * SAVED >= TO_BUILD * self._first_seconds


class Loop:
    """A compiled call that predicts full batches of arrays.

    Args:
        picked: The concrete function that predicts a list with a single batch.
        source: The source of the batches.
        batch: A full batch.
    """

    def __init__(self, picked: Any, source: ArraySource, batch: Batch):
        signature = source.signature(), tf.TensorSpec([2], tf.int64), tf.TensorSpec([], tf.float64)
        self._call = flat_call(concrete(_many_batches(picked, source, batch), *signature))
        self._structure = picked.structured_outputs
        outputs = tf.nest.flatten(self._structure)
        size = sum(_bytes(output, source.batch_size) for output in outputs)
        self._most = max(1, ROOM // size)

    def run(self, segment: Segment, full: int) -> tuple[int, Structure]:
        """Predict up to `full` batches from the place of a segment on: see `PredictFunction.run`.

        Waits for the device.
        """
        place, count = segment.place, min(full, self._most)
        span = tf.constant([place, place + count], tf.int64)
        seconds = tf.constant(segment.horizon.seconds, tf.float64)
        end, outputs = self._call(segment.batches.inputs, span, seconds)
        return int(end) - place, tf.nest.pack_sequence_as(self._structure, outputs)


def _many_batches(picked: Any, source: ArraySource, batch: Batch) -> Any:
    """Return the `tf.function` that predicts batches `span[0]` to `span[1]` of a pass."""
    draw = source.draw_full if _takes(picked, batch, static=True) else source.draw_any
    specs = tf.nest.flatten(picked.structured_outputs)

    def run(inputs: Structure, span: tf.Tensor, seconds: tf.Tensor) -> tuple:
        start, end = tf.unstack(span)
        deadline = tf.timestamp() + seconds
        count = tf.cast(end - start, tf.int32)
        rows = [tf.TensorArray(spec.dtype, count, element_shape=spec.shape) for spec in specs]

        def step(place: tf.Tensor, stop: tf.Tensor, rows: list) -> tuple:
            stop = tf.where(tf.timestamp() < deadline, end, start)
            outputs = tf.nest.flatten(picked([draw(inputs, place)]))
            row = tf.cast(place - start, tf.int32)
            pairs = zip(rows, outputs, strict=True)
            return place + 1, stop, [array.write(row, output) for array, output in pairs]

        place, _, rows = tf.while_loop(
            lambda place, stop, _: place < stop, step, (start, end, rows), parallel_iterations=1
        )
        return place, [_joined(array, place - start) for array in rows]

    return graph(run, jit_compile=None)


def _joined(rows: tf.TensorArray, count: tf.Tensor) -> tf.Tensor:
    """Return the first rows, `[batch, ...]` each, concatenated: `[count * batch, ...]`."""
    stacked = rows.stack()[:count]
    return tf.reshape(stacked, tf.concat([[-1], tf.shape(stacked)[2:]], axis=0))


def _takes(picked: Any, batch: Batch, static: bool) -> bool:
    """Return whether a concrete function was traced for the shapes of a batch.

    Args:
        picked: The concrete function.
        batch: Tensors `[batch, ...]`.
        static: Whether the batch size must be static in its graph, or must not be.
    """
    specs = tf.nest.flatten(picked.structured_input_signature[0])
    leaves = [leaf.shape.as_list() for leaf in tf.nest.flatten(batch) if leaf is not None]
    expected = leaves if static else [[None, *shape[1:]] for shape in leaves]
    return [spec.shape.as_list() for spec in specs if spec is not None] == expected


def _can_loop(picked: Any, batch: Batch) -> bool:
    """Return whether a concrete function that predicts may be called from a loop.

    Its inputs must be static but for the batch size, which must be static in all inputs or in none;
    its outputs tensors of numbers `[batch, ...]` whose other axes are static.
    """
    outputs = tf.nest.flatten(picked.structured_outputs)
    return (
        (_takes(picked, batch, static=True) or _takes(picked, batch, static=False))
        and all(isinstance(output, tf.Tensor | tf.TensorSpec) for output in outputs)
        and all(_bytes(output, 1) for output in outputs)
        and why_alone(picked) is None
    )


def _bytes(output: tf.TensorSpec, batch_size: int) -> int:
    """Return the bytes of an output for a batch; 0 unless numbers `[batch, ...]` of known shape."""
    shape, dtype = output.shape, output.dtype
    if not shape.rank or not shape[1:].is_fully_defined() or dtype == tf.string:
        return 0
    return int(shape[0] or batch_size) * int(shape[1:].num_elements()) * dtype.size
