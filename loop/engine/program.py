"""Compiled calls of one step, of many steps and of whole epochs, built when first needed.

A program is cached with the compiled step that it runs, so a second fit on the same shapes builds
nothing. What it depends on beside that step is its key.
"""

import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import tensorflow as tf

from loop.data import ArraySource
from loop.engine.compiled_step import CompiledStep
from loop.engine.graphs import concrete, flat_call, graph
from loop.engine.loops import ManyEpochs, Progress, Span, Steps, many_steps
from loop.types import Logs, Source, Structure

FUSED = "fused"
"""The loop is TensorFlow's, its steps are compiled as Keras compiles them: always Keras's bits."""

XLA_STEPS = "fused over XLA steps"
"""The loop is TensorFlow's, its steps are compiled with XLA."""

XLA = "xla"
"""The loop and its steps are compiled with XLA as one program."""

COMPILATIONS = (FUSED, XLA_STEPS, XLA)

INT64 = tf.TensorSpec([], tf.int64)
SECONDS = tf.TensorSpec([], tf.float64)


class StepTimer:
    """How long a step of one program takes: XLA programs cannot stop at a deadline, and need it.

    Attributes:
        seconds_per_step: As the last call measured it; None before the first call that was warm.
    """

    def __init__(self) -> None:
        self.seconds_per_step: float | None = None
        self._is_warm = False

    def steps_within(self, seconds: float) -> int:
        """Return about how many steps take so long: at least one, and one while it is unknown."""
        return max(1, int(seconds / self.seconds_per_step)) if self.seconds_per_step else 1

    def measure(self, steps: int, started: float) -> None:
        """Note the time since `started`, a reading of `time.perf_counter`, after so many steps.

        The first call compiles as well, so its time says nothing about a step.
        """
        if self._is_warm:
            self.seconds_per_step = (time.perf_counter() - started) / steps
        self._is_warm = True


class Program(NamedTuple):
    """A compiled call, and the timer of its steps."""

    call: Callable[..., Any]
    timer: StepTimer


class Batching(NamedTuple):
    """What a graph that draws batches by their place has built in."""

    batch_size: int
    last_is_short: bool


class ProgramKey(NamedTuple):
    """What a program depends on beside its compiled step."""

    runs: str
    compilation: str
    batching: Batching | None
    signature: str
    test: tuple[Any, Batching | None] | None = None


