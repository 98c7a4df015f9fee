"""The record of a training: everything that two trainings are compared by."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Event:
    """One call of one callback hook.

        trace, model = record(scenario, loop.fit)
        print([event.hook for event in trace.events])

    Attributes:
        hook: The name of the hook, like `on_epoch_end`.
        index: The epoch or the batch that was passed; None for hooks that take neither.
        logs: A copy of the logs that were passed.
    """

    hook: str
    index: int | None
    logs: dict[str, Any]


@dataclass
class Trace:
    """The record of one training, taken in the same way for every engine.

        trace, model = record(scenario, my_fit)
        print(trace.history, list(trace.variables))

    Attributes:
        history: `History.history`, a list of floats for each log, keys in order.
        epochs: `History.epoch`.
        params: `History.params`, which callbacks get from `set_params`.
        events: Every callback hook in order, with its logs.
        variables: Weights, seed states, optimizer and metric variables after the training, by
            kind, place and path. Arrays of the variable's own shape and dtype.
        seen: Metric results, `stop_training`, and the next numbers from the random generators
            of Python, NumPy and TensorFlow.
        files: The files the callbacks wrote, by path: their bytes.
        warnings: Class and text of every warning.
    """

    history: dict[str, list[Any]] = field(default_factory=dict)
    epochs: list[int] = field(default_factory=list)
    params: dict[str, Any] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    variables: dict[str, np.ndarray] = field(default_factory=dict)
    seen: dict[str, Any] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    warnings: list[tuple[str, str]] = field(default_factory=list)

    @property
    def is_plain(self) -> bool:
        """Whether the engine returned a dict of lists and not a History."""
        return not self.seen

    def as_plain(self) -> "Trace":
        """Return history, weights and optimizer only, to compare a loop without a History."""
        kept = {
            name: value for name, value in self.variables.items() if not name.startswith("metrics/")
        }
        return Trace(history=self.history, variables=kept)

    def as_watched(self, watched: str) -> "Trace":
        """Return the trace with the hooks of `watched` only: "batches", "epochs" or "nothing"."""
        if watched == "batches":
            return self
        if watched == "nothing":
            return replace(self, events=[])
        return replace(self, events=[event for event in self.events if "batch" not in event.hook])


def on_equal_terms(reference: Trace, candidate: Trace) -> tuple[Trace, Trace]:
    """Return both traces; if one of them is plain, both as plain."""
    if reference.is_plain or candidate.is_plain:
        return reference.as_plain(), candidate.as_plain()
    return reference, candidate
