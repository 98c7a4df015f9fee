"""Decides, before the first batch, which programs a fit may use, and keeps the reasons."""

import math
from collections.abc import Callable
from enum import IntEnum
from typing import NamedTuple

import tensorflow as tf

from loop._keras import is_distributed
from loop.data import ArraySource
from loop.engine.compiled_step import CompiledStep
from loop.engine.measure import Measured, measured, possible_compilations
from loop.engine.model_step import ModelStep
from loop.engine.program import FUSED
from loop.types import Source


class Reach(IntEnum):
    """The longest run of one compiled call: a step, many steps of an epoch, or whole epochs."""

    STEP = 1
    STEPS = 2
    EPOCHS = 3


class Limit(NamedTuple):
    """An upper limit on what one call runs, and its reason."""

    reach: Reach
    reason: str


class Decision(NamedTuple):
    """Which programs a fit or an evaluation may use.

    Attributes:
        compilation: One of `loop.engine.program.COMPILATIONS`.
        limits: The limits on how much one call runs; () if nothing prevents whole epochs.
        measured: The measurements of plan "fastest"; None under other plans.
    """

    compilation: str
    limits: tuple[Limit, ...]
    measured: Measured | None = None

    @property
    def reach(self) -> Reach:
        """The longest run of one compiled call that all limits allow."""
        return min((limit.reach for limit in self.limits), default=Reach.EPOCHS)


class OnePass(NamedTuple):
    """Whether an epoch, or a validation, runs within one pass over the data."""

    steps: int | None
    """Its number of steps; None if it does not."""

    why_not: str = ""
    """Why it does not."""


def decide(
    plan: str,
    step: ModelStep,
    source: Source,
    one_pass: OnePass,
    report: Callable[[str], None],
    steps: float = math.inf,
) -> Decision:
    """Decide which programs may run a step on the batches of a source. Traces the step.

    Args:
        plan: One of `loop.types.PLANS`.
        step: The step.
        source: The source of the batches.
        one_pass: Whether an epoch runs within one pass over the source.
        report: Prints the measurements of plan "fastest".
        steps: The steps to run; infinite if plan "fastest" is to measure without a limit.

    Raises:
        ValueError: The plan requires many steps per call, and this step must run one by one.
    """
    reason = "the plan is to run step by step" if plan == "step" else why_untraced(step, source)
    if reason is None:
        compiled = step.compiled(source.spec)
        reason = _why_step_by_step(compiled, keeps_bits=plan in ("auto", "fused"))
    if reason is not None:
        if plan in ("fused", "xla") or (plan == "fastest" and why_untraced(step, source)):
            raise cannot_fuse(plan, reason)
        return Decision(FUSED, (Limit(Reach.STEP, reason),))
    limits = tuple(_limits_on_epochs(compiled, source, one_pass))
    if plan == "fastest":
        measurements = measured(compiled, source, step.kind.function, report, steps)
        return Decision(measurements.compilation, limits, measurements)
    if plan == "xla":
        return Decision(possible_compilations(compiled, source)[0][-1], limits)
    return Decision(FUSED, limits)


def cannot_fuse(plan: str, reason: str) -> ValueError:
    """Return the error that a plan raises if it needs many steps per call and cannot have them."""
    return ValueError(
        f"plan={plan!r} needs steps that can share a call, but {reason}. Under "
        'plan="auto" such steps run one by one.'
    )


def why_untraced(step: ModelStep, source: Source) -> str | None:
    """Return why steps run one by one, for reasons known without a trace; None otherwise."""
    if step.model.run_eagerly or tf.config.functions_run_eagerly():
        return "the step runs eagerly, as `run_eagerly` or `run_functions_eagerly` demands"
    if is_distributed(step.model):
        return "the model runs on replicas"
    if source.num_batches == 0:
        return "there is no batch to run"
    return None


def _why_step_by_step(compiled: CompiledStep, keeps_bits: bool) -> str | None:
    """Return why, by its graph, a step must run alone in a call; None if it need not.

    Args:
        compiled: The step.
        keeps_bits: Whether the plan promises Keras's bits.
    """
    return compiled.why_not_in_a_loop or (compiled.why_regrouped if keeps_bits else None)


def _limits_on_epochs(compiled: CompiledStep, source: Source, one_pass: OnePass) -> list[Limit]:
    """Return the limits that prevent whole epochs in one call."""
    reasons = [
        None if isinstance(source, ArraySource) else "the data are not arrays in memory",
        None if one_pass.steps else one_pass.why_not,
        compiled.why_metrics_stay_outside,
    ]
    return [Limit(Reach.STEPS, reason) for reason in reasons if reason]
