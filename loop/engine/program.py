"""Compiled calls of one step, of many steps and of whole epochs, built on first use.

Programs are cached on the compiled step that they run, so a second fit on the same shapes builds
nothing. `ProgramKey` holds everything else that a program depends on.
"""

import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import tensorflow as tf

from loop.data import ArraySource
from loop.engine.compiled_step import CompiledStep
from loop.engine.graphs import concrete, flat_call, graph
from loop.engine.loops import ManyEpochs, Progress, SourcedStep, Span, drawn_steps, many_steps
from loop.engine.reuse import shared
from loop.types import Logs, Source, Structure

FUSED = "fused"
"""The loop runs in TensorFlow and its steps are compiled as in Keras: Keras's bits."""

XLA_STEPS = "fused over XLA steps"
"""The loop runs in TensorFlow and its steps are compiled with XLA."""

XLA = "xla"
"""The loop and its steps are compiled together with XLA."""

COMPILATIONS = (FUSED, XLA_STEPS, XLA)

INT64 = tf.TensorSpec([], tf.int64)
SECONDS = tf.TensorSpec([], tf.float64)


class StepTimer:
    """Measures the seconds per step of a program.

    Programs compiled with XLA cannot stop at a deadline: their number of steps is limited instead.

    Attributes:
        seconds_per_step: Measured in the last call; None before the second call has ended.
    """

    def __init__(self) -> None:
        self.seconds_per_step: float | None = None
        self._is_warm = False

    def steps_within(self, seconds: float) -> int:
        """Return about how many steps run in so many seconds: at least 1, and 1 while unknown."""
        return max(1, int(seconds / self.seconds_per_step)) if self.seconds_per_step else 1

    def measure(self, steps: int, started: float) -> None:
        """Update the seconds per step after a call; the first call is left out, since it compiles.

        Args:
            steps: Number of steps that the call ran.
            started: `time.perf_counter()` at the start of the call.
        """
        if self._is_warm:
            self.seconds_per_step = (time.perf_counter() - started) / steps
        self._is_warm = True


class Program(NamedTuple):
    """A compiled call, and the timer of its steps."""

    call: Callable[..., Any]
    timer: StepTimer


class Batching(NamedTuple):
    """Constants in a graph that draws batches from arrays."""

    batch_size: int
    last_is_short: bool


class ProgramKey(NamedTuple):
    """Everything that a program depends on, apart from its compiled step."""

    runs: str
    """What it runs: "step", "steps", "recorded steps", "epochs" or "epochs with validation"."""

    compilation: str
    """One of `COMPILATIONS`."""

    batching: Batching | None
    """The batching of the source."""

    signature: str
    """The specs of the inputs, of validation as well."""

    test: tuple[Any, Batching | None] | None = None
    """The validation step and the batching of its source; None without validation."""


