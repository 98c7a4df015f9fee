"""Runs segments: one step per call, many steps per call, or whole epochs per call."""

import contextlib
import math
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import tensorflow as tf

from loop.advice.notices import say_of_single_steps
from loop.callbacks import BatchHooks, Callbacks
from loop.data import ArraySource
from loop.engine.climb import EPOCHS, STEP, STEPS, STEPS_OF_A_BOUNDARY
from loop.engine.graphs import is_graph
from loop.engine.horizon import Due, epochs_ahead, why_control_within_epoch
from loop.engine.loops import DRAW, MAX_EPOCHS, MAX_RECORDED, Progress, Span
from loop.engine.model_step import ModelStep
from loop.engine.plan import Decision, OnePass, Reach, decide
from loop.engine.program import FUSED, Programs, row
from loop.types import (
    MAX_SECONDS,
    Horizon,
    Logs,
    Pass,
    Segment,
    SegmentResult,
    Source,
    WholeEpochs,
)

FEW_STEPS = 100
"""So many steps take no noticeable time longer in calls of their own."""


class Runner:
    """Runs the segments of a fit or an evaluation with the programs that its plan allows.

    Attributes:
        step: The step.
        source: The source of its batches.
        plan: One of `loop.types.PLANS`.
        one_pass: Whether an epoch runs within one pass over the source.
        validation: The runner of the validation of a fit; None without validation.
        steps_left: The steps left to run; 0 if unknown, infinite if plan "fastest" is to measure
            without a limit.
        expects_whole_epochs: Whether later calls may run whole epochs, with a program of their own.
    """

    def __init__(
        self,
        step: ModelStep,
        source: Source,
        plan: str,
        one_pass: OnePass,
        report: Callable[[str], None],
        validation: "Runner | None" = None,
        steps_left: float = 0,
    ):
        self.step = step
        self.source = source
        self.plan = plan
        self.one_pass = one_pass
        self.validation = validation
        self.steps_left = steps_left
        self.expects_whole_epochs = False
        self._steps_of_epoch = 0
        self._report = report
        self._before: tuple[Segment, list[tf.Tensor]] | None = None
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
            self._decision = decide(
                self.plan, self.step, self.source, self.one_pass, self._report, self.steps_left
            )
            self._decided_for = functions
            self._programs = self._test_programs = None
            if self.validation is not None and self.plan not in ("auto", "step"):
                self.validation.decide()  # raises, before training, if validation cannot fuse
        return self._decision

    @property
    def _climbs(self) -> bool:
        """Whether to begin with single steps: under "auto", and where "fastest" picks no XLA."""
        if self.plan == "fastest":
            return self.decide().compilation == FUSED
        return self.plan == "auto"

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
        if not self.steps_left:  # the size of the data is unknown before the first epoch
            self.steps_left = self._steps_of_epoch * (epochs - epoch)
        self._steps_of_epoch = 0
        self._expect(False)
        if self.step.model.stop_training:
            return None
        self._say_what_to_change()
        if self.decide().reach is not Reach.EPOCHS:
            return None
        if why_control_within_epoch(callbacks, validation is not None) or self.limits():
            return None
        test_steps = 0
        if self.validation is not None and validation is not None and validation.is_due(epoch):
            test_steps = self.validation.one_pass.steps or 0
        self._expect(epoch + 1 < epochs)
        if self._climbs and not self._whole_epochs_pay(epochs - epoch):
            return None
        return epochs_ahead(callbacks, validation, epoch, epochs), test_steps

    def _say_what_to_change(self) -> None:
        """Say once why steps of one's own run one by one, and what they read that has changed."""
        limits = self.decide().limits
        is_alone = limits and limits[0].reach is Reach.STEP
        if is_alone and self.plan == "auto" and self.steps_left > FEW_STEPS and self.step.own:
            say_of_single_steps(self.step.own, limits[0].reason)
        if self._programs is not None:
            self._programs.compiled.frozen.say_of_changes()

    def _expect(self, whole_epochs: bool) -> None:
        for runner in filter(None, [self, self.validation]):
            runner.expects_whole_epochs = whole_epochs

    def _whole_epochs_pay(self, epochs: int) -> bool:
        """Return whether the program of whole epochs is built, or pays for being built."""
        programs, validation = self.programs(), self._programs_of_validation()
        name = "epochs with validation" if validation else "epochs"
        if programs.is_built(name, validation):
            return True
        if epochs == 1:  # a program of many steps serves
            return False
        boundaries = STEPS_OF_A_BOUNDARY * epochs
        if programs.is_built("steps"):
            return programs.compiled.single_steps.pays(EPOCHS, boundaries)
        steps = self.steps_left + (self.validation.steps_left if self.validation else 0)
        return programs.compiled.single_steps.pays(EPOCHS, steps + boundaries)

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
        self._before = (segment, self._values()) if self._may_go_back(segment) else None
        if self.decide().reach is Reach.STEP or not self._is_larger_ready(segment, 0):
            result = self._run_alone(segment)
        elif _is_watched(segment):
            logs = self.programs().run_step(segment.batches.inputs, segment.place)
            result = SegmentResult(1, [logs])
        else:
            result = self._run_together(segment)
        self.steps_left = max(0, self.steps_left - result.steps)
        self._steps_of_epoch += result.steps
        return result

    def _may_go_back(self, segment: Segment) -> bool:
        """Return whether a callback may stop within the call and its data can be drawn again."""
        may_stop = segment.horizon.may_stop and segment.steps > 1
        return may_stop and isinstance(self.source, ArraySource)

    def _values(self) -> list[tf.Tensor]:
        """Return the values of all variables of the step."""
        return [tf.identity(variable) for variable in self.programs().compiled.variables]

    def go_back(self, steps: int) -> bool:
        """Take the model back to its state after the first `steps` steps of the last call.

        The variables get the values that they had before the call, and the steps run again, by the
        same program. Over data that cannot be drawn twice, warn and change nothing.

        Returns:
            Whether the model was taken back.
        """
        if self._before is None:
            warnings.warn(
                "A callback marked `logs_only` stopped the training within a call. Its data cannot "
                "be drawn twice, so the model keeps the steps of the whole call. To stop at the "
                "very step, remove `logs_only` or pass arrays.",
                stacklevel=2,
            )
            return False
        segment, values = self._before
        for variable, value in zip(self.programs().compiled.variables, values, strict=True):
            variable.assign(value)
        again = segment._replace(horizon=segment.horizon._replace(may_stop=False))
        ran = 0
        while ran < steps:
            part = again._replace(place=segment.place + ran, steps=steps - ran)
            ran += self.run_steps(part).steps
        return True

    def _is_larger_ready(self, segment: Segment, ran: int) -> bool:
        """Return whether a program larger than a step is built, or pays for being built.

        Args:
            segment: The steps to run.
            ran: How many of them have run.
        """
        if not self._climbs:
            return True
        programs, left = self.programs(), self.steps_left
        if _is_watched(segment):
            name, program = "step", STEP
        else:
            name = "recorded steps" if segment.horizon.record else "steps"
            program = STEPS
            if self.expects_whole_epochs:
                left = segment.steps
        return programs.is_built(name) or programs.compiled.single_steps.pays(program, left - ran)

    def _run_alone(self, segment: Segment) -> SegmentResult:
        """Run each step in a call of its own, until a larger program is ready."""
        step, iterator = self.programs().compiled, segment.batches.inputs
        per_execution = step.model.steps_per_execution
        draw, call = segment.batches.batch, step.alone
        if isinstance(iterator, tf.data.Iterator):
            # The data may end after each execution, whatever size they are said to have.
            segment = segment._replace(steps=per_execution)
            if per_execution == 1 and is_graph(step.on_batch):
                # Matches Keras: the batch is drawn in the graph of the step.
                draw, call = _place, partial(self.programs().run_step, iterator)

        def is_over(ran: int) -> bool:
            return self.decide().reach is not Reach.STEP and self._is_larger_ready(segment, ran)

        return step.single_steps.run(segment, draw, call, per_execution, is_over)

    def _run_together(self, segment: Segment) -> SegmentResult:
        """Run the steps in one compiled call.

        If its time limit ended the call within an execution of `steps_per_execution` steps, run the
        rest of that execution as well: hooks are called between executions only.

        Raises:
            StopIteration, OutOfRangeError: The pass has no more batches.
        """
        batches, place, _, steps, (_, seconds, record, *_) = segment
        run_steps = self.programs().run_steps
        per_execution = self.step.model.steps_per_execution
        size = self.source.num_batches
        count = steps if size is None else min(steps, size - place)
        requested = min(count, MAX_RECORDED) if record else count
        try:
            ran, logs = run_steps(batches.inputs, place, requested, seconds, record)
        except tf.errors.OpError as error:
            if DRAW in error.message:
                source: Any = self.source
                self._fail_as_keras(source.empty_pass())
            raise
        if ran == 0:
            self._fail_as_keras(batches)
            raise StopIteration
        while ran < count and ran % per_execution:
            rest = min(count - ran, per_execution - ran % per_execution)
            more, later = run_steps(batches.inputs, place + ran, rest, seconds, False)
            if more == 0:
                break
            ran, logs = ran + more, later
        # Matches Keras: if the last execution exceeds the pass, all of its steps are counted.
        return SegmentResult(math.ceil(ran / per_execution) * per_execution, logs)

    def _fail_as_keras(self, exhausted: Pass) -> None:
        """Change the state as Keras's compiled call does if there is no batch to draw.

        A single step draws its batch itself. Without one it fails half-way: `optimizer.iterations`
        is incremented, weights are not updated. A call of several steps draws before the first.

        Args:
            exhausted: A pass that has no more batches.
        """
        if self.step.model.steps_per_execution == 1:
            with contextlib.suppress(tf.errors.OutOfRangeError):
                self.programs().run_step(exhausted.inputs, 0)

    def run_epochs(self, whole: WholeEpochs) -> list[Logs]:
        """Run whole epochs, in as many calls as time limits require; return the logs of each."""
        epochs, steps, test_steps, orders = whole
        self.steps_left = max(0, self.steps_left - epochs * steps)
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
        inputs = self.validation.source.new_pass().inputs
        tests = self._programs_of_validation()
        return programs.run_epochs(orders, tests, inputs, span, MAX_SECONDS)

    def _programs_of_validation(self) -> Programs | None:
        """Return the programs that validate within whole epochs; None without validation."""
        if self.validation is not None and self._test_programs is None:
            source = self.validation.source
            compiled = self.validation.step.compiled(source.spec)
            self._test_programs = Programs(compiled, source, self.decide().compilation)
        return self._test_programs


def _is_watched(segment: Segment) -> bool:
    """Return whether a callback needs control after the only step of a segment."""
    return segment.steps == 1 and segment.horizon.every_step


def _place(place: int) -> int:
    """Return the place of a batch: the argument of a call that draws the batch itself."""
    return place


def _rest(span: Span, progress: Progress) -> Span:
    """Return the part of a span that remains after the progress of a call."""
    epochs, place, test_place = progress
    if place == span.end and test_place == span.test_steps:  # the call stopped between two epochs
        return Span(0, span.end, 0, span.test_steps, span.epochs - epochs)
    return Span(place, span.end, test_place, span.test_steps, span.epochs - epochs)