class Programs:
    """The programs that one fit or one evaluation may call.

    Attributes:
        compiled: The step.
        source: Where its batches come from.
        compilation: One of `COMPILATIONS`.
    """

    def __init__(self, compiled: CompiledStep, source: Source, compilation: str):
        self.compiled = compiled
        self.source = source
        self.compilation = compilation
        self.batching = batching_of(source)
        self._found: dict[str, Program] = {}

    @property
    def in_xla(self) -> bool:
        """Whether loops are compiled with XLA, where every shape must be known."""
        return self.compilation == XLA

    @property
    def steps(self) -> Steps:
        """The step as the loops of this compilation call it, and its source."""
        compiled = self.compiled
        in_loop = compiled.in_xla if self.compilation == XLA_STEPS else compiled.on_batch
        return Steps(in_loop, self.source)

    def run_step(self, inputs: Structure, place: int) -> Logs:
        """Run the step at a place of a pass, without a loop: it takes longer than a small step."""
        logs: Logs = self._program("step", self._build_step).call(inputs, _int64(place))
        return logs

    def run_steps(
        self, inputs: Structure, start: int, count: int, seconds: float, record: bool
    ) -> tuple[int, list[Logs]]:
        """Run up to `count` steps of a pass from `start` on, for about so many seconds.

        Returns:
            How many steps ran, at least one, and the logs after the last or, with `record`, after
            each of them.
        """
        name = "recorded steps" if record else "steps"
        program = self._program(name, lambda: self._build_steps(record))
        if self.in_xla:
            count = min(count, program.timer.steps_within(seconds))
        started = time.perf_counter()
        span = tf.constant([start, start + count], tf.int64)
        end, last, recorded = program.call(inputs, span, _seconds(seconds))
        ran = int(end) - start  # waits for the device: once a call
        program.timer.measure(ran, started)
        if not record:
            return ran, [last]
        rows = {name: values.numpy() for name, values in recorded.items()}  # one read for each log
        return ran, [row(rows, step) for step in range(ran)]

    def run_epochs(
        self,
        orders: tf.Tensor,
        tests: "Programs | None",
        test_inputs: Structure,
        span: Span,
        seconds: float,
    ) -> tuple[Progress, Logs, Logs]:
        """Run epochs of arrays for about so many seconds: see `ManyEpochs`.

        Returns:
            How far the call came, and the logs of training and of validation, `[epochs]` arrays.
        """
        name = "epochs" if tests is None else "epochs with validation"
        program = self._program(name, lambda: self._build_epochs(tests), tests)
        source: Any = self.source
        part = _shortened(span, program.timer.steps_within(seconds)) if self.in_xla else span
        started = time.perf_counter()
        request = tf.constant(part, tf.int64)
        outputs = program.call(source.flat, orders, test_inputs, request, _seconds(seconds))
        vector, trained, tested = tf.nest.map_structure(lambda value: value.numpy(), outputs)
        program.timer.measure(part.epochs * (part.end - part.first + part.tests), started)
        progress = Progress(*vector.tolist())
        is_cut = part.end < span.end  # its one epoch goes on in the next call
        return progress._replace(epochs=0) if is_cut else progress, trained, tested

    def _program(
        self, runs: str, build: Callable[[], Any], tests: "Programs | None" = None
    ) -> Program:
        """Return the cached program, building it on first use."""
        if runs not in self._found:
            test = (tests.compiled.on_batch, tests.batching) if tests else None
            signature = repr(self.source.signature(static=self.in_xla))
            if tests:
                signature += repr(tests.source.signature(static=self.in_xla))
            key = ProgramKey(runs, self.compilation, self.batching, signature, test)
            programs: dict[ProgramKey, Program] = self.compiled.programs
            if key not in programs:
                programs[key] = Program(flat_call(build()), StepTimer())
            self._found[runs] = programs[key]
        return self._found[runs]

    def _build_step(self) -> Any:
        source = self.source
        step = self.compiled.on_batch if self.compilation == FUSED else self.compiled.in_xla

        def run(inputs: Structure, place: tf.Tensor) -> Logs:
            return step(source.draw(inputs, place))

        return concrete(graph(run, jit_compile=None), source.signature(), INT64)

    def _build_steps(self, record: bool) -> Any:
        steps, in_xla = self.steps, self.in_xla

        def run(inputs: Structure, span: tf.Tensor, seconds: tf.Tensor) -> tuple:
            start, end = tf.unstack(span)
            deadline = None if in_xla else tf.timestamp() + seconds
            return many_steps(steps, inputs, start, end, deadline, record)

        compiled = graph(run, jit_compile=True if in_xla else None)
        signature = self.source.signature(static=in_xla)
        return concrete(compiled, signature, tf.TensorSpec([2], tf.int64), SECONDS)

    def _build_epochs(self, tests: "Programs | None") -> Any:
        arrays, order = self.source.signature(static=self.in_xla)
        orders = tf.TensorSpec([None, *order.shape], tf.int64)
        test_inputs = tests.source.signature(static=self.in_xla) if tests else []
        test_steps = tests.steps if tests else None
        epochs = ManyEpochs(self.compiled.model, self.steps, test_steps, not self.in_xla)
        compiled = graph(epochs.__call__, jit_compile=True if self.in_xla else None)
        spans = tf.TensorSpec([len(Span._fields)], tf.int64)
        return concrete(compiled, arrays, orders, test_inputs, spans, SECONDS)


def row(rows: Logs, place: int) -> Logs:
    """Return the logs at one place of recorded logs, `[places, ...]`."""
    return {name: values[place] for name, values in rows.items()}


def batching_of(source: Source) -> Batching | None:
    """Return what graphs over a source have built in; None for a dataset, which draws in turn."""
    if not isinstance(source, ArraySource):
        return None
    return Batching(source.batch_size, source.last_is_short)


def _shortened(span: Span, most: int) -> Span:
    """Return the part of a span that takes at most so many steps, or one epoch's validation."""
    if most < span.end - span.first:
        return Span(span.first, span.first + most, 0, 0, 1)
    epochs = 1 if span.first else max(1, most // (span.end + span.tests))
    return span._replace(epochs=min(epochs, span.epochs))


def _int64(number: int) -> tf.Tensor:
    return tf.constant(number, tf.int64)


@lru_cache(maxsize=64)
def _seconds(seconds: float) -> tf.Tensor:
    return tf.constant(seconds, tf.float64)
