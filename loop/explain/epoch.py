"""Finds the timeline of an epoch from schedule, callbacks and plan. Nothing is run for it."""

from collections.abc import Iterator
from typing import NamedTuple

import keras

from loop._keras import first_epoch, is_resolved
from loop.callbacks import BatchHooks, Callbacks
from loop.callbacks.cadence import EPOCHS
from loop.evaluate import is_due
from loop.explain.compiled import named_metrics
from loop.explain.explanation import Explanation
from loop.explain.numbers import plural
from loop.explain.prepared import Prepared
from loop.explain.timeline import Event, Timeline
from loop.explain.watchers import listeners
from loop.types import MAX_SECONDS, FitArguments

SHOWN = 3
"""How many calls of an epoch are listed one by one."""


class Calls(NamedTuple):
    """What the timeline needs to know of a pass over batches.

    Attributes:
        kind: "train" or "test", as in the names of the hooks.
        steps: How many steps it has; None while unknown.
        plan: How the steps run: `Explanation.plan`.
        per_execution: The model's `steps_per_execution`.
    """

    kind: str
    steps: int | None
    plan: str
    per_execution: int


def timeline_of(
    arguments: FitArguments, prepared: Prepared, callbacks: Callbacks, plan: Explanation
) -> Timeline:
    """Return the timeline of the first epoch.

    Args:
        arguments: The arguments of fit.
        prepared: What fit prepared.
        callbacks: The callbacks, completed.
        plan: How the steps run.
    """
    epoch = first_epoch(arguments.model, arguments.initial_epoch)
    events = [Event("hook", "on_train_begin", listeners(callbacks, "on_train_begin"))]
    logs: tuple[str, ...] = ()
    if epoch < arguments.epochs:
        names = log_names(arguments.model, prepared, plan)
        is_validated = prepared.validation_data is not None
        validates = is_validated and is_due(epoch, arguments.validation_freq)
        validated = [f"val_{name}" for name in names] if validates else []
        logs = tuple(sorted([*names, *validated]))
        events += [Event("fit", "reset the metrics"), _epoch_hook(callbacks, "begin", epoch, ())]
        if plan.epochs_share_calls:
            events.append(_whole_epochs(arguments, callbacks, epoch, plan.steps, validates))
        else:
            events += _training(arguments, callbacks, plan, names)
            events += _validation(prepared, callbacks, plan, names) if validates else ()
        events.append(_epoch_hook(callbacks, "end", epoch, logs))
        if later := arguments.epochs - epoch - 1:
            about = "The same again."
            if plan.epochs_share_calls and not callbacks.with_hooks(EPOCHS):
                about = "In the same call; on_epoch_end is called for each of them afterwards."
            events.append(Event("fit", f"{plural(later, 'epoch')} more", about=about))
    events.append(Event("hook", "on_train_end", listeners(callbacks, "on_train_end"), logs))
    note = ""
    if plan.begins:
        note = (
            "Until a larger program pays, each step is a call of its own, between the same hooks."
        )
    return Timeline(f"Epoch {epoch} as a timeline", tuple(events), note)


def log_names(model: keras.Model, prepared: Prepared, plan: Explanation) -> tuple[str, ...]:
    """Return the names of the logs of a step, sorted as callbacks get them; () if unknown."""
    if prepared.runner is not None and plan.plan != "step":
        step = prepared.runner.programs().compiled.on_batch
        return tuple(sorted(step.structured_outputs))
    if not model.compiled or not is_resolved(model):
        return ()
    return tuple(sorted(name for name, _ in named_metrics(model)))


def _epoch_hook(callbacks: Callbacks, moment: str, epoch: int, logs: tuple[str, ...]) -> Event:
    hook = f"on_epoch_{moment}"
    return Event("hook", f"{hook}({epoch})", listeners(callbacks, hook), logs)


