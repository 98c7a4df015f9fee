"""What runs inside a compiled call: many steps, and many epochs.

    while place < end:
        logs = step(source.draw(inputs, place))     # the batch, too, is drawn in the graph
        place += 1

What keeps the bits (docs/decisions/fusion.md): the step stays a function of its own, called from
the body of a loop that TensorFlow lowers, so it goes through the same rewrites as under Keras;
shapes are static where Keras's are; data and order come as arguments and not as constants.
"""

from typing import Any, NamedTuple

import keras
import tensorflow as tf

from loop.metrics import epoch_logs
from loop.types import Logs, Structure

RECORDED = 1024
"""Steps whose logs one call hands back, at most."""

AT_ONCE = 64
"""Epochs in one call, at most: the history in the graph has a fixed size."""


class Steps(NamedTuple):
    """A step, and where its batches come from."""

    one: Any
    """The concrete function of the step."""

    source: Any
    """A `loop.types.Source`; an ArraySource where a graph is XLA's."""


def many_steps(
    steps: Steps,
    inputs: Structure,
    start: tf.Tensor,
    count: tf.Tensor,
    each: bool = False,
    in_xla: bool = False,
) -> tuple[Logs, Logs]:
    """Inside a graph: runs steps `start` to `start + count` of a pass.

    Args:
        steps: The step, and where its batches come from.
        inputs: The pass to draw them from, as `source.signature` describes it.
        start: The place of the first batch in the pass, int64.
        count: How many, int64.
        each: Whether to record the logs after every step.
        in_xla: Whether every shape must be known: the short last batch is then a case of its own.

    Returns:
        The logs after the last step, and the logs after each, `[RECORDED]`, or {}.
    """
    one, source = steps
    end = start + count
    short = in_xla and source.last_is_short
    full = tf.minimum(end, source.num_samples // source.batch_size) if short else end
    draw = source.draw_full if short else source.draw
    logs, recorded = no_logs(one), rows_for(no_logs(one), RECORDED) if each else {}

    def step(place: tf.Tensor, _: Logs, recorded: dict) -> tuple:
        logs = one(draw(inputs, place))
        return place + 1, logs, with_row(recorded, place - start, logs)

    if not short or source.num_batches > 1:
        # One step after another: an update of the weights waits for the one before in any case.
        _, logs, recorded = tf.while_loop(
            lambda place, *_: place < full, step, (start, logs, recorded), parallel_iterations=1
        )
    if not short:
        return logs, stacked(recorded)

    def last_step() -> tuple:
        logs = one(source.draw_short(inputs))
        return logs, stacked(with_row(recorded, full - start, logs))

    return tf.cond(full < end, last_step, lambda: (logs, stacked(recorded)))


def no_logs(one: Any) -> Logs:
    """Zeros in the place of the logs of a step: what a loop starts with."""
    return {name: tf.zeros(log.shape, log.dtype) for name, log in one.structured_outputs.items()}


def rows_for(logs: Logs, rows: int) -> dict[str, tf.TensorArray]:
    """Room for as many rows of such logs."""
    return {
        name: tf.TensorArray(log.dtype, rows, element_shape=log.shape) for name, log in logs.items()
    }


def with_row(rows: dict[str, tf.TensorArray], place: tf.Tensor, logs: Logs) -> dict:
    """The rows with logs written at a place."""
    place = tf.cast(place, tf.int32)
    return {name: array.write(place, logs[name]) for name, array in rows.items()}


def stacked(rows: dict[str, tf.TensorArray]) -> Logs:
    """The rows of each log as one tensor, `[rows, ...]`."""
    return {name: array.stack() for name, array in rows.items()}


class ManyEpochs(NamedTuple):
    """Epochs of training, each with its validation; call it inside a graph.

    Attributes:
        model: Its metrics are reset where an epoch, or a validation, begins.
        train: The steps that train.
        test: The steps that validate, or None.
        in_xla: Whether every shape must be known.
    """

    model: keras.Model
    train: Steps
    test: Any
    in_xla: bool

    def __call__(
        self, arrays: list[tf.Tensor], orders: tf.Tensor, test_inputs: Structure, span: tf.Tensor
    ) -> tuple[Logs, Logs]:
        """Runs epochs.

        Args:
            arrays: What to train on, `[samples, ...]`.
            orders: The order of the samples for each epoch, `[passes, samples]`; the last row
                serves all that are left.
            test_inputs: A pass over what to validate on, or [].
            span: First step, steps, steps of validation, and epochs, int64.

        Returns:
            The logs of each epoch, `[AT_ONCE]` a log: those of training, those of validation.
        """
        start, steps, tests, epochs = tf.unstack(span)
        passes = tf.shape(orders, tf.int64)[0]

        def one_epoch(epoch: tf.Tensor, history: dict, tested: dict) -> tuple:
            tf.cond(epoch > 0, self._reset, _nothing)  # before the first, it was done outside
            inputs = arrays, orders[tf.minimum(epoch, passes - 1)]
            logs, _ = many_steps(self.train, inputs, start, steps, in_xla=self.in_xla)
            history = with_row(history, epoch, epoch_logs(self.model, logs))
            if self.test is not None:
                tested = with_row(tested, epoch, self._validated(test_inputs, tests))
            return epoch + 1, history, tested

        history = rows_for(no_logs(self.train.one), AT_ONCE)
        tested = rows_for(no_logs(self.test.one), AT_ONCE) if self.test else {}
        _, history, tested = tf.while_loop(
            lambda epoch, *_: epoch < epochs,
            one_epoch,
            (tf.zeros_like(epochs), history, tested),
            parallel_iterations=1,
        )
        return stacked(history), stacked(tested)

    def _validated(self, inputs: Structure, tests: tf.Tensor) -> Logs:
        """The logs of a validation pass of so many steps; of none, zeros."""

        def validate() -> Logs:
            self.model.reset_metrics()
            first = tf.zeros_like(tests)
            logs, _ = many_steps(self.test, inputs, first, tests, in_xla=self.in_xla)
            return epoch_logs(self.model, logs)

        return tf.cond(tests > 0, validate, lambda: no_logs(self.test.one))

    def _reset(self) -> tf.Tensor:
        self.model.reset_metrics()
        return _nothing()


def _nothing() -> tf.Tensor:
    """What a branch returns that has nothing to return."""
    return tf.constant(0)
