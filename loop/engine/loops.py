"""The loops inside a compiled call: over many steps, and over many epochs.

    while step < end:
        if now >= deadline: end = step + 1                  # this step is the last one
        logs = step_function(source.draw(inputs, step))     # the batch is drawn in the graph, too
        step += 1

The bits are Keras's because (docs/decisions/fusion.md) the step is a separate function, called from
the body of a loop that TensorFlow lowers, so TensorFlow applies the same graph rewrites to it as
under Keras; shapes are static where Keras's are; data and order are arguments, not constants.

Every loop also ends at a deadline, so a call returns in time even if a step is or becomes slow, and
it returns how far it came. Under XLA a graph cannot read a clock: a call runs all of its steps.
"""

from typing import Any, NamedTuple

import keras
import tensorflow as tf

from loop.logs import RunningLogs
from loop.types import Logs, Structure

MAX_RECORDED = 1024
"""The most steps whose logs one call records: the arrays of logs in the graph have this size."""

MAX_EPOCHS = 64
"""The most epochs in one call: the arrays of logs in the graph have this size."""

DRAW = "IteratorGetNextAsOptional"
"""The op that draws a batch in `drawn_steps`. The message of an error of the data names it."""


class SourcedStep(NamedTuple):
    """A step and the source of its batches."""

    function: Any
    """The concrete function of the step."""

    source: Any
    """A `loop.types.Source`; an ArraySource where a graph is compiled with XLA."""

    running: RunningLogs
    """The running values of the logs that the step marks."""


