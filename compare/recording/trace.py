"""What a training left behind: everything that "the same" means, as plain values and arrays."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Event:
    """One call of one callback hook.

    Attributes:
        hook: The name of the hook, like `on_epoch_end`.
        index: The epoch or the batch it was told; None for hooks that are told neither.
        logs: A copy of the logs it saw.
    """

    hook: str
    index: int | None
    logs: dict[str, Any]


@dataclass
class Trace:
    """The record of one training, taken by the same instrument whatever the engine.

    Attributes:
        history: `History.history`, a list of floats for each log, keys in order.
        epochs: `History.epoch`.
        params: `History.params`: what the callbacks were told about the fit.
        events: Every callback hook in order, with its logs.
        variables: Weights, seed states, optimizer and metric variables after the training, by
            kind, place and path. Arrays of the variable's own shape and dtype.
        seen: What else shows afterwards: metric results, `stop_training`, and what the random
            generators of Python, NumPy and TensorFlow draw next.
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
        """Whether the engine returned a dict of lists and no History: it promises less."""
        return not self.seen

    def as_plain(self) -> "Trace":
        """History, weights and optimizer: what a loop that returns a dict of lists stands for."""
        kept = {
            name: value for name, value in self.variables.items() if not name.startswith("metrics/")
        }
        return Trace(history=self.history, variables=kept)

    def as_watched(self, watched: str) -> "Trace":
        """What would have been recorded with fewer hooks: "epochs" only, or "nothing"."""
        if watched == "batches":
            return self
        if watched == "nothing":
            return replace(self, events=[])
        return replace(self, events=[one for one in self.events if "batch" not in one.hook])


def on_equal_terms(one: Trace, other: Trace) -> tuple[Trace, Trace]:
    """Both as they are, or as plain where one of them returned plain lists: it promises less."""
    return (one.as_plain(), other.as_plain()) if one.is_plain or other.is_plain else (one, other)
