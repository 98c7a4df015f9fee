"""Plan "fastest": picks the compilation under which a fit takes least, compiling included.

What steps and compilations take is measured on the model itself, whose state is restored bit by bit
afterwards, and kept for all models of the same class, shapes and ops in this process. A compilation
is tried only if the time it may take is a small share, `SHARE`, of what the fits so far and this
fit take; and it is picked only if the steps of this model repay it. So a fit is never longer than
under "auto" by more than that share.

    loop.explain(model, x, y, plan="fastest")   # tries every compilation, however long it takes

A fit of the same model then takes what explain compiled.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import tensorflow as tf

from loop.engine.compiled_step import CompiledStep
from loop.engine.graphs import count_ops
from loop.engine.program import COMPILATIONS, FUSED, XLA, XLA_STEPS, Programs, batching_of
from loop.types import Source

SECONDS = 0.1
"""Duration of one reading."""

READINGS = 3
"""Readings for each compilation; the shortest is used."""

SHARE = 0.1
"""The share of a fit that may be spent on trying compilations."""

MIN_STEPS = 20_000
"""The steps below which nothing is timed: no step is so slow that XLA could be tried for fewer."""

SECONDS_PER_OP = 0.02
"""How long XLA takes at most to compile an op of a step; longer has not been seen on 2 cores."""

SIDE_EFFECTS = {"Print", "PrintV2", "PyFunc", "EagerPyFunc", "WriteFile", "SaveV2"}
"""The types of ops whose effects would be repeated by steps that are only timed."""


class Measured(NamedTuple):
    """The measurements of plan "fastest", and what follows from them for a step.

    Attributes:
        compilation: The one of `loop.engine.program.COMPILATIONS` that takes least.
        seconds: Seconds per step, by compilation.
        left_out: Reasons why compilations were not timed or failed, by compilation.
        steps: The steps of all fits of this model so far; infinite if explain has measured.
        note: What differs under this compilation, or "".
    """

    compilation: str
    seconds: dict[str, float]
    left_out: dict[str, str]
    steps: float = 0
    note: str = ""

    def __str__(self) -> str:
        times = [f"{name} {1e6 * seconds:,.1f} us" for name, seconds in self.seconds.items()]
        timed = f"a step: {', '.join(times)}" if times else "nothing was timed"
        reasons = [f"{name}: {reason}" for name, reason in self.left_out.items()]
        return "; ".join([f"{self.compilation} ({timed})", *reasons, *filter(None, [self.note])])


@dataclass
class Costs:
    """What was measured for models of the same class, shapes and ops.

    Attributes:
        ops: The number of ops in a step.
        seconds: Seconds per step, by compilation.
        to_build: Seconds that it took to compile and to time a step, by compilation.
        failed: Why compilations cannot be used, by compilation.
        steps: The steps of all fits so far.
        spent: Seconds spent on trying compilations.
    """

    ops: int
    seconds: dict[str, float] = field(default_factory=dict)
    to_build: dict[str, float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    steps: float = 0
    spent: float = 0

    def budget(self) -> float:
        """Return the seconds that may still be spent, once the exact step is timed."""
        return SHARE * self.steps * self.seconds.get(FUSED, 0.0) - self.spent


_costs: dict[tuple, Costs] = {}
"""The measurements of this process."""

_overrun = 1.0
"""The largest ratio so far of the time that XLA took to the time that was expected."""


def measured(
    compiled: CompiledStep,
    source: Source,
    name: str,
    report: Callable[[str], None],
    steps: float = math.inf,
) -> Measured:
    """Return the measurements for a step; try what may pay back, and print what was found first.

    Args:
        compiled: The step.
        source: The source of its batches.
        name: Names the step in the printed line: "train_function" or "test_function".
        report: Prints the line.
        steps: The steps of the whole fit; infinite: try every compilation.
    """
    costs = _costs_of(compiled, source)
    earlier: Measured | None = compiled.measured
    possible, left_out = possible_compilations(compiled, source)
    reason = _why_untimed(compiled, source)
    if reason is None and len(possible) > 1:
        left_out |= _try(costs, compiled, source, possible, steps)
    elif reason is not None:
        left_out |= dict.fromkeys(COMPILATIONS[1:], reason)
    total = steps + (earlier.steps if earlier else 0)
    quickest = _quickest(costs, compiled, total) if possible[1:] else possible[0]
    note = _note(compiled, quickest)
    compiled.measured = Measured(quickest, dict(costs.seconds), left_out, total, note)
    if earlier is None or earlier.compilation != quickest:
        report(f"fastest for {name}: {compiled.measured}")
    return compiled.measured


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


def _costs_of(compiled: CompiledStep, source: Source) -> Costs:
    """Return what was measured for models like this one: of its class, shapes and ops."""
    model, step = type(compiled.model), compiled.on_batch
    variables = tuple(sorted(f"{tuple(v.shape)} {v.dtype.name}" for v in step.variables))
    shapes = repr(compiled.spec), batching_of(source), variables
    ops = count_ops(step), tuple(sorted(compiled.op_types)), bool(compiled.model.jit_compile)
    key = model.__module__, model.__qualname__, *shapes, *ops
    return _costs.setdefault(key, Costs(ops[0]))


def _why_untimed(compiled: CompiledStep, source: Source) -> str | None:
    """Return why no step may be run just to be timed; None if it may."""
    if batching_of(source) is None:
        return "measuring would draw from the dataset"
    effects = compiled.op_types & SIDE_EFFECTS
    effects |= {name for name in compiled.op_types if name.endswith("Summary")}
    if effects:
        return f"measuring would repeat the effects of {', '.join(sorted(effects))}"
    return None


def _note(compiled: CompiledStep, compilation: str) -> str:
    """Return that XLA draws other random numbers, if the step draws any and runs in XLA."""
    draws = any("Random" in op_type for op_type in compiled.op_types)
    in_xla = compilation != FUSED and not compiled.model.jit_compile
    return "XLA may draw other random numbers than `model.fit`" if draws and in_xla else ""


def _quickest(costs: Costs, compiled: CompiledStep, steps: float) -> str:
    """Return the compilation that takes least for so many steps, to compile it included."""
    built = {key.compilation for key in compiled.programs if key.runs != "steps"}

    def seconds_per_step(compilation: str) -> float:
        to_build = 0.0 if compilation in {FUSED, *built} else costs.to_build[compilation]
        return costs.seconds[compilation] + to_build / max(steps, 1)

    return min(costs.seconds, key=seconds_per_step, default=FUSED)


def _try(
    costs: Costs, compiled: CompiledStep, source: Source, possible: list[str], steps: float
) -> dict[str, str]:
    """Time what was never timed and may pay back; return why the rest was left out."""
    if math.isfinite(steps):
        costs.steps += steps
        if costs.steps < MIN_STEPS:
            reason = f"a fit of fewer than {MIN_STEPS:,} steps does not repay it"
            untimed = [name for name in possible[1:] if name not in costs.seconds]
            return costs.failed | dict.fromkeys(untimed, reason)
    left_out: dict[str, str] = {}
    for name in [FUSED, *reversed(possible[1:])]:
        expected = _seconds_to_try(costs)
        if name in costs.seconds or name in costs.failed:
            continue
        if name == FUSED or math.isinf(steps) or expected <= costs.budget():
            _time(costs, compiled, source, name, expected)
        else:
            left_out[name] = f"compiling it may take {expected:,.0f} s, more than it may save"
    return costs.failed | left_out


def _seconds_to_try(costs: Costs) -> float:
    """Return how long it may take to compile a step with XLA and to time it."""
    return SECONDS_PER_OP * costs.ops * _overrun + (READINGS + 1) * SECONDS


def _time(
    costs: Costs, compiled: CompiledStep, source: Source, compilation: str, expected: float
) -> None:
    """Time the step under a compilation, or note why it fails; restore the variables."""
    global _overrun
    variables = compiled.variables
    before = [variable.numpy() for variable in variables]
    started = time.perf_counter()
    try:
        costs.seconds[compilation] = _seconds_per_step(compiled, source, compilation)
    except Exception as error:  # any failure leaves the compilation out, and is reported
        costs.failed[compilation] = str(error).splitlines()[0] if str(error) else repr(error)
    finally:
        for variable, value in zip(variables, before, strict=True):
            variable.assign(value)
    taken = time.perf_counter() - started
    costs.to_build[compilation] = taken
    costs.spent += taken
    if compilation != FUSED:
        _overrun = max(_overrun, _overrun * taken / expected)


def _seconds_per_step(compiled: CompiledStep, source: Source, compilation: str) -> float:
    """Return the shortest reading: any disturbance makes a reading longer.

    A step that takes longer than a reading is read once: under XLA it may take many seconds.
    """
    programs = Programs(compiled, source, compilation)
    inputs, batches = source.new_pass().inputs, source.num_batches or 1

    def seconds(steps: int) -> float:
        started, ran = time.perf_counter(), 0
        while ran < steps:
            count, _ = programs.run_steps(inputs, 0, min(steps - ran, batches), 10.0, False)
            ran += count
        return (time.perf_counter() - started) / steps

    seconds(1)  # compiles
    once = seconds(1)
    if once > SECONDS:
        return once
    steps = max(1, min(batches, int(SECONDS / seconds(min(batches, 3)))))
    return min(seconds(steps) for _ in range(READINGS))
