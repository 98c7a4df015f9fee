"""How the steps of a fit would run: which plan, in how many calls, and why."""

import math

from loop._keras import is_distributed
from loop.callbacks import Callbacks
from loop.data import kind_of
from loop.engine.climb import STEPS, SingleSteps
from loop.engine.horizon import why_control_within_epoch
from loop.engine.plan import Reach, cannot_fuse
from loop.engine.run import Runner
from loop.explain.explanation import Explanation
from loop.explain.prepared import Prepared, drawn_kind
from loop.explain.watchers import describe_watchers
from loop.schedule import capped_steps
from loop.types import FitArguments


def explained_plan(
    arguments: FitArguments, prepared: Prepared, callbacks: Callbacks
) -> Explanation:
    """Return an explanation without sections: how the steps would run. Traces the step.

    Raises:
        ValueError: The plan requires many steps per call, and this step must run one by one.
    """
    watchers = tuple(describe_watchers(callbacks))
    if prepared.runner is None:
        plan, reason = _known_without_tracing(arguments)
        if plan == "step" and arguments.plan not in ("auto", "step"):
            raise cannot_fuse(arguments.plan, reason)
        return Explanation(plan, False, reason, watchers, _steps(arguments, prepared), None)
    runner = prepared.runner
    if arguments.plan == "fastest":
        runner.steps_left = math.inf  # it measures without a limit
    decision = runner.decide()
    reasons = _limits(prepared, runner, callbacks)
    single_steps = None
    if decision.reach is not Reach.STEP and arguments.plan == "auto":
        single_steps = runner.programs().compiled.single_steps
    return Explanation(
        plan="step" if decision.reach is Reach.STEP else decision.compilation,
        epochs_share_calls=not reasons,
        reason="; ".join(reasons) or None,
        watchers=watchers,
        steps=_steps(arguments, prepared),
        measured=f"measured: {decision.measured}" if decision.measured else None,
        validates=prepared.validation_data is not None,
        begins=_describe_climbing(single_steps) if single_steps else None,
    )


def _limits(prepared: Prepared, runner: Runner, callbacks: Callbacks) -> list[str]:
    """Return why whole epochs, or steps, do not share a call."""
    if runner.decide().reach is Reach.STEP:
        return runner.limits()
    control = why_control_within_epoch(callbacks, prepared.validation_data is not None)
    drawn = None
    if drawn_kind(prepared.validation_data):
        drawn = "in validation, the data are not arrays in memory"
    return [*filter(None, [control, drawn]), *runner.limits()]


def _describe_climbing(single_steps: SingleSteps) -> str:
    """Return how plan "auto" begins, and when it builds a larger program."""
    steps = single_steps.steps_that_pay(STEPS)
    pays = "if the steps ahead pay for it"
    if steps < float("inf"):
        pays = f"from about {steps:,.0f} steps on: {single_steps.ran:,} ran so far"
    return f"begins with one step a call; builds the larger program {pays}"


def _known_without_tracing(arguments: FitArguments) -> tuple[str, str]:
    """Return plan and reason where the step cannot or need not be traced."""
    if is_distributed(arguments.model):
        return "step", "the model runs on replicas"
    if arguments.model.built:
        reason = "its batches have unknown shapes until the first is drawn"
        return "unknown", f"the data are a {kind_of(arguments.x)}: {reason}"
    reason = "the step can be examined once it has"
    return "unknown", f"the model has no weights yet: {reason}"


def _steps(arguments: FitArguments, prepared: Prepared) -> int | None:
    """Return the steps per epoch if they are known without drawing batches, else None."""
    if prepared.schedule is not None:
        return prepared.schedule.num_batches
    steps = capped_steps(arguments.steps_per_epoch)
    if steps or kind_of(arguments.x) != "torch DataLoader":
        return steps
    return len(arguments.x) if hasattr(arguments.x.dataset, "__len__") else None
