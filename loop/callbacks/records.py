"""What a training did: the logs of every step, and how fast it ran."""

import time
from typing import Any

from keras.callbacks import Callback

from loop.types import Logs


class BatchHistory(Callback):
    """Records the logs of every step, as History records those of every epoch.

        steps = BatchHistory()
        loop.fit(model, x, y, epochs=2, callbacks=[steps])
        steps.history["loss"]  # a float for each step

    The logs are those of batch hooks: means are running means of the epoch. A step returns a number
    of its batch alone under a name of its own: `logs | {"batch_loss": loss}`.

    The graph writes the logs of all steps of a call, up to 1,024. With `steps_per_execution` above
    1 there is one record for each execution. COST

    Attributes:
        history: A list of floats for each log, as long as `epoch`.
        epoch: The epoch of each step, counted from 0.
    """

    logs_only = True

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Begin anew."""
        self.history: dict[str, list[Any]] = {}
        self.epoch: list[int] = []

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Remember the epoch."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Record the logs."""
        self.epoch.append(self._epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)


class Throughput(Callback):
    """Adds steps per second to the logs of every epoch, and samples per second if it knows them.

        loop.fit(model, x, y, callbacks=[Throughput(samples=len(x))])

    The log `compiling` is 1.0 in the first epoch, whose seconds contain tracing and compiling, and
    0.0 in others; a long fit may build a larger program in a later one. Validation counts, too.
    Calls run a whole epoch; nothing is done within it. Give it before callbacks that read its logs.

    Args:
        samples: Samples per epoch; None: no samples per second.

    Raises:
        ValueError: `samples` is below 1.
    """

    def __init__(self, samples: int | None = None):
        super().__init__()
        if samples is not None and samples < 1:
            raise ValueError(f"Expected `samples` to be 1 or more, got {samples}: pass len(x).")
        self.samples = samples

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Mark the epoch that comes as the first."""
        self._is_first = True

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Start the clock."""
        self._updates = self._count()
        self._started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Add the speed to the logs, which have waited for the device."""
        seconds = time.perf_counter() - self._started
        planned = self.params["steps"]
        stopped = planned is None or self.model.stop_training
        steps = self._count() - self._updates if stopped else planned
        speed = {"steps_per_second": steps / seconds, "compiling": float(self._is_first)}
        if self.samples is not None:
            share = steps / planned if planned else 1.0
            speed["samples_per_second"] = share * self.samples / seconds
        if logs is not None:
            logs |= speed
        self._is_first = False

    def _count(self) -> int:
        optimizer = getattr(self.model, "optimizer", None)
        return 0 if optimizer is None else int(optimizer.iterations.numpy())