def _whole_epochs(
    arguments: FitArguments, callbacks: Callbacks, epoch: int, steps: int | None, validates: bool
) -> Event:
    """Return the event of a call that runs whole epochs."""
    count = 1 if callbacks.with_hooks(EPOCHS) else arguments.epochs - epoch
    run = "this epoch" if count == 1 else f"up to {count:,} epochs"
    about = (
        f"One compiled call runs {run}: {plural(steps or 0, 'step')} each"
        f"{', the validation' if validates else ''}, metrics reset and read in the graph. No "
        "callback looks in between. It returns after about a second, and the next goes on."
    )
    return Event("call", f"call: {run}" + ", validation included" * validates, about=about)


def _training(
    arguments: FitArguments, callbacks: Callbacks, plan: Explanation, names: tuple[str, ...]
) -> Iterator[Event]:
    """Yield the events of the training steps of an epoch."""
    calls = Calls("train", plan.steps, plan.plan, arguments.model.steps_per_execution)
    return _batches(callbacks.training, callbacks, calls, names)


def _validation(
    prepared: Prepared, callbacks: Callbacks, plan: Explanation, names: tuple[str, ...]
) -> Iterator[Event]:
    """Yield the events of the validation after an epoch."""
    steps, per_execution = None, 1
    if (validation := prepared.validation) is not None:
        steps = validation.steps or validation.source.num_batches
        per_execution = validation.model.steps_per_execution
    yield Event("hook", "on_test_begin", listeners(callbacks, "on_test_begin"))
    yield Event("fit", "reset the metrics")
    calls = Calls("test", steps, plan.plan, per_execution)
    yield from _batches(callbacks.testing, callbacks, calls, names)
    yield Event("hook", "on_test_end", listeners(callbacks, "on_test_end"), names)


def _batches(
    hooks: BatchHooks, callbacks: Callbacks, calls: Calls, names: tuple[str, ...]
) -> Iterator[Event]:
    """Yield the events of the first calls of a pass over batches."""
    first = 0
    for _ in range(SHOWN):
        if calls.steps is not None and first >= calls.steps:
            return
        last, about = _extent(hooks, calls, first)
        yield from _hook(callbacks, calls, "begin", str(first), ())
        yield Event("call", _name_of_call(calls, first, last), about=about)
        yield from _hook(callbacks, calls, "end", "last" if last is None else str(last), names)
        if last is None:
            return
        first = last + 1
    if calls.steps is None or first < calls.steps:
        left = "until the data end" if calls.steps is None else f"up to step {calls.steps - 1}"
        yield Event("fit", f"... and so on {left}", about="More calls and hooks like these.")


def _hook(
    callbacks: Callbacks, calls: Calls, moment: str, step: str, logs: tuple[str, ...]
) -> Iterator[Event]:
    """Yield the event of a hook around batches, if any callback overrides it."""
    hook = f"on_{calls.kind}_batch_{moment}"
    former = [f"on_batch_{moment}"] if calls.kind == "train" else []
    if who := listeners(callbacks, hook, *former):
        yield Event("hook", f"{hook}({step})", who, logs)


def _extent(hooks: BatchHooks, calls: Calls, first: int) -> tuple[int | None, str]:
    """Return the last step of a call, None if unknown, and what limits it."""
    end = None if calls.steps is None else calls.steps - 1
    together = calls.plan not in ("step", "unknown")
    last: int | None = first
    if together:
        last, seconds, records, *_ = hooks.horizon(first, calls.per_execution)
    if end is not None:
        last = end if last is None else min(last, end)
    if last is not None:  # whole executions, which may exceed the data, as in Keras
        executions = -(-(last + 1 - first) // calls.per_execution)
        last = first + executions * calls.per_execution - 1
    if calls.plan == "unknown":
        return last, "Whether more steps share a call is decided once the first batch is drawn."
    if not together:
        return last, "One step a call."
    if seconds < MAX_SECONDS:
        why = f"A callback looks every {seconds:g} seconds: the call ends after that time."
    elif end is None or last is None or last < end:
        why = "A callback needs control after the last of these steps."
    else:
        why = "No callback needs control in between; after about a second the call ends anyway."
    return last, why + " The logs of each step are kept for callbacks." * records


def _name_of_call(calls: Calls, first: int, last: int | None) -> str:
    word = "test step" if calls.kind == "test" else "step"
    if last is None:
        return f"call: {word}s from {first} on"
    return f"call: {word} {first}" if first == last else f"call: {word}s {first} to {last}"
