"""The hooks around batches: which callbacks have them, when they want control, and their calls."""

from typing import NamedTuple

from keras.callbacks import Callback

from loop.callbacks.cadence import (
    Hooks,
    cadence_of,
    every_batch,
    has_hooks,
    next_control,
    reads_logs_only,
)
from loop.callbacks.logs import python_logs
from loop.types import MAX_SECONDS, Horizon, Logs


class BatchHooks(NamedTuple):
    """The hooks for the batches of training, of testing or of prediction.

    Hooks that are Keras's empty ones are never called, and logs become floats only where a callback
    reads them: that waits for the device.

    Attributes:
        callbacks: All callbacks, in the order in which they are called.
        hooks: The names of the hooks, begin before end: `loop.callbacks.cadence.TRAINING`, ...
    """

    callbacks: list[Callback]
    hooks: Hooks

    @property
    def listeners(self) -> list[Callback]:
        """The callbacks that have such hooks now: some set theirs while they train."""
        return [callback for callback in self.callbacks if has_hooks(callback, self.hooks)]

    @property
    def readers(self) -> list[Callback]:
        """The listeners that only read logs, and may be called when the batches are over."""
        return [callback for callback in self.listeners if reads_logs_only(callback)]

    def horizon(self, step: int, together: int = 1) -> Horizon:
        """Return how far the next call may run before a callback wants control.

        Args:
            step: The step that comes next, counted from 0 in its epoch.
            together: Steps in one execution. Of an execution of several steps, Keras calls hooks
                for the last one alone, so logs of the steps between are recorded for nobody.
        """
        listeners, readers = self.listeners, self.readers
        if readers and together > 1:
            return Horizon(step, MAX_SECONDS)
        last, seconds = next_control(listeners, step, MAX_SECONDS)
        others = [callback for callback in listeners if callback not in readers]
        always = any(cadence_of(callback) is every_batch for callback in others)
        return Horizon(last, seconds, record=bool(readers), every_step=always)

    def begin(self, step: int) -> None:
        """Call the hooks before a call; `step` is the first one it runs."""
        self._begin(self.listeners, step)

    def end(self, step: int, logs: list[Logs]) -> None:
        """Call the hooks after a call.

        Args:
            step: The last step it ran.
            logs: The logs after that step, or after each step of the call.
        """
        *passed, last = logs
        readers = self.readers if passed else []
        for place, step_logs in enumerate(passed, step - len(passed)):
            self._end(readers, place, step_logs)
            self._begin(readers, place + 1)
        self._end(self.listeners, step, last)

    def _begin(self, listeners: list[Callback], step: int) -> None:
        begin, _, *_ = self.hooks
        for callback in listeners:
            getattr(callback, begin)(step, logs={})

    def _end(self, listeners: list[Callback], step: int, logs: Logs) -> None:
        _, end, *_ = self.hooks
        shared = python_logs(logs) if listeners else {}
        for callback in listeners:
            getattr(callback, end)(step, logs=shared)
