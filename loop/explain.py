"""`loop.explain`: describes what a call of fit would do, and why."""

import inspect
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import keras

from loop._keras import is_distributed
from loop.callbacks import Callbacks, complete
from loop.callbacks.cadence import (
    EPOCHS,
    TESTING,
    TRAINING,
    VALIDATION,
    cadence_of,
    has_hooks,
    reads_logs_only,
)
from loop.data import kind_of
from loop.engine.climb import STEPS, SingleSteps
from loop.engine.horizon import why_control_within_epoch
from loop.engine.plan import Reach, cannot_fuse
from loop.fit import fit
from loop.schedule import capped_steps
from loop.setup import (
    check_arguments,
    runner_of,
    schedule_of,
    source_of,
    split_arrays,
    validation_of,
)
from loop.types import FitArguments, Structure


class Explanation(NamedTuple):
    """A description of what fit would do; `str` of it gives a few lines to print.

    Attributes:
        plan: "step", "fused", "fused over XLA steps" or "xla"; "unknown" if that is decided at the
            first batch only: see `reason`.
        epochs_share_calls: Whether whole epochs run in one call.
        reason: Why whole epochs, or steps, do not share a call; None if they do.
        watchers: When callbacks need control, a line for each.
        steps: Steps per epoch; None while unknown.
        measured: The measurements of `plan="fastest"`; None under other plans.
        validates: Whether there is validation data.
        begins: How plan "auto" begins, before it builds the program of `plan`; None otherwise.
    """

    plan: str
    epochs_share_calls: bool
    reason: str | None
    watchers: tuple[str, ...]
    steps: int | None
    measured: str | None
    validates: bool = False
    begins: str | None = None

    def __str__(self) -> str:
        steps = "an unknown number of" if self.steps is None else f"{self.steps:,}"
        lines = [f"plan: {self.plan}; {steps} step{'s' * (self.steps != 1)} an epoch"]
        if self.epochs_share_calls:
            lines.append(
                "whole epochs run in one call" + ", with their validation" * self.validates
            )
        elif self.reason:
            few = "one step a call" if self.plan == "step" else "no whole epochs in one call"
            lines.append(f"{few}: {self.reason}")
        return "\n".join([*lines, *filter(None, [self.begins, *self.watchers, self.measured])])


def explain(model: keras.Model, *data: Any, **arguments: Any) -> Explanation:
    """Return what `loop.fit` would do with the same arguments, and why; train nothing.

        print(loop.explain(model, x, y, epochs=5, callbacks=[my_callback]))

    No hook of a callback is called, no batch of a generator or a loader is drawn, and the model
    keeps its weights and its history. The step is traced, and a later fit reuses the graph. For a
    model that was never trained, tracing creates the variables of optimizer and metrics, as the
    first batch of fit would. `plan="fastest"` times steps under every compilation, however long
    XLA takes, and then restores the model's state; a later fit of the model takes the fastest.

    Args:
        model: A compiled model, or any model with `train_step` given.
        data: `x`, `y` and so on, leaves `[samples, ...]`.
        arguments: Everything else that `loop.fit` takes, with the same defaults.

    Raises:
        ValueError, KeyError, NotImplementedError: As `loop.fit`.

    Mirrors: keras.Model.fit
    """
    given = inspect.signature(fit).bind(model, *data, **arguments)
    given.apply_defaults()
    fit_arguments = FitArguments(**given.arguments)
    check_arguments(fit_arguments)
    callbacks = Callbacks(complete(fit_arguments.callbacks, fit_arguments.verbose, history=True))
    watchers = tuple(_describe_watchers(callbacks))
    must_fuse = fit_arguments.plan not in ("auto", "step")
    if plan_and_reason := _known_without_tracing(fit_arguments):
        plan, reason = plan_and_reason
        if plan == "step" and must_fuse:
            raise cannot_fuse(fit_arguments.plan, reason)
        return Explanation(plan, False, reason, watchers, _steps(fit_arguments), None)
    arrays, validation_data = split_arrays(fit_arguments)
    schedule = schedule_of(fit_arguments, source_of(fit_arguments, arrays))
    drawn_kind = _drawn_kind(validation_data)
    validation = None if drawn_kind else validation_of(fit_arguments, validation_data)
    runner = runner_of(fit_arguments, schedule, validation)
    if fit_arguments.plan == "fastest":
        runner.steps_left = math.inf  # it measures without a limit
    decision, reasons = runner.decide(), runner.limits()
    if decision.reach is not Reach.STEP:
        control = why_control_within_epoch(callbacks, validation_data is not None)
        drawn = "in validation, the data are not arrays in memory" if drawn_kind else None
        reasons = [*filter(None, [control, drawn]), *reasons]
    single_steps = None
    if decision.reach is not Reach.STEP and fit_arguments.plan == "auto":
        single_steps = runner.programs().compiled.single_steps
    return Explanation(
        plan="step" if decision.reach is Reach.STEP else decision.compilation,
        epochs_share_calls=not reasons,
        reason="; ".join(reasons) or None,
        watchers=watchers,
        steps=schedule.num_batches,
        measured=f"measured: {decision.measured}" if decision.measured else None,
        validates=validation_data is not None,
        begins=_describe_climbing(single_steps) if single_steps else None,
    )


