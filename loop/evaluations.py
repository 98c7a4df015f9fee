"""Evaluates every few steps within fit: `eval_every=100`."""

import keras

from loop.callbacks import Callbacks, register_cadence
from loop.evaluate import Validation
from loop.metrics import kept_metrics
from loop.schedule import Schedule
from loop.types import FitArguments, Logs


class Evaluations(keras.callbacks.Callback):
    """Validates after every few steps of a fit, counted over all of its epochs.

    The metrics of training are kept, and no hook of any callback is called.

    Attributes:
        every: After how many steps to evaluate; whole executions of `steps_per_execution` steps.
        schedule: The schedule of the training, which counts its steps.
        validation: The validation pass.
        results: The number of steps and the logs of each evaluation, by name.
    """

    def __init__(self, every: int, schedule: Schedule, validation: Validation | None):
        super().__init__()
        self.every = every
        self.schedule = schedule
        self.validation = validation
        self.results: dict[str, list[float]] = {"step": []}
        self._seen = 0  # the steps that had run after the last call

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Show the results as `evaluations` of the History that fit returns."""
        if self.validation is not None:
            self.validation.model.history.evaluations = self.results

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """No-op. With a hook at epochs no call runs several, and the next cadence is asked."""

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Evaluate if a multiple of `every` steps was reached since the last call."""
        before, self._seen = self._seen, self.schedule.ran
        if self._seen // self.every == before // self.every or self.validation is None:
            return
        with kept_metrics(self.validation.model, and_seeds=True):
            results = self.validation.run(Callbacks([]))
        for name, value in {"step": self._seen, **results}.items():
            self.results.setdefault(name, []).append(value)

    def next_batch(self, batch: int) -> int | None:
        """Return the batch after which to evaluate next; None if not in this epoch."""
        last = batch + self.every - self.schedule.ran % self.every - 1
        steps = self.schedule.num_batches
        return last if steps is None or last < steps else None


def evaluations_of(
    arguments: FitArguments, schedule: Schedule | None, validation: Validation | None
) -> list[Evaluations]:
    """Return the callback that evaluates every few steps, in a list; [] without `eval_every`."""
    if arguments.eval_every is None or schedule is None:
        return []
    return [Evaluations(arguments.eval_every, schedule, validation)]


register_cadence(Evaluations, Evaluations.next_batch)
