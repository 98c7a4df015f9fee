"""What happens during a training: the logs of every step, its speed, evaluations within epochs."""

import time
from collections.abc import Callable
from typing import Any, ClassVar

from keras.callbacks import Callback

from loop.callbacks.cadence import register_cadence
from loop.checks import check_positive
from loop.metrics import kept_metrics
from loop.types import Logs, StepFunction, Structure


class BatchHistory(Callback):
    """Records the logs of every step, as History records those of every epoch.

        steps = BatchHistory()
        loop.fit(model, x, y, epochs=2, callbacks=[steps])
        steps.history["loss"]  # a float for each step

    Logs are those of batch hooks: the metrics are running means over the epoch. A step of your own
    shows the loss of its batch alone under another name: `logs | {"batch_loss": loss}`.

    The graph writes the logs of all steps of a call, an epoch or 1,024 steps. With
    `steps_per_execution` above 1 only the last step of an execution is recorded. Each step costs
    a few operations in the graph and a dict in Python, under 50 us (docs/research.md).

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
        """Note the epoch."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Record the logs."""
        self.epoch.append(self._epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)


class Throughput(Callback):
    """Adds steps per second to the logs of every epoch, and samples per second if told how many.

        loop.fit(model, x, y, callbacks=[loop.callbacks.Throughput(samples=len(x))])

    The log `compiling` is 1.0 in the first epoch, whose seconds contain tracing and compiling, and
    0.0 in others; in a long fit a later one may build a larger program. Validation counts as well.
    Callbacks that read its logs come after it. A call runs an epoch, and no step takes longer
    than the noise of a clock shows (docs/research.md).

    Args:
        samples: Samples per epoch.

    Raises:
        ValueError: `samples` is below 1.
    """

    def __init__(self, samples: int | None = None):
        super().__init__()
        if samples is not None:
            check_positive(samples=samples)
        self._samples = samples

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Mark the next epoch as the first."""
        self._is_first = True

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Start the clock."""
        self._before, self._started = self._updates(), time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Add the speed to the logs, which have waited for the device."""
        seconds, planned = time.perf_counter() - self._started, self.params["steps"]
        is_whole = planned and not self.model.stop_training
        steps = planned if is_whole else self._updates() - self._before
        speed = {"steps_per_second": steps / seconds, "compiling": float(self._is_first)}
        if self._samples:
            speed["samples_per_second"] = self._samples * steps / (planned or steps or 1) / seconds
        ({} if logs is None else logs).update(speed)
        self._is_first = False

    def _updates(self) -> int:
        optimizer = getattr(self.model, "optimizer", None)
        return 0 if optimizer is None else int(optimizer.iterations.numpy())


class EvaluateEvery(Callback):
    """Evaluates the model every so many steps, counted over all epochs, and trains on undisturbed.

        evaluations = EvaluateEvery(x[:20], y[:20], every=500)
        loop.fit(model, x, y, epochs=20, callbacks=[evaluations])
        evaluations.history  # {"step": [500, 1000, ...], "val_loss": [...]}

    The running metrics of the training are kept. A call runs all steps up to the next evaluation,
    which takes as long as `loop.evaluate`; steps take no longer (docs/research.md).

    Args:
        x: Inputs `[samples, ...]`, or a dataset.
        y: Targets `[samples, ...]`; None for a dataset.
        every: Steps between two evaluations.
        batch_size: Samples per batch, 32 by default.
        sample_weight: `[samples]` or `[samples, ...]`.
        steps: Batches to evaluate on; None for all.
        test_step: Replaces the model's step.

    Attributes:
        history: Lists of equal length: the steps done, and each log with the prefix `val_`.

    Raises:
        ValueError: `every` is below 1.
    """

    evaluate: ClassVar[Callable[..., Any]]
    """`loop.evaluate`, set by its module: that imports callbacks, not the other way round."""

    def __init__(
        self,
        x: Structure,
        y: Structure = None,
        *,
        every: int,
        batch_size: int | None = None,
        sample_weight: Structure = None,
        steps: int | None = None,
        test_step: StepFunction | None = None,
    ):
        super().__init__()
        check_positive(every=every)
        self.every = every
        self.params = {"steps": None}  # until fit sets them
        self.history: dict[str, list[float]] = {}
        self._before = self._done = 0  # steps before this epoch, and until now
        self._data = x, y, batch_size, 0, sample_weight, steps
        self._test_step = test_step

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Begin anew."""
        self.history = {"step": []}
        self._before = self._done = 0

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Note how many steps were done before."""
        self._before = self._done

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Evaluate if so many steps were done since the last time."""
        in_epoch = min(batch + 1, self.params["steps"] or batch + 1)  # of an execution cut short
        previous, self._done = self._done, self._before + in_epoch
        if self._done // self.every == previous // self.every:
            return
        with kept_metrics(self.model, and_seeds=True):
            logs = self.evaluated()
        for name, value in {"step": self._done, **logs}.items():
            self.history.setdefault(name, []).append(value)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Count the steps of an epoch that ran in a single call, without hooks of batches."""
        if self._done == self._before:
            self._done += self.params["steps"] or 0

    def evaluated(self) -> Logs:
        """Evaluate; return the logs, with the prefix `val_`."""
        logs = self.evaluate(self.model, *self._data, return_dict=True, test_step=self._test_step)
        return {f"val_{name}": value for name, value in logs.items()}

    def next_evaluation(self, batch: int) -> int | None:
        """Return the batch after which to evaluate next; None if not in this epoch."""
        last, steps = batch + -(self._before + batch + 1) % self.every, self.params["steps"]
        return last if steps is None or last < steps else None


register_cadence(EvaluateEvery, EvaluateEvery.next_evaluation)
