"""`loop.evaluate`, and the validation pass of `loop.fit`: a pass that trains nothing."""

import math
from collections.abc import Callable

import keras

from loop.advice import advised
from loop.callbacks import (
    Callbacks,
    EvaluateEvery,
    python_logs,
    register_cadence,
    with_defaults,
)
from loop.checks import (
    check_compiled,
    check_compiled_for_validation,
    check_frequency,
    check_inherited,
    check_integers,
    check_one_process,
    check_plan,
)
from loop.distribute import source_for
from loop.engine.kinds import TEST
from loop.engine.model_step import ModelStep
from loop.engine.plan import OnePass
from loop.engine.run import Runner
from loop.metrics import in_metric_order
from loop.schedule import Schedule, capped_steps
from loop.types import FitArguments, Logs, StepFunction, Structure


@advised
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
    """Return the loss and the metrics of a model on data, as `model.evaluate` does.

        logs = loop.evaluate(model, x, y, return_dict=True)

    Args:
        model: A compiled model, or any model with `test_step` given.
        x: Inputs `[samples, ...]`, nested as the model takes them, or a `tf.data.Dataset`.
        y: Targets `[samples, ...]`; None for a dataset.
        batch_size: Samples per batch, 32 by default.
        verbose: 0 silent, 1 or "auto" a bar, 2 a line.
        sample_weight: `[samples]` or `[samples, ...]`.
        steps: Batches to evaluate on; None for all.
        callbacks: Keras callbacks.
        return_dict: Whether to return a dict of names to values.
        plan: See `loop.fit`.
        test_step: Replaces the model's step.

    Returns:
        A float, a list of floats with the loss first, or a dict.

    Raises:
        ValueError: The model is not compiled, or the arguments contradict each other.
        KeyError: There is no data.
        NotImplementedError: Keras supports the data or the model, loop does not yet.

    Mirrors: keras.Model.evaluate
    """
    check_plan(plan)
    check_compiled(model, test_step)
    check_one_process(model)
    check_integers(steps=steps)
    steps = capped_steps(steps)
    source = source_for(model, x, y, sample_weight, batch_size, steps)
    source.end_epoch()  # matches Keras: called once before the first batch, too
    schedule = Schedule(source, steps, model.steps_per_execution)
    completed = with_defaults(callbacks, model, verbose, epochs=1, steps=schedule.num_batches)
    report = print if verbose else lambda _: None
    step, length = ModelStep(model, TEST, test_step), schedule.num_batches or 0
    runner = Runner(step, source, plan, OnePass(None), report, steps_left=length)
    logs = run_evaluation(model, runner, schedule, completed)
    return logs if return_dict else in_metric_order(model, logs)


EvaluateEvery.evaluate = staticmethod(evaluate)


def run_evaluation(
    model: keras.Model, runner: Runner, schedule: Schedule, callbacks: Callbacks
) -> Logs:
    """Reset the metrics, update them with every batch and return their results, floats by name.

    Mirrors: keras.Model.evaluate
    """
    model.stop_evaluating = False
    callbacks.on_test_begin()
    runner.step.reset_metrics()
    hooks = callbacks.testing
    logs: Logs = {}
    horizon = runner.horizon_of(hooks, lambda: model.stop_evaluating)
    with schedule.until_out_of_data():
        for segment in schedule.segments(horizon):
            hooks.begin(segment.first)
            steps, recorded = runner.run_steps(segment)
            hooks.end(schedule.advance(steps), recorded)
            logs = recorded[-1]
            if model.stop_evaluating:
                break
    logs = python_logs(runner.step.epoch_logs(logs))
    callbacks.on_test_end(logs)
    return logs


def is_due(epoch: int, frequency: int | list[int]) -> bool:
    """Return whether to validate after an epoch, counted from 0 (`frequency` counts from 1).

    Mirrors: keras.src.trainers.trainer.Trainer._should_eval
    """
    if isinstance(frequency, list):
        return epoch + 1 in frequency
    return (epoch + 1) % frequency == 0


class Validation:
    """The validation pass of fit.

    It is prepared before training, so that errors in validation data are raised before a weight is
    updated. Keras prepares it in the first epoch that validates.

    Attributes:
        model: The model.
        source: The source of the batches.
        steps: Batches to validate on; None for all.
        frequency: Validate every n epochs, or after the listed epochs, counted from 1.
        runner: Runs the steps.

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
        report: Callable[[str], None],
        strict: bool = False,
    ):
        check_compiled_for_validation(model, test_step)
        check_inherited(model.evaluate, keras.Model.evaluate)
        check_frequency(frequency)
        self.model = model
        self.steps = capped_steps(steps)
        self.frequency = frequency
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        self.source = source_for(model, x, y, sample_weight, batch_size, self.steps)
        step = ModelStep(model, TEST, test_step, strict)
        one_pass = OnePass(
            self._steps_of_whole_pass(),
            "validation_steps is more than the batches of the validation data",
        )
        self.runner = Runner(step, self.source, plan, one_pass, report)

    def is_due(self, epoch: int) -> bool:
        """Return whether to validate after an epoch, counted from 0."""
        return is_due(epoch, self.frequency)

    def expect(self, epochs: int) -> None:
        """Tell the runner how many steps lie ahead, in so many epochs of training."""
        every_or_listed = self.frequency
        if isinstance(every_or_listed, list):
            passes = len(every_or_listed)
        else:
            passes = max(0, epochs) // every_or_listed
        self.runner.steps_left = passes * (self.steps or self.source.num_batches or 0)

    def _steps_of_whole_pass(self) -> int | None:
        """Return the steps of a validation, in whole executions; None if the data may end first."""
        size, per_execution = self.source.num_batches, self.model.steps_per_execution
        if not size or (self.steps and self.steps > size):
            return None
        return min(size, math.ceil((self.steps or size) / per_execution) * per_execution)

    def run(self, callbacks: Callbacks) -> Logs:
        """Evaluate from the first batch on; return the logs, with the prefix `val_`."""
        self.source.end_epoch()
        schedule = Schedule(self.source, self.steps, self.model.steps_per_execution)
        logs = run_evaluation(self.model, self.runner, schedule, callbacks)
        return {f"val_{name}": value for name, value in logs.items()}


class EvaluateValidation(EvaluateEvery):
    """Evaluates on the validation data of a fit every so many steps: `eval_every=100`.

    The results are `evaluations` of the History that fit returns. No hook of a callback is called.
    """

    def __init__(self, every: int, validation: Validation | None):
        super().__init__(None, every=every)
        self._validation = validation

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Begin anew."""
        super().on_train_begin()
        self.model.history.evaluations = self.history

    def evaluated(self) -> Logs:
        """Validate; return the logs, with the prefix `val_`."""
        return {} if self._validation is None else self._validation.run(Callbacks([]))


register_cadence(EvaluateValidation, EvaluateValidation.next_evaluation)


def evaluations_of(
    arguments: FitArguments, steps: int | None, validation: Validation | None
) -> list[EvaluateValidation]:
    """Return the callback that `eval_every` adds to those of a fit, in a list; [] without it.

    Args:
        arguments: The arguments of fit.
        steps: Steps per epoch; None while unknown.
        validation: The validation pass of the fit; None if it is only to be described.
    """
    if arguments.eval_every is None:
        return []
    callback = EvaluateValidation(arguments.eval_every, validation)
    callback.set_model(arguments.model)
    callback.set_params({"steps": steps})
    return [callback]
