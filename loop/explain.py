"""`loop.explain`: what a call of fit would do, and why."""

import inspect
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
from loop.engine.horizon import why_callbacks_look_inside
from loop.engine.plan import Reach
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
    """What fit would do; prints as a few lines.

    Attributes:
        plan: "step", "fused", "fused over XLA steps" or "xla"; "unknown" where only training can
            tell, and `reason` says why.
        epochs_share_calls: Whether whole epochs run in one call.
        reason: Why whole epochs, or steps, do not share a call; None where they do.
        watchers: Which callbacks look when, a line for each.
        steps: Steps in an epoch; None while unknown.
        measured: What `plan="fastest"` measured; None under other plans.
    """

    plan: str
    epochs_share_calls: bool
    reason: str | None
    watchers: tuple[str, ...]
    steps: int | None
    measured: str | None

    def __str__(self) -> str:
        steps = "an unknown number of" if self.steps is None else f"{self.steps:,}"
        lines = [f"plan: {self.plan}; {steps} steps an epoch"]
        if self.epochs_share_calls:
            lines.append("whole epochs run in one call, validation and all")
        elif self.reason:
            lines.append(f"no whole epochs in one call: {self.reason}")
        return "\n".join([*lines, *self.watchers, *filter(None, [self.measured])])


def explain(model: keras.Model, *data: Any, **arguments: Any) -> Explanation:
    """Return what `loop.fit` would do with the same arguments, and why. Train nothing.

    No hook of a callback is called, no batch of a generator or a loader is drawn, the model keeps
    its weights and its history. The step is traced, and fit will use the graph: for a model that
    was never trained this makes the variables of optimizer and metrics, zeros, as the first batch
    of fit would. `plan="fastest"` measures, and puts the state of the model back.

        print(loop.explain(model, x, y, epochs=5, callbacks=[my_callback]))

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
    asked = FitArguments(**given.arguments)
    check_arguments(asked)
    callbacks = Callbacks(complete(asked.callbacks, asked.verbose, history=True))
    watchers = tuple(_who_looks(callbacks))
    if plan_and_reason := _known_without_tracing(asked):
        return Explanation(*plan_and_reason, watchers, _steps(asked), None)
    arrays, validation_data = split_arrays(asked)
    schedule = schedule_of(asked, source_of(asked, arrays))
    is_drawn = _is_drawn(validation_data)
    validation = None if is_drawn else validation_of(asked, validation_data)
    runner = runner_of(asked, schedule, validation)
    decision, reasons = runner.decision, runner.limits
    if decision.reach is not Reach.STEP:
        looks = why_callbacks_look_inside(callbacks, validation_data is not None)
        drawn = "in validation, the data are not arrays in memory" if is_drawn else None
        reasons = [*filter(None, [looks, drawn]), *reasons]
    return Explanation(
        plan="step" if decision.reach is Reach.STEP else decision.compilation,
        epochs_share_calls=not reasons,
        reason="; ".join(reasons) or None,
        watchers=watchers,
        steps=schedule.num_batches,
        measured=f"measured: {decision.measured}" if decision.measured else None,
    )


_DRAWN = ("generator", "grain dataset", "torch DataLoader")
"""Kinds of data of which batches must be drawn to know their shapes."""


def _is_drawn(data: Structure) -> bool:
    """Return whether validation data must be drawn from to know their shapes."""
    x, *_ = data if isinstance(data, tuple) and data else (data,)
    return kind_of(data) in _DRAWN or kind_of(x) in _DRAWN


def _known_without_tracing(asked: FitArguments) -> tuple[str, bool, str] | None:
    """Return plan, False and the reason where the step need not, or must not, be traced."""
    model, kind = asked.model, kind_of(asked.x)
    if is_distributed(model):
        return "step", False, "the model runs on replicas"
    if kind in ("generator", "grain dataset"):
        return "step", False, f"the number of batches of a {kind} is unknown until they run out"
    if kind == "torch DataLoader":
        reason = "its batches have unknown shapes until the first is drawn"
        return "unknown", False, f"the data are a torch DataLoader: {reason}"
    if not model.built:
        reason = "the step can be examined once it has"
        return "unknown", False, f"the model has no weights yet: {reason}"
    return None


def _steps(asked: FitArguments) -> int | None:
    """Return the steps of an epoch without drawing from the data; None where only that can tell."""
    steps = capped_steps(asked.steps_per_epoch)
    if steps or kind_of(asked.x) in ("generator", "grain dataset"):
        return steps
    if kind_of(asked.x) == "torch DataLoader":
        return len(asked.x) if hasattr(asked.x.dataset, "__len__") else None
    return None if is_distributed(asked.model) else _num_batches(asked)


def _num_batches(asked: FitArguments) -> int | None:
    return schedule_of(asked, source_of(asked, split_arrays(asked)[0])).num_batches


def _who_looks(callbacks: Callbacks) -> Iterator[str]:
    """Yield a line for each callback that looks at batches, epochs or validation."""
    for callback in callbacks.callbacks:
        name = type(callback).__name__
        if has_hooks(callback, TRAINING + TESTING):
            yield f"{name} {_when(callback)}"
        elif has_hooks(callback, EPOCHS) or has_hooks(callback, VALIDATION):
            yield f"{name} looks between epochs"


def _when(callback: keras.callbacks.Callback) -> str:
    if reads_logs_only(callback):
        return "reads the logs of every batch once the call that ran it is over"
    cadence = cadence_of(callback)
    if isinstance(cadence, float):
        return f"looks every {cadence:g} seconds"
    looks = [cadence(callback, batch) for batch in range(2)]
    if looks == [0, 1]:
        return "looks at every batch"
    return "looks between epochs" if looks == [None, None] else "looks at some batches"
