"""The hooks around batches: which callbacks have them, how far calls may run, and their calls."""

from collections.abc import Callable
from typing import NamedTuple

from keras.callbacks import Callback, TensorBoard

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
    """The hooks around the batches of training, of testing or of prediction.

        hooks = Callbacks([my_callback]).training
        hooks.begin(0)
        hooks.end(0, [loop.train_on_batch(model, x[:32], y[:32], return_dict=True)])

    Keras's empty hooks are never called, and logs become floats only if there is a hook to call
    with them, because that waits for the device.

    Attributes:
        callbacks: All callbacks, in the order of their calls.
        hooks: The names of the hooks, begin before end: `loop.callbacks.cadence.TRAINING`, ...
    """

    callbacks: list[Callback]
    hooks: Hooks

    @property
    def listeners(self) -> list[Callback]:
        """The callbacks with such hooks now: a callback may set hooks during training."""
        return [callback for callback in self.callbacks if has_hooks(callback, self.hooks)]

    @property
    def readers(self) -> list[Callback]:
        """The listeners that only read logs; their hooks may be called after the batches."""
        return [callback for callback in self.listeners if reads_logs_only(callback)]

    def horizon(self, step: int, steps_per_execution: int = 1) -> Horizon:
        """Return how far the next call may run before a callback needs control.

        Args:
            step: The step that comes next, counted from 0 in its epoch.
            steps_per_execution: The model's. Matches Keras: in an execution of several steps, hooks
                are called for the last step only, so logs of the others are not recorded.
        """
        listeners = self.listeners
        record = any(reads_logs_only(callback) for callback in listeners)
        if record and steps_per_execution > 1:
            return Horizon(step, MAX_SECONDS)
        last, seconds = next_control(listeners, step, MAX_SECONDS)
        may_stop = any(type(callback) is not TensorBoard for callback in self.readers)
        every_step = any(
            cadence_of(callback) is every_batch and not reads_logs_only(callback)
            for callback in listeners
        )
        return Horizon(last, seconds, record, every_step, may_stop)

    def begin(self, step: int) -> None:
        """Call the begin hooks before a compiled call; `step` is the first step that it runs."""
        self._begin(self.listeners, step)

    def end(self, step: int, logs: list[Logs], go_back: Callable[[int], bool] | None = None) -> int:
        """Call the end hooks after a compiled call.

        If the logs of every step were recorded, callbacks that only read logs get the begin and end
        hooks of all of its steps, in order. The others get those of its last step.

        Args:
            step: The last step that the call ran.
            logs: The logs after that step, or after every step of the call.
            go_back: Takes the model back to its state after so many steps of the call, and returns
                whether it could: called if a callback that only reads logs stops the training.

        Returns:
            How many of the last steps were taken back: those after the step of the stop.
        """
        *earlier, last = logs
        readers = self.readers if earlier else []
        for place, step_logs in enumerate(earlier, step - len(earlier)):
            self._end(readers, place, step_logs)
            if go_back and any(reader.model.stop_training for reader in readers):
                if go_back(len(logs) - (step - place)):
                    others = [each for each in self.listeners if not reads_logs_only(each)]
                    self._end(others, place, step_logs)
                    return step - place
                go_back = None
            self._begin(readers, place + 1)
        self._end(self.listeners, step, last)
        return 0

    def _begin(self, listeners: list[Callback], step: int) -> None:
        begin, _, *_ = self.hooks
        for callback in listeners:
            getattr(callback, begin)(step, logs={})

    def _end(self, listeners: list[Callback], step: int, logs: Logs) -> None:
        _, end, *_ = self.hooks
        shared = python_logs(logs) if listeners else {}
        for callback in listeners:
            getattr(callback, end)(step, logs=shared)
