"""From the arguments of fit to the few things that training needs."""

from typing import NamedTuple

import keras

from loop.callbacks import Callbacks, with_defaults
from loop.checks import check_compiled, check_one_device, check_plan
from loop.data import make_source, split_validation
from loop.epoch import Epochs, capped_epochs, capped_steps
from loop.evaluate import Validation
from loop.function import train_graphs
from loop.plans import make_call
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
    x: Structure = None,
    y: Structure = None,
    batch_size: int | None = None,
    epochs: int = 1,
    verbose: str | int = "auto",
    callbacks: Structure = None,
    validation_split: float = 0.0,
    validation_data: Structure = None,
    shuffle: bool | str = True,
    class_weight: dict[int, float] | None = None,
    sample_weight: Structure = None,
    initial_epoch: int = 0,
    steps_per_epoch: int | None = None,
    validation_steps: int | None = None,
    validation_batch_size: int | None = None,
    validation_freq: int | list[int] = 1,
    *,
    plan: str = "auto",
    train_step: StepFunction | None = None,
    test_step: StepFunction | None = None,
) -> Training:
    """Checks and prepares everything; trains nothing. The arguments are those of `loop.fit`.

    Raises:
        ValueError, KeyError, NotImplementedError: As `loop.fit`.

    Mirrors: keras.Model.fit
    """
    check_plan(plan)
    check_compiled(model, train_step)
    check_one_device(model)
    epochs, steps = capped_epochs(epochs), capped_steps(steps_per_epoch)
    if validation_split and validation_data is None:
        arrays, validation_data = split_validation((x, y, sample_weight), validation_split)
        x, y, sample_weight = arrays
    say = print if verbose else _silent
    source = make_source(x, y, sample_weight, batch_size, steps, shuffle, class_weight)
    schedule = Epochs(source, steps, model.steps_per_execution)
    validation = None
    if validation_data is not None:
        timing = (validation_batch_size or batch_size, validation_steps, validation_freq)
        validation = Validation(model, validation_data, *timing, test_step, plan, say)
    told = with_defaults(callbacks, model, verbose, epochs, schedule.num_batches, history=True)
    train = make_call(plan, train_graphs(model, train_step, source.spec), source, say)
    return Training(model, train, schedule, validation, told, initial_epoch, epochs)


def _silent(_: str) -> None:
    """What `verbose=0` says."""
