"""How many whole epochs one call may run before a callback wants control."""

from typing import Protocol

from loop.callbacks import Callbacks
from loop.callbacks.cadence import EPOCHS, TESTING, TRAINING, VALIDATION, needs_control_within_epoch
from loop.engine.loops import MAX_EPOCHS


class Due(Protocol):
    """A validation pass that says when it is due."""

    def is_due(self, epoch: int) -> bool:
        """Return whether to validate after an epoch, counted from 0."""
        ...


def why_callbacks_look_inside(callbacks: Callbacks, validates: bool) -> str | None:
    """Return why callbacks want control, or logs, within the next epoch; None where none does."""
    if any(needs_control_within_epoch(callback) for callback in callbacks.with_hooks(TRAINING)):
        return "a callback looks at batches"
    if validates and callbacks.with_hooks(VALIDATION + TESTING):
        return "a callback looks at validation"
    return None


def epochs_ahead(callbacks: Callbacks, validation: Due | None, epoch: int, epochs: int) -> int:
    """Return how many epochs, from `epoch` on, callbacks let one call run.

    Args:
        callbacks: Callbacks that do not look into the next epoch.
        validation: Says after which epochs to validate; None for no validation.
        epoch: The epoch that comes next.
        epochs: The epoch to stop before.

    Returns:
        One where a callback has hooks of epochs; otherwise so many that either all validate or none
        does.
    """
    if callbacks.with_hooks(EPOCHS):
        return 1
    until = min(epochs, epoch + MAX_EPOCHS)
    if validation is None:
        return until - epoch
    due = [validation.is_due(later) for later in range(epoch, until)]
    return [*due, not due[0]].index(not due[0])
