"""How many whole epochs one call may run before a callback needs control."""

from typing import Protocol

from loop.callbacks import Callbacks
from loop.callbacks.cadence import EPOCHS, TESTING, TRAINING, VALIDATION, needs_control_within_epoch
from loop.engine.loops import MAX_EPOCHS


class Due(Protocol):
    """Anything with `is_due`: the validation pass of a fit."""

    def is_due(self, epoch: int) -> bool:
        """Return whether to validate after an epoch, counted from 0."""
        ...


def why_control_within_epoch(callbacks: Callbacks, validates: bool) -> str | None:
    """Return why callbacks need control, or logs, within the next epoch; None if none does."""
    if any(needs_control_within_epoch(callback) for callback in callbacks.with_hooks(TRAINING)):
        return "a callback looks at batches"
    if validates and callbacks.with_hooks(VALIDATION + TESTING):
        return "a callback looks at validation"
    return None


def epochs_ahead(callbacks: Callbacks, validation: Due | None, epoch: int, epochs: int) -> int:
    """Return the number of epochs, from `epoch` on, that one call may run.

    Args:
        callbacks: Callbacks that do not need control within the next epoch.
        validation: The validation pass; None for no validation.
        epoch: The epoch that comes next.
        epochs: The epoch to stop before.

    Returns:
        1 if a callback has hooks for epochs. Otherwise the number of next epochs that are alike,
        that is all with validation or all without, up to `MAX_EPOCHS`.
    """
    if callbacks.with_hooks(EPOCHS):
        return 1
    until = min(epochs, epoch + MAX_EPOCHS)
    if validation is None:
        return until - epoch
    due = [validation.is_due(later) for later in range(epoch, until)]
    return [*due, not due[0]].index(not due[0])
