"""From the arguments of fit to the few things that training needs."""

from typing import NamedTuple

import keras

from loop._keras import is_distributed
from loop.callbacks import Callbacks, with_defaults
from loop.checks import check_compiled, check_one_process, check_plan
from loop.data import make_source, split_validation
from loop.distribute import over_replicas
from loop.epoch import Epochs, capped_epochs, capped_steps
from loop.evaluate import Validation
from loop.function import TRAIN, StepGraphs
from loop.plans import make_call
from loop.strict import Asked, check_arguments, check_source, is_strict
from loop.types import Call, StepFunction, Structure


class Training(NamedTuple):
    """What training needs.

    Attributes:
        model: The model to train.
        train: The compiled call that trains on some batches.
        schedule: Which batches make an epoch.
        validation: What to validate on, and when; None for nothing.
        callbacks: Who is told.
        initial_epoch: The epoch to start at.
        epochs: The epoch to stop before.
    """

    model: keras.Model
    train: Call
    schedule: Epochs
    validation: Validation | None
    callbacks: Callbacks
    initial_epoch: int
    epochs: int


def set_up(
    model: keras.Model,
    x: Structure,
    y: Structure,
    batch_size: int | None,
    epochs: int,
    verbose: str | int,
    callbacks: Structure,
    validation_split: float,
    validation_data: Structure,
    shuffle: bool | str,
    class_weight: dict[int, float] | None,
    sample_weight: Structure,
    initial_epoch: int,
    steps_per_epoch: int | None,
    validation_steps: int | None,
    validation_batch_size: int | None,
    validation_freq: int | list[int],
    plan: str,
    train_step: StepFunction | None,
    test_step: StepFunction | None,
    strict: bool,
) -> Training:
    """Checks and prepares everything; trains nothing.

    The arguments are those of `loop.fit`, which has their defaults.

    Raises:
        ValueError, KeyError, NotImplementedError: As `loop.fit`.

    Mirrors: keras.Model.fit
    """
    check_plan(plan)
    check_compiled(model, train_step)
    check_one_process(model)
    asked = Asked(
        model, x, y, sample_weight, batch_size, epochs, shuffle, class_weight, validation_split,
        validation_data, steps_per_epoch,
    )  # fmt: skip
    strict = strict or is_strict()
    if strict:
        check_arguments(asked)
    epochs, steps = capped_epochs(epochs), capped_steps(steps_per_epoch)
    if validation_split and validation_data is None:
        arrays, validation_data = split_validation((x, y, sample_weight), validation_split)
        x, y, sample_weight = arrays
    say = print if verbose else _silent
    source = make_source(
        x, y, sample_weight, batch_size, steps, shuffle, class_weight, is_distributed(model)
    )
    if strict:
        check_source(asked, source)
    source = over_replicas(model, source)
    source.end_epoch()  # once before the first epoch, as Keras does
    schedule = Epochs(source, steps, model.steps_per_execution)
    validation = None
    if validation_data is not None:
        timing = (validation_batch_size or batch_size, validation_steps, validation_freq)
        validation = Validation(model, validation_data, *timing, test_step, plan, say)
    told = with_defaults(callbacks, model, verbose, epochs, schedule.num_batches, history=True)
    train = make_call(plan, StepGraphs(model, TRAIN, source.spec, train_step), source, say)
    model.make_train_function()  # before training starts: callbacks look for it on the model
    return Training(model, train, schedule, validation, told, initial_epoch, epochs)


def _silent(_: str) -> None:
    """What `verbose=0` says."""
