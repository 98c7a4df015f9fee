"""Evaluation within epochs."""

from collections.abc import Callable
from typing import Any, ClassVar

from keras.callbacks import Callback

from loop.callbacks.cadence import register_cadence
from loop.metrics import kept_metrics
from loop.types import Logs, StepFunction, Structure


class EvaluateEvery(Callback):
    """Evaluates the model every so many steps, counted over all epochs; training goes on as it was.

        evaluations = EvaluateEvery(x_test, y_test, every=500)
        loop.fit(model, x, y, epochs=20, callbacks=[evaluations])
        evaluations.history  # {"step": [500, 1000, ...], "val_loss": [...]}

    Running metrics of the training are kept. A call runs all steps up to the next evaluation.
    COST

    Args:
        x: Inputs `[samples, ...]`, or a dataset.
        y: Targets `[samples, ...]`; None for a dataset.
        every: Steps between evaluations.
        batch_size: Samples per batch, 32 by default.
        sample_weight: `[samples]` or `[samples, ...]`.
        steps: Batches to evaluate on; None for all.
        test_step: Replaces the model's step.

    Attributes:
        history: Lists of the same length: the steps done, and each log with the prefix `val_`.

    Raises:
        ValueError: `every` is below 1.
    """

    evaluate: ClassVar[Callable[..., Any]]
    """Set to `loop.evaluate` by its module, which imports callbacks and not the other way round."""

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
        if every < 1:
            raise ValueError(f"Expected `every` to be 1 step or more, got {every}.")
        self.every = every
        self._data = x, y, batch_size, 0, sample_weight, steps
        self._test_step = test_step

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Begin anew."""
        self.history: dict[str, list[float]] = {"step": []}
        self._before = self._done = 0  # steps before this epoch, and until now

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Count on from the epochs before."""
        self._before = self._done

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Evaluate if as many steps were done since the last time."""
        previous, self._done = self._done, self._before + batch + 1
        if self._done // self.every > previous // self.every:
            self._evaluate()

    def _evaluate(self) -> None:
        with kept_metrics(self.model):
            logs = self.evaluate(
                self.model, *self._data, return_dict=True, test_step=self._test_step
            )
        self.history["step"].append(self._done)
        for name, value in logs.items():
            self.history.setdefault(f"val_{name}", []).append(value)

    def next_evaluation(self, batch: int) -> int:
        """Return the first batch of this epoch, from `batch` on, after which to evaluate."""
        return batch + -(self._before + batch + 1) % self.every


register_cadence(EvaluateEvery, EvaluateEvery.next_evaluation)
