"""From the arguments of fit to the few things that training needs."""

from typing import NamedTuple

import keras

from loop.callbacks import Callbacks, with_defaults
from loop.checks import check_compiled, check_one_process, check_plan
from loop.data import split_validation
from loop.distribute import source_for
from loop.epoch import Epochs, capped_epochs, capped_steps
from loop.evaluate import Validation
from loop.function import TRAIN, StepGraphs
from loop.plans import make_call
from loop.strict import check_strictly, is_strict
from loop.types import Asked, Call


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


def set_up(asked: Asked) -> Training:
    """Checks and prepares everything; trains nothing.

    Raises:
        ValueError, KeyError, NotImplementedError: As `loop.fit`.

    Mirrors: keras.Model.fit
    """
    model, plan = asked.model, asked.plan
    check_plan(plan)
    check_compiled(model, asked.train_step)
    check_one_process(model)
    epochs, steps = capped_epochs(asked.epochs), capped_steps(asked.steps_per_epoch)
    arrays, validation_data = (asked.x, asked.y, asked.sample_weight), asked.validation_data
    if asked.validation_split and validation_data is None:
        arrays, validation_data = split_validation(arrays, asked.validation_split)
    source = source_for(model, *arrays, asked.batch_size, steps, asked.shuffle, asked.class_weight)
    if asked.strict or is_strict():
        check_strictly(asked, source)
    source.end_epoch()  # once before the first epoch, as Keras does
    schedule = Epochs(source, steps, model.steps_per_execution)
    say = print if asked.verbose else _silent
    validation = None
    if validation_data is not None:
        batch_size = asked.validation_batch_size or asked.batch_size
        timing = (batch_size, asked.validation_steps, asked.validation_freq)
        validation = Validation(model, validation_data, *timing, asked.test_step, plan, say)
    told = with_defaults(
        asked.callbacks, model, asked.verbose, epochs, schedule.num_batches, history=True
    )
    graphs = StepGraphs(model, TRAIN, source.spec, asked.train_step)
    model.make_train_function()  # before training starts: callbacks look for it on the model
    train = make_call(plan, graphs, source, say)
    return Training(model, train, schedule, validation, told, asked.initial_epoch, epochs)


def _silent(_: str) -> None:
    """What `verbose=0` says."""
