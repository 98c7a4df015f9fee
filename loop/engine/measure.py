"""Plan "fastest": times a few steps of the model under each compilation and picks the fastest.

The steps run on the model itself. Its state is restored bit by bit afterwards, so training is not
affected. The measurements are cached on the compiled step.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from loop.engine.compiled_step import CompiledStep
from loop.engine.program import COMPILATIONS, FUSED, XLA, XLA_STEPS, Programs, batching_of
from loop.types import Source

SECONDS = 0.1
"""Duration of one reading."""

READINGS = 3
"""Readings for each compilation; the shortest is used."""


class Measured(NamedTuple):
    """The measurements of plan "fastest".

    Attributes:
        compilation: The fastest of `loop.engine.program.COMPILATIONS`.
        seconds: Seconds per step, by compilation.
        left_out: Reasons why compilations were not timed or failed, by compilation.
    """

    compilation: str
    seconds: dict[str, float]
    left_out: dict[str, str]

    def __str__(self) -> str:
        times = [f"{name} {1e6 * seconds:,.1f} us" for name, seconds in self.seconds.items()]
        reasons = [f"{name}: {reason}" for name, reason in self.left_out.items()]
        return f"{self.compilation} (a step: {', '.join(times)}){'; '.join(['', *reasons])}"


def measured(
    compiled: CompiledStep, source: Source, name: str, report: Callable[[str], None]
) -> Measured:
    """Return the measurements for a step; on first use, measure and print the result.

    Args:
        compiled: The step.
        source: The source of its batches.
        name: Names the step in the printed line: "train_function" or "test_function".
        report: Prints the line.
    """
    if compiled.measured is None:
        compiled.measured = _measure(compiled, source)
        report(f"fastest for {name}: {compiled.measured}")
    result: Measured = compiled.measured
    return result


def possible_compilations(
    compiled: CompiledStep, source: Source
) -> tuple[list[str], dict[str, str]]:
    """Return the compilations that can be used for a step, and the reasons against the others."""
    left_out: dict[str, str] = {}
    if batching_of(source) is None:
        left_out[XLA] = "XLA cannot draw from a dataset"
    elif not tf.config.list_logical_devices("GPU") and any(
        op_type.startswith(("Conv", "DepthwiseConv")) for op_type in compiled.op_types
    ):
        left_out[XLA] = "on CPU, XLA runs convolutions in a loop ten times slower"
    if compiled.model.jit_compile:
        left_out[XLA_STEPS] = "the steps are compiled with XLA already"
    return [name for name in COMPILATIONS if name not in left_out], left_out


def _measure(compiled: CompiledStep, source: Source) -> Measured:
    """Time the step under each possible compilation; restore the variables after each."""
    possible, left_out = possible_compilations(compiled, source)
    if batching_of(source) is None:
        reason = "measuring would draw from the dataset"
        return Measured(FUSED, {}, {**left_out, **dict.fromkeys(COMPILATIONS[1:], reason)})
    if len(possible) == 1:
        return Measured(possible[0], {}, left_out)
    variables = compiled.on_batch.variables
    before = [variable.numpy() for variable in variables]
    seconds: dict[str, float] = {}
    for name in possible:
        try:
            seconds[name] = _seconds_per_step(compiled, source, name)
        except (tf.errors.OpError, ValueError, NotImplementedError) as error:
            # XLA does not support every op: the failure is reported and the compilation left out.
            left_out[name] = str(error).splitlines()[0]
        finally:
            for variable, value in zip(variables, before, strict=True):
                variable.assign(value)
    quickest = min(seconds, key=lambda name: seconds[name], default=FUSED)
    return Measured(quickest, seconds, left_out)


def _seconds_per_step(compiled: CompiledStep, source: Source, compilation: str) -> float:
    """Return the shortest reading: any disturbance makes a reading longer."""
    programs = Programs(compiled, source, compilation)
    inputs, batches = source.new_pass().inputs, source.num_batches or 1

    def seconds(steps: int) -> float:
        started, ran = time.perf_counter(), 0
        while ran < steps:
            count, _ = programs.run_steps(inputs, 0, min(steps - ran, batches), 10.0, False)
            ran += count
        return (time.perf_counter() - started) / steps

    seconds(1)  # compiles
    steps = max(1, min(batches, int(SECONDS / seconds(min(batches, 3)))))
    return min(seconds(steps) for _ in range(READINGS))
