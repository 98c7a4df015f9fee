"""Whole epochs in one compiled call, validation and all, where nobody looks inside.

    for epoch in range(epochs):                 # in the graph
        reset metrics
        many steps of training
        history[epoch] = results of metrics
        reset metrics
        many steps of validation
        val_history[epoch] = results of metrics

The history comes back once for all the epochs of a call.
"""

import time
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from loop._keras import every_metric, is_inherited
from loop.callbacks import Callbacks
from loop.compiled import concrete, flat_call, graph, kept
from loop.data import ArraySource
from loop.epoch import Epochs
from loop.evaluate import Validation
from loop.fused import Fused, built_in
from loop.in_graph import AT_ONCE, ManyEpochs, Steps
from loop.types import Call, Logs
from loop.watch import EPOCHS, PATIENCE, TESTING, TRAINING, VALIDATION, looks_inside


class WholeEpochs:
    """The epochs of a fit that nobody looks into, several in one call where nobody looks between.

    Where that cannot be, `why_not` says why.
    """

    def __init__(
        self,
        model: keras.Model,
        train: Call,
        schedule: Epochs,
        validation: Validation | None,
        callbacks: Callbacks,
    ):
        self.model = model
        self.train: Any = train  # where `why_not` finds nothing, Fused calls over ArraySources
        self.schedule = schedule
        self.source: Any = schedule.source
        self.validation: Any = validation
        self.callbacks = callbacks

    def why_not(self) -> str | None:
        """Why the next epoch must go step by step or in pieces; None where one call can run it."""
        if not isinstance(self.train, Fused):
            return "the plan is to run step by step"
        if self.model.stop_training:
            return "training is to stop after a step"
        if any(looks_inside(one) for one in self.callbacks.hearing(TRAINING)):
            return "a callback looks at batches"
        if not isinstance(self.source, ArraySource):
            return "the data are not arrays in memory"
        if not self.schedule.whole_pass():
            return "an epoch is not one pass over the data"
        if reason := self.train.why_not() or self._why_not_metrics(self.train):
            return reason
        return self._why_not_validate() if self.validation else None

    def _why_not_metrics(self, call: Fused) -> str | None:
        one = call.graphs.compiled().on_batch
        key = ("why metrics stay outside", one)
        return kept(call.graphs.owner, key, lambda: _why_metrics_stay_outside(self.model, one))

    def _why_not_validate(self) -> str | None:
        if self.callbacks.hearing(VALIDATION + TESTING):
            return "a callback looks at validation"
        if not isinstance(self.validation.source, ArraySource):
            return "the validation data are not arrays in memory"
        if not self.validation.whole_pass():
            return "validation_steps asks for more than there is"
        call = self.validation.call
        return call.why_not() or self._why_not_metrics(call)

    def run(self, epoch: int, epochs: int) -> list[Logs]:
        """Runs the epochs from `epoch` on that may share a call, and returns the logs of each.

        Where nobody knows yet how long a step takes, the first call runs one, and the next a few:
        a call cannot be interrupted.
        """
        pace = self.train.pace
        validated = self.validation is not None and self.validation.is_due(epoch)
        steps: int = self.source.num_batches
        tests = self.validation.whole_pass() if validated else 0
        alike = self._alike(epoch, epochs, pace.steps_within(PATIENCE) // (steps + tests))
        orders = self.source.orders(alike)
        if not self.source.repeats_its_order:
            alike = len(orders)
        done = 0
        while (together := pace.steps_within(PATIENCE)) < steps - done:
            self._call(orders, [done, together, 0, 1])
            done += together
        self.model.stop_evaluating = False
        return self._call(orders, [done, steps - done, tests, 1 if done else alike])

    def _alike(self, epoch: int, epochs: int, most: int) -> int:
        """How many epochs from `epoch` on may share a call: validated all, or none of them."""
        if self.callbacks.hearing(EPOCHS):
            return 1
        until = min(epochs, epoch + max(1, min(most, AT_ONCE)))
        if self.validation is not None:
            due = [self.validation.is_due(one) for one in range(epoch, until)]
            until = epoch + [*due, not due[0]].index(not due[0])
        return until - epoch

    def _call(self, orders: tf.Tensor, span: list[int]) -> list[Logs]:
        """One compiled call. `span`: first step, steps, steps of validation, epochs."""
        _, steps, tests, epochs = span
        test_inputs = self.validation.source.new_pass().inputs if self.validation else []
        program = self._program()
        started = time.perf_counter()
        histories = program(self.source.flat, orders, test_inputs, tf.constant(span, tf.int64))
        trained, tested = tf.nest.map_structure(lambda rows: rows.numpy(), histories)
        self.train.pace.measure(epochs * (steps + tests), started, {})
        every = [{name: rows[epoch] for name, rows in trained.items()} for epoch in range(epochs)]
        for epoch in range(epochs) if tests else ():
            every[epoch] |= {f"val_{name}": rows[epoch] for name, rows in tested.items()}
        return every

    def _program(self) -> Callable[..., tuple[Logs, Logs]]:
        """The compiled call, traced where these steps have not shared one before."""
        train, test = self.train, self.validation.call if self.validation else None
        in_xla = train.way == "xla"
        arrays, order = train.source.signature(static=in_xla)
        orders = tf.TensorSpec([None, *order.shape], tf.int64)
        test_inputs = test.source.signature(static=in_xla) if test else []
        signature = (arrays, orders, test_inputs, tf.TensorSpec([4], tf.int64))

        def make() -> Callable[..., tuple[Logs, Logs]]:
            run = ManyEpochs(self.model, train_steps, test_steps, in_xla).__call__
            return flat_call(concrete(graph(run, True if in_xla else None), *signature))

        train_steps = Steps(train.one(train.way), train.source)
        test_steps = Steps(test.one(train.way), test.source) if test else None
        ones = train_steps.one, test_steps.one if test_steps else None
        sources = (built_in(train.source), built_in(test.source) if test else None)
        return kept(train.graphs.owner, ("epochs", *ones, *sources, in_xla, repr(signature)), make)


def _why_metrics_stay_outside(model: keras.Model, one: Any) -> str | None:
    """Why the metrics cannot be reset and read in a graph. Keras does so outside of any."""
    if not (
        is_inherited(model.reset_metrics, keras.Model.reset_metrics)
        and is_inherited(model.get_metrics_result, keras.Model.get_metrics_result)
    ):
        return "the model overrides reset_metrics or get_metrics_result"
    for metric in every_metric(model):
        # total / count: the same bits in a graph and out of it. Of others nobody knows.
        if not (
            is_inherited(metric.result, keras.metrics.Mean.result)
            and is_inherited(metric.reset_state, keras.metrics.Mean.reset_state)
        ):
            return f"the metric {metric.name!r} is no mean"
    for name, result in model.get_metrics_result().items():
        log = one.structured_outputs.get(name, result)
        if (log.dtype, log.shape) != (result.dtype, result.shape):
            return f"the log {name!r} of the step is another kind of tensor than its metric's"
    return None