def many_steps(
    sourced: SourcedStep,
    inputs: Structure,
    start: tf.Tensor,
    end: tf.Tensor,
    deadline: tf.Tensor | None,
    record: bool = False,
) -> tuple[tf.Tensor, Logs, Logs]:
    """Run steps `start` to `end` of a pass in a graph; the first after the deadline is the last.

    Args:
        sourced: The step and the source of its batches.
        inputs: The inputs of the pass, as `source.signature` describes them.
        start: The place of the first batch in the pass, int64.
        end: The place to stop before, int64.
        deadline: Seconds since 1970, float64. None under XLA, which also requires static shapes, so
            that a short last batch runs after the loop instead of inside it.
        record: Whether to record the logs after every step.

    Returns:
        The place after the last step that ran; its logs; and the logs after every step,
        `[MAX_RECORDED]` for each log, or {} without `record`.
    """
    function, source, _ = sourced
    in_xla = deadline is None
    short = in_xla and source.last_is_short
    full = tf.minimum(end, source.num_samples // source.batch_size) if short else end
    draw = source.draw_full if short else source.draw
    logs = no_logs(function)
    recorded = rows_for(logs, MAX_RECORDED) if record else {}

    def goes_on(place: tf.Tensor, stop: tf.Tensor, *_: Any) -> tf.Tensor:
        return place < stop

    def step(place: tf.Tensor, stop: tf.Tensor, _: Logs, recorded: dict) -> tuple:
        if not in_xla:
            # The clock is read while the step runs, which costs no time, and not between steps.
            stop = tf.where(tf.timestamp() < deadline, full, start)
        logs = function(draw(inputs, place))
        return place + 1, stop, logs, with_row(recorded, place - start, logs)

    place, state = start, (start, full, logs, recorded)
    if not short or source.num_batches > 1:
        # Iterations depend on each other: a step reads the weights that the step before updated.
        place, _, logs, recorded = tf.while_loop(goes_on, step, state, parallel_iterations=1)
    if not short:
        return place, logs, stacked(recorded)

    def last_step() -> tuple:
        logs = function(source.draw_short(inputs))
        return logs, stacked(with_row(recorded, full - start, logs))

    return end, *tf.cond(full < end, last_step, lambda: (logs, stacked(recorded)))


def drawn_steps(
    sourced: SourcedStep,
    iterator: tf.data.Iterator,
    start: tf.Tensor,
    end: tf.Tensor,
    deadline: tf.Tensor,
    record: bool = False,
) -> tuple[tf.Tensor, Logs, Logs]:
    """Run steps on the next batches of an iterator in a graph, until `end` or the end of the data.

    The first step after the deadline is the last. Matches Keras: a batch is drawn only if a step
    will run on it, and after the step before has updated the weights: data may depend on them.

    Args:
        sourced: The step and the source of its batches.
        iterator: The pass, of a `loop.data.DatasetSource`.
        start: The place of the first batch in the pass, int64.
        end: The place to stop before, int64; more than `start`.
        deadline: Seconds since 1970, float64.
        record: Whether to record the logs after every step.

    Returns:
        As `many_steps`. The place is `start` if the iterator has no more batches.
    """
    function, source, _ = sourced
    logs = no_logs(function)
    recorded = rows_for(logs, MAX_RECORDED) if record else {}

    def nothing() -> tf.experimental.Optional:
        return tf.experimental.Optional.empty(iterator.element_spec)

    def goes_on(_: tf.Tensor, batch: tf.experimental.Optional, *__: Any) -> tf.Tensor:
        return batch.has_value()

    def step(
        place: tf.Tensor, batch: tf.experimental.Optional, _: Logs, recorded: dict
    ) -> tuple[tf.Tensor, tf.experimental.Optional, Logs, dict]:
        is_last = (place + 1 >= end) | (tf.timestamp() >= deadline)
        logs = function(source.value_of(batch))
        with tf.control_dependencies(tf.nest.flatten(logs)):
            batch = tf.cond(is_last, nothing, iterator.get_next_as_optional)
        return place + 1, batch, logs, with_row(recorded, place - start, logs)

    state = start, iterator.get_next_as_optional(), logs, recorded
    place, _, logs, recorded = tf.while_loop(goes_on, step, state, parallel_iterations=1)
    return place, logs, stacked(recorded)


def no_logs(function: Any) -> Logs:
    """Return zeros in the structure of the logs of a step: the initial value in a loop."""
    outputs = function.structured_outputs
    return {name: tf.zeros(log.shape, log.dtype) for name, log in outputs.items()}


def rows_for(logs: Logs, rows: int) -> dict[str, tf.TensorArray]:
    """Return an empty TensorArray of `rows` elements for each log."""
    return {
        name: tf.TensorArray(log.dtype, rows, element_shape=log.shape) for name, log in logs.items()
    }


def with_row(rows: dict[str, tf.TensorArray], place: tf.Tensor, logs: Logs) -> dict:
    """Return the rows with the logs written at index `place`."""
    place = tf.cast(place, tf.int32)
    return {name: array.write(place, logs[name]) for name, array in rows.items()}


def stacked(rows: dict[str, tf.TensorArray]) -> Logs:
    """Return the rows of each log as one tensor, `[rows, ...]`."""
    return {name: array.stack() for name, array in rows.items()}


class Span(NamedTuple):
    """The epochs that a call is to run; in the graph an int64 vector, `[5]`.

    `first` and `first_test` apply to the first epoch only, which an earlier call may have begun.
    Later epochs start at step 0.
    """

    first: int
    """The training step to start at, in the first epoch."""

    end: int
    """The training step to stop before, in every epoch."""

    first_test: int
    """The validation step to start at, in the first epoch."""

    test_steps: int
    """Steps of validation in each epoch; 0 for none."""

    epochs: int
    """How many epochs to complete."""


class Progress(NamedTuple):
    """How far a call of many epochs came; int64 in the graph."""

    epochs: int
    """Number of epochs completed."""

    place: int
    """The next training step in the epoch that follows these; `end` if all of its steps ran."""

    test_place: int
    """The next validation step in that epoch."""


class EpochLoop(NamedTuple):
    """The variables of the loop over epochs."""

    epoch: tf.Tensor
    """Number of epochs completed, int64."""

    is_closed: tf.Tensor
    """Whether the last epoch was completed; False if the time ended within it."""

    place: tf.Tensor
    """The next training step in the last epoch, int64."""

    test_place: tf.Tensor
    """The next validation step in the last epoch, int64."""

    trained: dict[str, tf.TensorArray]
    """The training logs, an element for each epoch."""

    tested: dict[str, tf.TensorArray]
    """The validation logs, an element for each epoch."""


class ManyEpochs(NamedTuple):
    """A loop over epochs of training, each with its validation. Call it inside a graph.

    Attributes:
        model: The model; its metrics are reset at the start of every epoch and every validation.
        train: The training step and its source.
        test: The validation step and its source; None for no validation.
        has_clock: Whether to stop at a deadline; False under XLA, which cannot.
    """

    model: keras.Model
    train: SourcedStep
    test: SourcedStep | None
    has_clock: bool

    def __call__(
        self,
        arrays: list[tf.Tensor],
        orders: tf.Tensor,
        test_inputs: Structure,
        span: tf.Tensor,
        seconds: tf.Tensor,
    ) -> tuple[tf.Tensor, Logs, Logs]:
        """Run epochs until all are completed or the time is over.

        Args:
            arrays: The training data, `[samples, ...]`.
            orders: The order of the samples for each epoch, `[passes, samples]` int64; the last row
                is used for all further epochs.
            test_inputs: The inputs of a pass over the validation data, or [].
            span: A `Span` as a vector, `[5]` int64.
            seconds: About how long to run, float64.

        Returns:
            `Progress` as a vector, `[3]` int64; the training logs and the validation logs of the
            epochs, `[MAX_EPOCHS]` for each log.
        """
        requested = Span(*tf.unstack(span))
        last_order = tf.shape(orders, tf.int64)[0] - 1
        deadline = tf.timestamp() + seconds if self.has_clock else None

        def goes_on(loop: EpochLoop) -> tf.Tensor:
            if deadline is None:
                return loop.epoch < requested.epochs
            in_time = tf.logical_or(tf.timestamp() < deadline, tf.equal(loop.epoch, 0))
            return (loop.epoch < requested.epochs) & loop.is_closed & in_time

        def one_epoch(loop: EpochLoop) -> tuple[EpochLoop]:
            inputs = arrays, orders[tf.minimum(loop.epoch, last_order)]
            return (self._one_epoch(loop, inputs, test_inputs, requested, deadline),)

        trained = rows_for(no_logs(self.train.function), MAX_EPOCHS)
        tested = rows_for(no_logs(self.test.function), MAX_EPOCHS) if self.test else {}
        none = tf.zeros_like(requested.epochs)
        start = EpochLoop(
            none, tf.constant(True), requested.end, requested.test_steps, trained, tested
        )
        (loop,) = tf.while_loop(goes_on, one_epoch, (start,), parallel_iterations=1)
        progress = tf.stack([loop.epoch, loop.place, loop.test_place])
        return progress, stacked(loop.trained), stacked(loop.tested)

    def _one_epoch(
        self,
        loop: EpochLoop,
        inputs: Structure,
        test_inputs: Structure,
        requested: Span,
        deadline: tf.Tensor | None,
    ) -> EpochLoop:
        """Run one epoch and its validation; continue the epoch if an earlier call has begun it."""
        is_first = tf.equal(loop.epoch, 0)
        start = tf.where(is_first, requested.first, 0)
        tf.cond(tf.equal(start, 0), lambda: self._reset(self.train), _nothing)
        place, logs, _ = many_steps(self.train, inputs, start, requested.end, deadline)
        trained = with_row(loop.trained, loop.epoch, self.train.running.of_epoch(logs))
        test_place, tested = requested.test_steps, loop.tested
        if self.test is not None:
            start = tf.where(is_first, requested.first_test, 0)
            end = tf.where(tf.equal(place, requested.end), requested.test_steps, start)
            test_place, logs = self._validated(test_inputs, start, end, deadline)
            tested = with_row(tested, loop.epoch, logs)
        is_closed = tf.equal(place, requested.end) & tf.equal(test_place, requested.test_steps)
        epoch = loop.epoch + tf.cast(is_closed, tf.int64)
        return EpochLoop(epoch, is_closed, place, test_place, trained, tested)

    def _validated(
        self, inputs: Structure, start: tf.Tensor, end: tf.Tensor, deadline: tf.Tensor | None
    ) -> tuple[tf.Tensor, Logs]:
        """Run validation steps `start` to `end`; return the next step and the logs so far."""
        assert self.test is not None
        test = self.test

        def validate() -> tuple[tf.Tensor, Logs]:
            tf.cond(tf.equal(start, 0), lambda: self._reset(test), _nothing)
            place, logs, _ = many_steps(test, inputs, start, end, deadline)
            return place, test.running.of_epoch(logs)

        return tf.cond(start < end, validate, lambda: (start, no_logs(test.function)))

    def _reset(self, step: SourcedStep) -> tf.Tensor:
        self.model.reset_metrics()
        step.running.reset()
        return _nothing()


def _nothing() -> tf.Tensor:
    """Return the placeholder output of a `tf.cond` branch that has no result."""
    return tf.constant(0)