def _describe_climbing(single_steps: SingleSteps) -> str:
    """Return how plan "auto" begins, and when it builds a larger program."""
    steps = single_steps.steps_that_pay(STEPS)
    pays = "if the steps ahead pay for it"
    if steps < float("inf"):
        pays = f"from about {steps:,.0f} steps on: {single_steps.ran:,} ran so far"
    return f"begins with one step a call; builds the larger program {pays}"


_UNSIZED = ("generator", "grain dataset")
"""Kinds of data that do not say how many batches they have."""

_DRAWN = (*_UNSIZED, "torch DataLoader")
"""Kinds of data whose shapes are unknown until batches are drawn."""


def _drawn_kind(data: Structure) -> str | None:
    """Return the kind of validation data whose shapes only drawn batches show; None for others."""
    x, *_ = data if isinstance(data, tuple) and data else (data,)
    kind = kind_of(data) or kind_of(x)
    return kind if kind in _DRAWN else None


def _known_without_tracing(arguments: FitArguments) -> tuple[str, str] | None:
    """Return plan and reason if the step cannot or need not be traced, else None."""
    model, kind = arguments.model, kind_of(arguments.x)
    if is_distributed(model):
        return "step", "the model runs on replicas"
    if kind in _DRAWN:
        reason = "its batches have unknown shapes until the first is drawn"
        return "unknown", f"the data are a {kind}: {reason}"
    if not model.built:
        reason = "the step can be examined once it has"
        return "unknown", f"the model has no weights yet: {reason}"
    return None


def _steps(arguments: FitArguments) -> int | None:
    """Return the steps per epoch if they are known without drawing batches, else None."""
    steps = capped_steps(arguments.steps_per_epoch)
    if steps or kind_of(arguments.x) in _UNSIZED:
        return steps
    if kind_of(arguments.x) == "torch DataLoader":
        return len(arguments.x) if hasattr(arguments.x.dataset, "__len__") else None
    return None if is_distributed(arguments.model) else _num_batches(arguments)


def _num_batches(arguments: FitArguments) -> int | None:
    return schedule_of(arguments, source_of(arguments, split_arrays(arguments)[0])).num_batches


def _describe_watchers(callbacks: Callbacks) -> Iterator[str]:
    """Yield a line for each callback with hooks for batches, epochs or validation."""
    for callback in callbacks.callbacks:
        name = type(callback).__name__
        if has_hooks(callback, TRAINING + TESTING):
            yield f"{name} {_describe_cadence(callback)}"
        elif has_hooks(callback, EPOCHS) or has_hooks(callback, VALIDATION):
            yield f"{name} looks between epochs"


def _describe_cadence(callback: keras.callbacks.Callback) -> str:
    """Return when a callback with hooks for batches needs control, as a phrase."""
    if reads_logs_only(callback):
        return "reads the logs of every batch once the call that ran it is over"
    cadence = cadence_of(callback)
    if isinstance(cadence, float):
        return f"looks every {cadence:g} seconds"
    lasts = [cadence(callback, batch) for batch in range(2)]
    if lasts == [0, 1]:
        return "looks at every batch"
    return "looks between epochs" if lasts == [None, None] else "looks at some batches"
