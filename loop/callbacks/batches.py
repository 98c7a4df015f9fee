"""The hooks around batches: who has them, who looks when, and who is told afterwards."""

from collections.abc import Callable
from typing import NamedTuple

from keras.callbacks import Callback

from loop.callbacks.logs import python_logs
from loop.types import Call, Logs
from loop.watch import Hooks, hears, next_look, reads_logs_only


class BatchHooks(NamedTuple):
    """The hooks for the batches of training, of testing or of prediction: `loop.watch.TRAINING`...

    Whose hooks are Keras's empty ones is never told, and logs become floats only where somebody is:
    that reads them, and waits for the device.
    """

    callbacks: list[Callback]
    hooks: Hooks

    @property
    def hearers(self) -> list[Callback]:
        """The callbacks that have such hooks, asked now: some set theirs while they train."""
        return [callback for callback in self.callbacks if hears(callback, self.hooks)]

    @property
    def readers(self) -> list[Callback]:
        """Those of them that read logs only, and may be told when the batches are over."""
        return [callback for callback in self.hearers if reads_logs_only(callback)]

    def are_read(self, together: int) -> bool:
        """Whether somebody is told afterwards of batches that are executed `together` at a time.

        Only of single ones: of executions of several, Keras tells the last batch alone.
        """
        return together == 1 and bool(self.readers)

    def until_seen(
        self, call: Call, together: int, stopping: Callable[[], bool]
    ) -> Callable[[int], int]:
        """A function from the batch that comes next to the one after which somebody looks.

        Where it is to stop already, Keras runs one more execution, and asks again.
        """

        def look(batch: int) -> int:
            if stopping() or (together > 1 and self.readers):
                return batch
            return next_look(self.hearers, batch, call.steps_within)

        return look

    def begin(self, batch: int) -> None:
        """Before a call; `batch` is the first one it runs."""
        self._begin(self.hearers, batch)

    def end(self, batch: int, every: list[Logs]) -> None:
        """After a call; `batch` is the last one it ran, `every` the logs after it or after each."""
        *passed, last = every
        readers = self.readers if passed else []
        for place, logs in enumerate(passed, batch - len(passed)):
            self._end(readers, place, logs)
            self._begin(readers, place + 1)
        self._end(self.hearers, batch, last)

    def _begin(self, hearers: list[Callback], batch: int) -> None:
        begin, _, *_ = self.hooks
        for callback in hearers:
            getattr(callback, begin)(batch, logs={})

    def _end(self, hearers: list[Callback], batch: int, logs: Logs) -> None:
        _, end, *_ = self.hooks
        shared = python_logs(logs) if hearers else {}
        for callback in hearers:
            getattr(callback, end)(batch, logs=shared)
