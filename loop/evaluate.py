"""`loop.evaluate`, and the validation pass of `loop.fit`: one pass, nothing learned."""

import math
from collections.abc import Callable

import keras

from loop.callbacks import Callbacks, python_logs, with_defaults
from loop.checks import (
    check_compiled,
    check_frequency,
    check_inherited,
    check_one_process,
    check_plan,
)
from loop.distribute import source_for
from loop.epoch import Epochs, capped_steps, run_steps
from loop.function import TEST, StepGraphs
from loop.metrics import epoch_logs, in_metric_order
from loop.plans import make_call
from loop.types import Call, Logs, StepFunction, Structure


def evaluate(
    model: keras.Model,
    x: Structure = None,
    y: Structure = None,
    batch_size: int | None = None,
    verbose: str | int = "auto",
    sample_weight: Structure = None,
    steps: int | None = None,
    callbacks: Structure = None,
    return_dict: bool = False,
    *,
    plan: str = "auto",
    test_step: StepFunction | None = None,
) -> float | list[float] | Logs:
    """The loss and the metrics of a model on data, as `model.evaluate` gives them.

    Args:
        model: A compiled model, or any model with `test_step` given.
        x: Inputs `[samples, ...]`, nested as the model takes them, or a `tf.data.Dataset`.
        y: Targets `[samples, ...]`; None for a dataset.
        batch_size: Samples in a batch, 32 by default.
        verbose: 0 silent, 1 or "auto" a bar, 2 a line.
        sample_weight: `[samples]` or `[samples, ...]`.
        steps: Batches to evaluate on; None for all.
        callbacks: Keras callbacks.
        return_dict: Whether to return names with the values.
        plan: See `loop.fit`.
        test_step: A step to use in place of the model's.

    Returns:
        A float, or a list of floats (loss first), or a dict of them.

    Raises:
        ValueError: The model is not compiled, or the arguments contradict each other.
        KeyError: There is no data.
        NotImplementedError: A source or a model that Keras takes and loop does not yet.

    Mirrors: keras.Model.evaluate
    """
    check_plan(plan)
    check_compiled(model, test_step)
    check_one_process(model)
    steps = capped_steps(steps)
    source = source_for(model, x, y, sample_weight, batch_size, steps)
    source.end_epoch()  # once before the first batch, as Keras does
    schedule = Epochs(source, steps, model.steps_per_execution)
    told = with_defaults(callbacks, model, verbose, epochs=1, steps=schedule.num_batches)
    say = print if verbose else lambda _: None
    call = make_call(plan, StepGraphs(model, TEST, source.spec, test_step), source, say)
    logs = run_evaluation(model, call, schedule, told)
    return logs if return_dict else in_metric_order(model, logs)


def run_evaluation(model: keras.Model, test: Call, schedule: Epochs, callbacks: Callbacks) -> Logs:
    """One pass: resets the metrics, shows them every batch, returns their results as floats.

    Mirrors: keras.Model.evaluate
    """
    model.stop_evaluating = False
    callbacks.on_test_begin()
    model.reset_metrics()
    logs = run_steps(test, schedule, callbacks.testing, lambda: model.stop_evaluating)
    logs = python_logs(epoch_logs(model, logs))
    callbacks.on_test_end(logs)
    return logs


class Validation:
    """The validation pass of fit: which data, how often, under which step.

    Made before training, where Keras makes it at the first epoch that validates: what cannot be
    validated on is refused before a weight has moved.

    Mirrors: keras.Model.fit
    """

    def __init__(
        self,
        model: keras.Model,
        data: Structure,
        batch_size: int | None,
        steps: int | None,
        frequency: int | list[int],
        test_step: StepFunction | None,
        plan: str,
        say: Callable[[str], None],
    ):
        check_compiled(model, test_step)
        check_inherited(model.evaluate, keras.Model.evaluate)
        check_frequency(frequency)
        self.model = model
        self.steps = capped_steps(steps)
        self.frequency = frequency
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        self.source = source_for(model, x, y, sample_weight, batch_size, self.steps)
        graphs = StepGraphs(model, TEST, self.source.spec, test_step)
        self.call = make_call(plan, graphs, self.source, say)

    def is_due(self, epoch: int) -> bool:
        """Whether to validate after an epoch, counted from 0; lists count from 1.

        Mirrors: keras.src.trainers.trainer.Trainer._should_eval
        """
        if isinstance(self.frequency, list):
            return epoch + 1 in self.frequency
        return (epoch + 1) % self.frequency == 0

    def whole_pass(self) -> int | None:
        """Batches of a pass, as many as its executions run; None where there may be too few."""
        size, together = self.source.num_batches, self.model.steps_per_execution
        if not size or (self.steps and self.steps > size):
            return None
        return min(size, math.ceil((self.steps or size) / together) * together)

    def run(self, callbacks: Callbacks) -> Logs:
        """Evaluates once, always from the first batch on; keys get the prefix `val_`."""
        self.source.end_epoch()
        schedule = Epochs(self.source, self.steps, self.model.steps_per_execution)
        logs = run_evaluation(self.model, self.call, schedule, callbacks)
        return {f"val_{name}": value for name, value in logs.items()}
