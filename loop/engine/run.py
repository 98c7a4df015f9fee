"""Runs segments: one step per call, many steps per call, or whole epochs per call."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from loop.callbacks import BatchHooks, Callbacks
from loop.engine.compiled_step import ModelStep
from loop.engine.graphs import is_graph
from loop.engine.horizon import Due, epochs_ahead, why_control_within_epoch
from loop.engine.loops import MAX_EPOCHS, MAX_RECORDED, Progress, Span
from loop.engine.plan import Decision, OnePass, Reach, decide
from loop.engine.program import Programs, row
from loop.types import (
    MAX_SECONDS,
    Horizon,
    Logs,
    Segment,
    SegmentResult,
    Source,
    WholeEpochs,
)


class Runner:
    """Runs the segments of a fit or an evaluation with the programs that its plan allows.

    Attributes:
        step: The step.
        source: The source of its batches.
        plan: One of `loop.types.PLANS`.
        one_pass: Whether an epoch runs within one pass over the source.
        validation: The runner of the validation of a fit; None without validation.
    """

    def __init__(
        self,
        step: ModelStep,
        source: Source,
        plan: str,
        one_pass: OnePass,
        report: Callable[[str], None],
        validation: "Runner | None" = None,
    ):
        self.step = step
        self.source = source
        self.plan = plan
        self.one_pass = one_pass
        self.validation = validation
        self._report = report
        self._decided_for: Any = None
        self._decision: Decision | None = None
        self._programs: Programs | None = None
        self._test_programs: Programs | None = None

    def decide(self) -> Decision:
        """Return which programs may run; decide again if a callback has compiled the model.

        Raises:
            ValueError: The plan requires many steps per call, and this step must run one by one.
        """
        functions = (
            self.step.keras_function,
            self.validation.step.keras_function if self.validation is not None else None,
            tf.config.functions_run_eagerly(),
        )
        if self._decision is None or self._decided_for != functions:
            self._decision = decide(self.plan, self.step, self.source, self.one_pass, self._report)
            self._decided_for = functions
            self._programs = self._test_programs = None
            if self.validation is not None and self.plan not in ("auto", "step"):
                self.validation.decide()  # raises, before training, if validation cannot fuse
        return self._decision

    def programs(self) -> Programs:
        """Return the programs of the current decision."""
        compilation = self.decide().compilation
        if self._programs is None:
            compiled = self.step.compiled(self.source.spec)
            self._programs = Programs(compiled, self.source, compilation)
        return self._programs

    def limits(self) -> list[str]:
        """Return why no call may run whole epochs, apart from callbacks; [] if calls may."""
        decision = self.decide()
        reasons = [limit.reason for limit in decision.limits]
        if self.validation is not None and decision.reach is not Reach.STEP:
            limits = self.validation.decide().limits
            reasons += [f"in validation, {limit.reason}" for limit in limits]
        return reasons

    def epochs_ahead(
        self, callbacks: Callbacks, validation: Due | None, epoch: int, epochs: int
    ) -> tuple[int, int] | None:
        """Return how many whole epochs one call may run, and how many steps each validates.

        Args:
            callbacks: The callbacks. Their hooks are looked up at this moment.
            validation: The validation pass; None for no validation.
            epoch: The epoch that comes next.
            epochs: The epoch to stop before.

        Returns:
            Epochs and validation steps per epoch; None if calls may not run whole epochs, or a
            callback needs control within the next one.
        """
        if self.step.model.stop_training or self.decide().reach is not Reach.EPOCHS:
            return None
        if why_control_within_epoch(callbacks, validation is not None) or self.limits():
            return None
        test_steps = 0
        if self.validation is not None and validation is not None and validation.is_due(epoch):
            test_steps = self.validation.one_pass.steps or 0
        return epochs_ahead(callbacks, validation, epoch, epochs), test_steps

    def horizon_of(
        self, hooks: BatchHooks, is_stopping: Callable[[], bool]
    ) -> Callable[[int], Horizon]:
        """Return a function from the next step to how far the next call may run.

        Matches Keras: if a callback has stopped the model before the call, one more execution runs.
        """

        def horizon(step: int) -> Horizon:
            if self.decide().reach is Reach.STEP or is_stopping():
                return Horizon(step, MAX_SECONDS)
            return hooks.horizon(step, self.step.model.steps_per_execution)

        return horizon

    def run_steps(self, segment: Segment) -> SegmentResult:
        """Run steps of an epoch until the segment, or its time limit, ends.

        Raises:
            StopIteration, OutOfRangeError: The pass has no more batches.
        """
        if self.decide().reach is Reach.STEP:
            return self._run_one_by_one(segment)
        if segment.steps == 1 and segment.horizon.every_step:
            logs = self.programs().run_step(segment.batches.inputs, segment.place)
            return SegmentResult(1, [logs])
        return self._run_together(segment)

    def _run_one_by_one(self, segment: Segment) -> SegmentResult:
        """Run each step in its own call, as Keras does."""
        batches, place, _, count, _ = segment
        step = self.step.compiled(self.source.spec)  # traced at the first batch, as in Keras
        iterator = batches.inputs
        if isinstance(iterator, tf.data.Iterator) and count == 1 and is_graph(step.on_batch):
            return SegmentResult(1, [step.on_pass(iterator)])
        logs = step.on_batch(batches.batch(place))
        for later in range(place + 1, place + count):
            try:
                batch = batches.batch(later)
            except StopIteration:  # the last execution may exceed the pass
                break
            logs = step.on_batch(batch)
        return SegmentResult(count, [logs])

    def _run_together(self, segment: Segment) -> SegmentResult:
        """Run the steps in one compiled call.

        If its time limit ended the call within an execution of `steps_per_execution` steps, run the
        rest of that execution as well: hooks are called between executions only.
        """
        batches, place, _, steps, (_, seconds, record, _) = segment
        run_steps = self.programs().run_steps
        per_execution = self.step.model.steps_per_execution
        size = self.source.num_batches
        count = steps if size is None else min(steps, size - place)
        requested = min(count, MAX_RECORDED) if record else count
        ran, logs = run_steps(batches.inputs, place, requested, seconds, record)
        while ran < count and ran % per_execution:
            rest = min(count - ran, per_execution - ran % per_execution)
            more, logs = run_steps(batches.inputs, place + ran, rest, seconds, False)
            ran += more
        # Matches Keras: if the last execution exceeds the pass, all of its steps are counted.
        return SegmentResult(steps if ran == count else ran, logs)

    def run_epochs(self, whole: WholeEpochs) -> list[Logs]:
        """Run whole epochs, in as many calls as time limits require; return the logs of each."""
        epochs, steps, test_steps, orders = whole
        self.step.model.stop_evaluating = False
        finished: list[Logs] = []
        trained: Logs = {}  # training logs of an epoch whose validation continues in the next call
        span = Span(0, steps, 0, test_steps, epochs)
        while span.epochs:
            progress, training, testing = self._call(orders, span)
            rows = [row(training, place) for place in range(min(progress.epochs + 1, MAX_EPOCHS))]
            if span.first_test:
                rows[0] = trained  # from the earlier call: validation has reset the metrics since
            for epoch, logs in enumerate(rows[: progress.epochs]):
                validated = row(testing, epoch) if test_steps else {}
                finished.append(logs | {f"val_{name}": log for name, log in validated.items()})
            trained = rows[-1]
            span = _rest(span, progress)
            if len(orders) > 1:  # a single row is the order of all epochs
                orders = orders[progress.epochs :]
        return finished

    def _call(self, orders: tf.Tensor, span: Span) -> tuple[Progress, Logs, Logs]:
        """Run one compiled call of whole epochs, the first of which may be partly done."""
        programs = self.programs()
        if self.validation is None:
            return programs.run_epochs(orders, None, [], span, MAX_SECONDS)
        source = self.validation.source
        if self._test_programs is None:
            compiled = self.validation.step.compiled(source.spec)
            self._test_programs = Programs(compiled, source, programs.compilation)
        inputs = source.new_pass().inputs
        return programs.run_epochs(orders, self._test_programs, inputs, span, MAX_SECONDS)


def _rest(span: Span, progress: Progress) -> Span:
    """Return the part of a span that remains after the progress of a call."""
    epochs, place, test_place = progress
    if place == span.end and test_place == span.test_steps:  # the call stopped between two epochs
        return Span(0, span.end, 0, span.test_steps, span.epochs - epochs)
    return Span(place, span.end, test_place, span.test_steps, span.epochs - epochs)
