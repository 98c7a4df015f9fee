"""`loop.explain`: what fit would do with these arguments, and why."""

import inspect
from typing import Any, NamedTuple

import keras

from loop.fastest import fastest_way, measured
from loop.fit import fit
from loop.fused import Fused
from loop.setup import Training, set_up
from loop.types import Asked, Call
from loop.watch import (
    EPOCHS,
    TESTING,
    TRAINING,
    VALIDATION,
    cadence_of,
    hears,
    reads_logs_only,
)
from loop.whole import WholeEpochs


class Explanation(NamedTuple):
    """What fit would do; prints as a few lines.

    Attributes:
        plan: "step" or "fused", or what of XLA's ways it goes.
        epochs_share_calls: Whether whole epochs run in one call.
        reason: Why not more steps share a call; None where nothing stands against it.
        watchers: Who looks when, a line for each.
        steps: Steps in an epoch; None where nobody knows yet.
        measured: What `fastest` has measured, if it was asked to.
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
    """What `loop.fit` would do with the same arguments, and why. Trains nothing.

    The step is traced, as the first call of fit would, and `plan="fastest"` measures.

    Args:
        model: A compiled model.
        data: `x`, `y` and so on, leaves `[samples, ...]`.
        arguments: Everything else that `loop.fit` takes.

    Raises:
        ValueError, KeyError, NotImplementedError: As `loop.fit`.

    Mirrors: keras.Model.fit
    """
    history = vars(model).get("history")
    given = inspect.signature(fit).bind(model, *data, **{"verbose": 0, **arguments})
    given.apply_defaults()
    training = set_up(Asked(**given.arguments))
    if history is not None:  # of the last fit: nothing was trained here
        model.history = history
    elif "history" in vars(model):
        del model.history
    callbacks, train = training.callbacks, training.train
    whole = WholeEpochs(model, train, training.schedule, training.validation, callbacks).why_not()
    return Explanation(
        plan=_plan(train),
        epochs_share_calls=whole is None,
        reason=(train.why_not() if isinstance(train, Fused) else None) or whole,
        watchers=tuple(_who_looks(training)),
        steps=training.schedule.num_batches,
        measured=_measured(train),
    )


def _plan(train: Call) -> str:
    if not isinstance(train, Fused) or train.why_not():
        return "step"
    return train.way


def _measured(train: Call) -> str | None:
    if isinstance(train, Fused) and train.choose_way is fastest_way and not train.why_not():
        return f"measured: {measured(train)}"
    return None


def _who_looks(training: Training) -> list[str]:
    lines = []
    for callback in training.callbacks.callbacks:
        name = type(callback).__name__
        if hears(callback, TRAINING + TESTING):
            lines.append(f"{name} {_when(callback)}")
        elif hears(callback, EPOCHS) or hears(callback, VALIDATION):
            lines.append(f"{name} looks between epochs")
    return lines


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