class Programs:
    """The programs of one fit or one evaluation, each built or taken from the cache on first use.

    Attributes:
        compiled: The step.
        source: The source of its batches.
        compilation: One of `COMPILATIONS`.
        batching: The batching of the source; None for a dataset.
    """

    def __init__(self, compiled: CompiledStep, source: Source, compilation: str):
        self.compiled = compiled
        self.source = source
        self.compilation = compilation
        self.batching = batching_of(source)
        self._keys: dict[str, ProgramKey] = {}
        self._cached: dict[str, Program] = {}
        self._share_of_seconds = 1 / 16

    @property
    def in_xla(self) -> bool:
        """Whether the loops are compiled with XLA, which requires static shapes."""
        return self.compilation == XLA

    @property
    def sourced_step(self) -> SourcedStep:
        """The step function that the loops of this compilation call, and the source."""
        compiled = self.compiled
        in_loop = compiled.in_xla if self.compilation == XLA_STEPS else compiled.on_batch
        return SourcedStep(in_loop, self.source, compiled.running)

    def run_step(self, inputs: Structure, place: int) -> Logs:
        """Run the step at a place of a pass, without a loop, which would take longer for one step.

        Does not wait for the device.
        """
        logs: Logs = self._program("step", self._build_step).call(inputs, _int64(place))
        return logs

    def run_steps(
        self, inputs: Structure, start: int, count: int, seconds: float, record: bool
    ) -> tuple[int, list[Logs]]:
        """Run up to `count` steps of a pass from `start` on. Waits for the device.

        Args:
            inputs: The pass to draw batches from.
            start: The place of the first batch in the pass.
            count: The most steps to run.
            seconds: About how long to run.
            record: Whether to return the logs of every step.

        Returns:
            The number of steps that ran, 0 if the pass has no more batches; and the logs after the
            last step or, with `record`, after every step.
        """
        name = "recorded steps" if record else "steps"
        program = self._program(name, lambda: self._build_steps(record))
        if self.in_xla:
            count = min(count, self._most_steps(program.timer, seconds))
        started = time.perf_counter()
        span = tf.constant([start, start + count], tf.int64)
        end, last, recorded = program.call(inputs, span, _seconds(seconds))
        ran = int(end) - start  # waits for the device: once a call
        if self.in_xla:
            program.timer.measure(ran, started)
        if not record:
            return ran, [last]
        rows = {name: values.numpy() for name, values in recorded.items()}  # waits: once a log
        return ran, [row(rows, step) for step in range(ran)]

    def run_epochs(
        self,
        orders: tf.Tensor,
        validation: "Programs | None",
        test_inputs: Structure,
        span: Span,
        seconds: float,
    ) -> tuple[Progress, Logs, Logs]:
        """Run whole epochs over arrays for about so many seconds. Waits for the device.

        Args:
            orders: The order of the samples in each epoch: see `ManyEpochs`.
            validation: The programs of validation; None for no validation.
            test_inputs: A pass over the validation data, or [].
            span: The epochs to run, and the place to start at in the first of them.
            seconds: About how long to run.

        Returns:
            How far the call came; the logs of training and of validation, arrays `[MAX_EPOCHS]`.
        """
        name = "epochs" if validation is None else "epochs with validation"
        program = self._program(name, lambda: self._build_epochs(validation), validation)
        source: Any = self.source
        part = _shortened(span, self._most_steps(program.timer, seconds)) if self.in_xla else span
        started = time.perf_counter()
        request = tf.constant(part, tf.int64)
        outputs = program.call(source.flat, orders, test_inputs, request, _seconds(seconds))
        vector, trained, tested = tf.nest.map_structure(lambda value: value.numpy(), outputs)
        if self.in_xla:
            program.timer.measure(part.epochs * (part.end - part.first + part.test_steps), started)
        progress = Progress(*vector.tolist())
        is_cut = part.end < span.end  # the epoch continues in the next call
        return progress._replace(epochs=0) if is_cut else progress, trained, tested

    def _most_steps(self, timer: StepTimer, seconds: float) -> int:
        """Return the most steps of a call that cannot stop at a deadline.

        The first call of a fit is short: the step may have become slower since the fit before.
        """
        share, self._share_of_seconds = self._share_of_seconds, 1.0
        return timer.steps_within(share * seconds)

    def is_built(self, runs: str, validation: "Programs | None" = None) -> bool:
        """Return whether a program is in the cache; `runs` is that of `ProgramKey`."""
        if runs not in self._keys:
            self._keys[runs] = self._key(runs, validation)
        return self._keys[runs] in self.compiled.programs

    def _key(self, runs: str, validation: "Programs | None") -> ProgramKey:
        test = (validation.compiled.on_batch, validation.batching) if validation else None
        signature = repr(self.source.signature(static=self.in_xla))
        if validation:
            signature += repr(validation.source.signature(static=self.in_xla))
        return ProgramKey(runs, self.compilation, self.batching, signature, test)

    def _program(
        self, runs: str, build: Callable[[], Any], validation: "Programs | None" = None
    ) -> Program:
        """Return the cached program, building it on first use.

        Args:
            runs: See `ProgramKey`.
            build: Returns the concrete function of the program.
            validation: The programs of validation, if the program validates.
        """
        if runs not in self._cached:
            programs: dict[ProgramKey, Program] = self.compiled.programs
            if not self.is_built(runs, validation):
                key = self._keys[runs]
                steps = [self.compiled.on_batch, *([key.test[0]] if key.test else [])]
                depends = key._replace(test=key.test and (None, key.test[1]))  # not on functions
                function = shared(self.compiled.model, depends, build, steps=tuple(steps))
                programs[key] = Program(flat_call(function), StepTimer())
            self._cached[runs] = programs[self._keys[runs]]
        return self._cached[runs]

    def _build_step(self) -> Any:
        """Return the concrete function that draws a batch and runs the step on it."""
        source = self.source
        step = self.compiled.on_batch if self.compilation == FUSED else self.compiled.in_xla

        def run(inputs: Structure, place: tf.Tensor) -> Logs:
            return step(source.draw(inputs, place))

        return concrete(graph(run, jit_compile=None), source.signature(), INT64)

    def _build_steps(self, record: bool) -> Any:
        """Return the concrete function that runs many steps: `many_steps` or `drawn_steps`."""
        sourced, in_xla = self.sourced_step, self.in_xla
        run_all = many_steps if isinstance(self.source, ArraySource) else drawn_steps

        def run(inputs: Structure, span: tf.Tensor, seconds: tf.Tensor) -> tuple:
            start, end = tf.unstack(span)
            deadline = None if in_xla else tf.timestamp() + seconds
            return run_all(sourced, inputs, start, end, deadline, record)

        compiled = graph(run, jit_compile=True if in_xla else None)
        signature = self.source.signature(static=in_xla)
        return concrete(compiled, signature, tf.TensorSpec([2], tf.int64), SECONDS)

    def _build_epochs(self, validation: "Programs | None") -> Any:
        """Return the concrete function that runs whole epochs: see `ManyEpochs`."""
        arrays, order = self.source.signature(static=self.in_xla)
        orders = tf.TensorSpec([None, *order.shape], tf.int64)
        test_inputs = validation.source.signature(static=self.in_xla) if validation else []
        test_step = validation.sourced_step if validation else None
        epochs = ManyEpochs(self.compiled.model, self.sourced_step, test_step, not self.in_xla)
        compiled = graph(epochs.__call__, jit_compile=True if self.in_xla else None)
        spans = tf.TensorSpec([len(Span._fields)], tf.int64)
        return concrete(compiled, arrays, orders, test_inputs, spans, SECONDS)


def row(rows: Logs, place: int) -> Logs:
    """Return the logs at index `place` of recorded logs, `[places, ...]`."""
    return {name: values[place] for name, values in rows.items()}


def batching_of(source: Source) -> Batching | None:
    """Return the batching of arrays; None for a dataset, whose iterator draws the next batch."""
    if not isinstance(source, ArraySource):
        return None
    return Batching(source.batch_size, source.last_is_short)


def _shortened(span: Span, most: int) -> Span:
    """Return the first part of a span, of about `most` steps.

    It is either some training steps of one epoch, without its validation, or whole epochs. The
    validation of an epoch is not divided, so the part may have more than `most` steps.
    """
    if most < span.end - span.first:
        return Span(span.first, span.first + most, 0, 0, 1)
    epochs = 1 if span.first else max(1, most // (span.end + span.test_steps))
    return span._replace(epochs=min(epochs, span.epochs))


def _int64(number: int) -> tf.Tensor:
    return tf.constant(number, tf.int64)


@lru_cache(maxsize=64)
def _seconds(seconds: float) -> tf.Tensor:
    return tf.constant(seconds, tf.float64)
