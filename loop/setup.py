"""Prepares a training from the arguments of fit."""

from dataclasses import replace
from typing import NamedTuple

import keras

from loop.callbacks import Callbacks, with_defaults
from loop.checks import (
    check_compiled,
    check_integers,
    check_one_process,
    check_plan,
    check_positive,
)
from loop.data import no_data, split_validation
from loop.distribute import source_for
from loop.engine.kinds import TRAIN
from loop.engine.model_step import ModelStep
from loop.engine.plan import OnePass
from loop.engine.run import Runner
from loop.evaluate import Validation, evaluations_of
from loop.schedule import Schedule, capped_epochs, capped_steps
from loop.strict import check_strictly, is_strict, with_finite_loss
from loop.types import Arrays, FitArguments, Source, Structure

ABOUT_DATA = ("batch_size", "class_weight", "drop_remainder", "validation_split")
"""Arguments of fit that mean nothing without data."""


class Training(NamedTuple):
    """Everything that the loops over epochs and steps use.

    Attributes:
        model: The model to train.
        runner: Runs segments: one step or many per compiled call.
        schedule: Yields the segments of each epoch.
        validation: The validation pass; None for no validation.
        callbacks: The callbacks, the History and the progress bar.
        initial_epoch: The epoch to start at.
        epochs: The epoch to stop before.
    """

    model: keras.Model
    runner: Runner
    schedule: Schedule
    validation: Validation | None
    callbacks: Callbacks
    initial_epoch: int
    epochs: int


def set_up(arguments: FitArguments) -> Training:
    """Check the arguments and prepare the training; train nothing.

    Raises:
        ValueError, KeyError, NotImplementedError: As `loop.fit`.

    Mirrors: keras.Model.fit
    """
    arguments = replace(arguments, strict=arguments.strict or is_strict())
    model = arguments.model
    check_arguments(arguments)
    epochs = capped_epochs(arguments.epochs)
    arrays, validation_data = split_arrays(arguments)
    source = source_of(arguments, arrays)
    callbacks_given = arguments.callbacks
    if arguments.strict:
        check_strictly(arguments, source)
        callbacks_given = with_finite_loss(callbacks_given)
    source.end_epoch()  # once before the first epoch, as Keras does
    schedule = schedule_of(arguments, source)
    validation = validation_of(arguments, validation_data)
    callbacks = with_defaults(
        callbacks_given,
        model,
        arguments.verbose,
        epochs,
        schedule.num_batches,
        history=True,
    )
    callbacks.callbacks.extend(evaluations_of(arguments, schedule.num_batches, validation))
    runner = runner_of(arguments, schedule, validation)
    model.make_train_function()  # before training, because callbacks may read `train_function`
    return Training(model, runner, schedule, validation, callbacks, arguments.initial_epoch, epochs)


def check_arguments(arguments: FitArguments) -> None:
    """Raise ValueError or NotImplementedError if the plan or the model cannot be used."""
    check_plan(arguments.plan)
    check_compiled(arguments.model, arguments.train_step)
    check_one_process(arguments.model)
    if arguments.eval_every is not None:
        check_positive(eval_every=arguments.eval_every)
        if arguments.validation_data is None and not arguments.validation_split:
            raise ValueError(
                f"eval_every={arguments.eval_every} has no data to evaluate on. Pass "
                "validation_data=(x_val, y_val) or validation_split=0.2."
            )
    check_integers(
        epochs=arguments.epochs,
        initial_epoch=arguments.initial_epoch,
        steps_per_epoch=arguments.steps_per_epoch,
        validation_steps=arguments.validation_steps,
    )


def split_arrays(arguments: FitArguments) -> tuple[Arrays, Structure]:
    """Return `(x, y, sample_weight)` to train on, and the validation data, split off or given."""
    arrays = arguments.x, arguments.y, arguments.sample_weight
    if arguments.validation_split and arguments.validation_data is None:
        return split_validation(arrays, arguments.validation_split)
    return arrays, arguments.validation_data


def source_of(arguments: FitArguments, arrays: Arrays) -> Source:
    """Return the source of the training batches.

    Raises:
        ValueError: Data are missing or contradict the arguments.
        KeyError: There are no data, and no step of one's own that could do without.
    """
    steps = capped_steps(arguments.steps_per_epoch)
    if arguments.train_step is not None and all(part is None for part in arrays):
        return source_without_data(arguments, steps)
    return source_for(
        arguments.model,
        *arrays,
        arguments.batch_size,
        steps,
        arguments.shuffle,
        arguments.class_weight,
        arguments.drop_remainder,
    )


def source_without_data(arguments: FitArguments, steps: int | None) -> Source:
    """Return the source for a step of one's own that gets None in place of a batch.

    Raises:
        ValueError: The steps of an epoch are not given, or an argument is about data.
    """
    if not steps or steps < 0:
        raise ValueError(
            "Without data nothing says where an epoch ends: expected `steps_per_epoch` to be 1 or "
            f"more, got {steps}. Pass steps_per_epoch=100 beside `train_step`, or data as `x`."
        )
    given = {name: getattr(arguments, name) for name in ABOUT_DATA}
    if unused := [f"{name}={value!r}" for name, value in given.items() if value]:
        raise ValueError(
            f"There are no data for {', '.join(unused)}: the step gets None in place of a batch. "
            "Leave them out, or pass data as `x`."
        )
    return no_data(steps)


def schedule_of(arguments: FitArguments, source: Source) -> Schedule:
    """Return the schedule of the training batches."""
    steps = capped_steps(arguments.steps_per_epoch)
    return Schedule(source, steps, arguments.model.steps_per_execution)


def validation_of(arguments: FitArguments, data: Structure) -> Validation | None:
    """Return the validation pass of a fit, or None without validation data."""
    if data is None:
        return None
    validation = Validation(
        arguments.model,
        data,
        arguments.validation_batch_size or arguments.batch_size,
        arguments.validation_steps,
        arguments.validation_freq,
        arguments.test_step,
        arguments.plan,
        print if arguments.verbose else _silent,
        arguments.strict,
    )
    validation.expect(arguments.epochs - arguments.initial_epoch)
    return validation


def runner_of(arguments: FitArguments, schedule: Schedule, validation: Validation | None) -> Runner:
    """Return the runner of the training steps."""
    return Runner(
        ModelStep(arguments.model, TRAIN, arguments.train_step, arguments.strict),
        schedule.source,
        arguments.plan,
        OnePass(schedule.steps_of_whole_pass, "an epoch is not one pass over the data"),
        print if arguments.verbose else _silent,
        validation.runner if validation is not None else None,
        (schedule.num_batches or 0) * max(0, arguments.epochs - arguments.initial_epoch),
    )


def _silent(_: str) -> None:
    """Print nothing: stands for `print` under `verbose=0`."""
