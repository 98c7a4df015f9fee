"""What fit prepares before its first batch, without drawing a batch."""

from typing import NamedTuple

from loop._keras import is_distributed
from loop.data import kind_of
from loop.engine.run import Runner
from loop.evaluate import Validation
from loop.schedule import Schedule
from loop.setup import runner_of, schedule_of, source_of, split_arrays, validation_of
from loop.types import FitArguments, Source, Structure

UNSIZED = ("generator", "grain dataset")
"""Kinds of data that do not say how many batches they have."""

DRAWN = (*UNSIZED, "torch DataLoader")
"""Kinds of data whose shapes are unknown until batches are drawn."""


def drawn_kind(data: Structure) -> str | None:
    """Return the kind of validation data whose shapes only drawn batches show; None for others."""
    x, *_ = data if isinstance(data, tuple) and data else (data,)
    kind = kind_of(data) or kind_of(x)
    return kind if kind in DRAWN else None


class Prepared(NamedTuple):
    """What fit prepares before its first batch, as far as that draws no batch.

    Attributes:
        source: The source of the batches; None if making it would draw from the data.
        schedule: The schedule of the training batches; None with the source.
        validation_data: The validation data, split off or given; None for no validation.
        validation: The validation pass; None without validation, or if making it would draw.
        runner: The runner of the steps; None while the step cannot be examined.
    """

    source: Source | None = None
    schedule: Schedule | None = None
    validation_data: Structure = None
    validation: Validation | None = None
    runner: Runner | None = None


def prepare(arguments: FitArguments) -> Prepared:
    """Return what fit would prepare; draw no batch and call no hook."""
    if is_distributed(arguments.model) or kind_of(arguments.x) in DRAWN:
        return Prepared(validation_data=arguments.validation_data)
    arrays, validation_data = split_arrays(arguments)
    source = source_of(arguments, arrays)
    schedule = schedule_of(arguments, source)
    prepared = Prepared(source, schedule, validation_data)
    if not arguments.model.built:
        return prepared
    drawn = drawn_kind(validation_data)
    validation = None if drawn else validation_of(arguments, validation_data)
    runner = runner_of(arguments, schedule, validation)
    return prepared._replace(validation=validation, runner=runner)
