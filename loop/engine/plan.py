"""Which programs a fit may use: decided once, before its first batch, as a value with reasons."""

from collections.abc import Callable
from enum import IntEnum
from typing import NamedTuple

import tensorflow as tf

from loop._keras import is_distributed
from loop.data import ArraySource
from loop.engine.compiled_step import CompiledStep, ModelStep
from loop.engine.measure import Measured, measured, possible_compilations
from loop.engine.program import FUSED
from loop.types import Source


class Reach(IntEnum):
    """How much one compiled call may run."""

    STEP = 1
    STEPS = 2
    EPOCHS = 3


class Limit(NamedTuple):
    """The most that one call may run, and why not more."""

    reach: Reach
    reason: str


class Decision(NamedTuple):
    """Which programs a fit or an evaluation may use.

    Attributes:
        compilation: One of `loop.engine.program.COMPILATIONS`.
        limits: What stands against longer calls, the shortest reach first.
        measured: What plan "fastest" measured; None under other plans.
    """

    compilation: str
    limits: tuple[Limit, ...]
    measured: Measured | None = None

    @property
    def reach(self) -> Reach:
        """How much one compiled call may run."""
        return min((limit.reach for limit in self.limits), default=Reach.EPOCHS)


class OnePass(NamedTuple):
    """Whether the steps of an epoch, or of a validation, lie within one pass over the data."""

    steps: int | None
    """How many they are; None where they do not."""

    why_not: str = ""
    """Why they do not."""


def decide(
    plan: str, step: ModelStep, source: Source, one_pass: OnePass, say: Callable[[str], None]
) -> Decision:
    """Decide which programs may run a step on the batches of a source. Traces the step.

    Args:
        plan: One of `loop.types.PLANS`.
        step: The step.
        source: Where the batches come from.
        one_pass: Whether an epoch is one pass over the source.
        say: Called with what plan "fastest" has measured.

    Raises:
        ValueError: The plan needs steps that share a call, and these cannot.
    """
    reason = "the plan is to run step by step" if plan == "step" else why_untraced(step, source)
    if reason is None:
        compiled = step.compiled(source.spec)
        reason = _why_step_by_step(compiled, keeps_bits=plan in ("auto", "fused"))
    if reason is not None:
        if plan not in ("auto", "step"):
            raise ValueError(
                f"plan={plan!r} needs steps that can share a call, but {reason}. Under "
                'plan="auto" such steps run one by one.'
            )
        return Decision(FUSED, (Limit(Reach.STEP, reason),))
    limits = tuple(_limits_on_epochs(compiled, source, one_pass))
    if plan == "fastest":
        found = measured(compiled, source, step.kind.function, say)
        return Decision(found.compilation, limits, found)
    if plan == "xla":
        return Decision(possible_compilations(compiled, source)[0][-1], limits)
    return Decision(FUSED, limits)


def why_untraced(step: ModelStep, source: Source) -> str | None:
    """Return why steps run one by one where that needs no look at their graph; None otherwise."""
    if step.model.run_eagerly or tf.config.functions_run_eagerly():
        return "the step runs eagerly, as it was told to"
    if is_distributed(step.model):
        return "the model runs on replicas"
    if source.num_batches == 0:
        return "there is no batch to run"
    if source.num_batches is None and not source.is_endless:
        return (
            "the number of batches is unknown until they run out "
            "(tf.data.experimental.assert_cardinality can set that of a dataset)"
        )
    return None


def _why_step_by_step(compiled: CompiledStep, keeps_bits: bool) -> str | None:
    """Return why a step, by its graph, cannot share a call with others; None where it can."""
    reason = compiled.why_not_in_a_loop
    if reason or not keeps_bits or compiled.model.steps_per_execution > 1:
        return reason  # where Keras runs loops itself, sums are added up as in ours
    return compiled.why_regrouped


def _limits_on_epochs(compiled: CompiledStep, source: Source, one_pass: OnePass) -> list[Limit]:
    """Return what stands against whole epochs in one call."""
    reasons = [
        None if isinstance(source, ArraySource) else "the data are not arrays in memory",
        None if one_pass.steps else one_pass.why_not,
        compiled.why_metrics_stay_outside,
    ]
    return [Limit(Reach.STEPS, reason) for reason in reasons if reason]
