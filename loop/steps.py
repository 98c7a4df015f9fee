"""`loop.steps`: the training of `loop.fit` as a loop of your own, with control every few steps."""

import contextlib
import sys
from collections.abc import Generator, Iterator

import keras

from loop.advice import advice_on
from loop.callbacks import python_logs
from loop.checks import check_positive
from loop.data import kind_of
from loop.metrics import kept_metrics
from loop.setup import Training, set_up
from loop.state import finalize_weights
from loop.types import MAX_SECONDS, FitArguments, Horizon, Logs, StepFunction, Structure


def steps(
    model: keras.Model,
    data: Structure,
    train_step: StepFunction | None = None,
    every: int = 100,
    *,
    epochs: int | None = 1,
    batch_size: int | None = None,
    shuffle: bool | str = True,
    steps_per_epoch: int | None = None,
    drop_remainder: bool = False,
    plan: str = "auto",
) -> Iterator[tuple[int, Logs]]:
    """Train as `loop.fit` does, and yield control after every few steps.

        for step, logs in loop.steps(model, (x, y), every=10, epochs=5):
            print(step, logs["loss"], loop.evaluate(model, x, y, verbose=0))
            if logs["loss"] < 0.01:
                break

    The steps in between share compiled calls. Between two of them you may do what you like:
    evaluate (the running metrics of the training are kept), set `model.optimizer.learning_rate`,
    save, or break. The bits are those of `loop.fit` with the same arguments. There are no
    callbacks and no validation; `model.history` has the logs of each epoch.

    If the optimizer keeps averages (`use_ema`), they become the weights when the loop has ended by
    itself, after the last yield, as at the end of fit. After a break they do not:
    `model.optimizer.finalize_variable_values(model.trainable_weights)` does that.

    Args:
        model: A compiled Keras model, or any Keras model with `train_step` given.
        data: What fit takes as `x`, or `(x, y)`, or `(x, y, sample_weight)`: a tuple is always one
            of these. Arrays `[samples, ...]`; None for a `train_step` that makes its own data.
        train_step: The step to use, `train_step(model, batch) -> logs`.
        every: After how many steps to yield, counted over all epochs, in whole executions of
            `steps_per_execution` steps. After the last step of all there is a yield in any case.
        epochs: How many epochs to train; None to train until you break.
        batch_size: Samples per batch, 32 by default.
        shuffle: As for `loop.fit`; without effect on data that yield batches.
        steps_per_epoch: Steps per epoch; None for one pass over the data.
        drop_remainder: Whether to leave out the last batch of a pass over arrays if it is short.
        plan: How steps are compiled and called, as for `loop.fit`.

    Returns:
        An iterator of `(step, logs)`: how many steps ran so far, and the logs that fit would report
        if the epoch ended there, floats by name.

    Raises:
        ValueError, TypeError, KeyError: As `loop.fit`, and before the first step.

    Mirrors: keras.Model.fit
    """
    check_positive(every=every)
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(
        data if isinstance(data, tuple) else (data,)
    )
    if x is None and train_step is None:
        raise ValueError(
            "There are no data to train on, and no step that makes its own. Pass (x, y) as `data`, "
            "or train_step=my_step and steps_per_epoch=100."
        )
    arguments = FitArguments(
        model=model, x=x, y=y, sample_weight=sample_weight, train_step=train_step, plan=plan,
        epochs=sys.maxsize if epochs is None else epochs, batch_size=batch_size, verbose=0,
        shuffle=shuffle if kind_of(x) in (None, "PyDataset") else False,
        steps_per_epoch=steps_per_epoch, drop_remainder=drop_remainder,
    )  # fmt: skip
    with advice_on(lambda: vars(arguments)):
        training = set_up(arguments)
    return run(training, arguments, every)


def run(training: Training, arguments: FitArguments, every: int) -> Iterator[tuple[int, Logs]]:
    """Yield the number of steps and the logs after every few steps, and after the last.

    Mirrors: keras.Model.fit
    """
    model, runner, schedule, _, callbacks, _, epochs = training
    callbacks.on_train_begin()
    step_logs: Logs = {}
    logs: Logs = {}
    told = 0
    for epoch in range(epochs):
        runner.step.reset_metrics()
        with (
            advice_on(lambda: vars(arguments)),
            contextlib.closing(run_epoch(training, every)) as calls,
        ):
            for step_logs in calls:
                if schedule.ran // every > told // every:
                    told = schedule.ran
                    with kept_metrics(model):
                        yield told, python_logs(runner.step.epoch_logs(step_logs))
        logs = python_logs(runner.step.epoch_logs(step_logs))
        callbacks.on_epoch_end(epoch, logs)  # fills `model.history`
    if schedule.ran > told:
        yield schedule.ran, logs
    finalize_weights(model)


def run_epoch(training: Training, every: int) -> Generator[Logs]:
    """Run the calls of an epoch; yield the logs after the last step of each.

    If it is closed earlier, the epoch of the data ends, too, which stops its workers.
    """
    _, runner, schedule, *_ = training

    def horizon(step: int) -> Horizon:
        left = every - schedule.ran % every
        return Horizon(step + left - 1, MAX_SECONDS, every_step=every == 1)

    try:
        with schedule.until_out_of_data():
            for segment in schedule.segments(horizon):
                ran, recorded = runner.run_steps(segment)
                schedule.advance(ran)
                yield recorded[-1]
    except BaseException:
        schedule.source.end_epoch()
        raise
