"""The types of the loop, each named once. Imports nothing of ours.

Shapes are written `[batch, ...]`: the first axis counts samples.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import keras
import tensorflow as tf

Structure = Any
"""One array or tensor, or tuples, lists and dicts of them, nested as the user likes."""

Arrays = tuple[Structure, Structure, Structure]
"""`(x, y, sample_weight)`, leaves `[samples, ...]`; None where there is nothing."""

Batch = Any
"""What a step takes: `x`, `(x,)`, `(x, y)` or `(x, y, sample_weight)`, leaves `[batch, ...]`."""

Logs = dict[str, Any]
"""Names to scalars: float32 tensors inside the loop, floats in the hooks of callbacks."""

StepFunction = Callable[[keras.Model, Batch], Logs]
"""The mathematics of one batch. `keras.Model.train_step`, unbound, is one too."""

PLANS = ("auto", "step", "fused", "xla", "fastest")
"""How steps become compiled calls.

step      one call a batch, as Keras does it
fused     as many steps in one call as no callback looks at: the same bits
xla       fused, and compiled with XLA: the bits of `jit_compile=True`, or close to them
auto      fused where the step allows it, else step: always the same bits
fastest   the compilation that takes least in a few steps on this model
"""


class Pass(Protocol):
    """One pass over the data. It has no position: the schedule says which batch comes next."""

    inputs: Structure
    """Tensors, or an iterator, from which a graph draws: `source.draw(inputs, place)`."""

    def batch(self, place: int) -> Batch:
        """Return batch number `place`; a dataset returns its next one.

        Raises:
            StopIteration: The pass has no more batches.
        """
        ...


class Source(Protocol):
    """Where batches come from: arrays in memory, a dataset, or Python."""

    @property
    def num_batches(self) -> int | None:
        """Batches in one pass over the data; None when only the pass itself can tell."""
        ...

    @property
    def is_endless(self) -> bool:
        """Whether a pass never runs dry."""
        ...

    def begin_epoch(self) -> None:
        """Called before the first batch of an epoch."""
        ...

    def end_epoch(self) -> None:
        """Called after the last batch of an epoch, and once before the first epoch of all."""
        ...

    @property
    def spec(self) -> Structure:
        """A `tf.TensorSpec` for each leaf of a batch, its batch dimension as static as Keras's."""
        ...

    def new_pass(self) -> Pass:
        """Starts one pass over the data."""
        ...

    def signature(self, static: bool = False) -> Structure:
        """Specs of `Pass.inputs`; with `static` they name the number of samples."""
        ...

    def draw(self, inputs: Structure, place: tf.Tensor) -> Batch:
        """Inside a graph: batch number `place` of a pass, leaves `[batch, ...]`."""
        ...


MAX_SECONDS = 1.0
"""Seconds after which a call returns though no callback wants control, so that Ctrl-C works."""


class Horizon(NamedTuple):
    """How far the next call may run before a callback, or the user, wants control."""

    last: int | None
    """The last step that it may run, counted in its epoch; None: to the end of the epoch."""

    seconds: float
    """About how many seconds it may take."""

    record: bool = False
    """Whether a callback reads the logs of every step once the call is over."""

    every_step: bool = False
    """Whether a callback wants control after every step of the epoch."""


class Ahead(NamedTuple):
    """Whole epochs that one call may run because no callback looks into them."""

    epochs: int = 0
    """How many; 0 where a callback looks into the next one."""

    tests: int = 0
    """Steps of validation at the end of each of them."""


class Segment(NamedTuple):
    """What one call runs: some steps of an epoch, or whole epochs."""

    batches: Pass | None
    """The pass to draw batches from; None for whole epochs, which have `orders`."""

    place: int
    """The place of the first batch in the pass."""

    first: int
    """The first step, counted in its epoch."""

    steps: int
    """How many steps; in whole epochs, steps of each epoch."""

    horizon: Horizon
    """How far the call may run."""

    orders: tf.Tensor | None = None
    """The order of the samples in each of some whole epochs, `[passes, samples]` int64; the last
    row serves all epochs that are left."""

    whole: Ahead = Ahead()
    """Epochs to run whole, validation included; none where the steps are part of an epoch."""


class Result(NamedTuple):
    """What a segment gave."""

    steps: int
    """How many steps ran: fewer than asked for where the time was over."""

    logs: list[Logs]
    """The logs after the last step, or after each; [] for whole epochs."""

    epochs: list[Logs]
    """The logs of each whole epoch, validation included; [] for a part of an epoch."""


class LossTerm(NamedTuple):
    """One loss on one output, as `model.compile` resolved it."""

    path: tuple[str | int, ...]
    """Where the output stands in the predictions (and its target in the targets)."""

    loss: keras.losses.Loss
    weight: float | None
    tracker: keras.metrics.Metric | None
    """The mean behind the log `{output}_loss`; None where compile was given one loss only."""


class OutputMetrics(NamedTuple):
    """The metrics of each output, as `model.compile` resolved them: a list for each output."""

    plain: list[list[keras.metrics.Metric]]
    """From `metrics=`: they never see sample weights."""

    weighted: list[list[keras.metrics.Metric]]
    """From `weighted_metrics=`: they do."""


@dataclass(frozen=True, kw_only=True)
class FitArguments:
    """The arguments of `loop.fit`, whose docstring says what they mean."""

    model: keras.Model
    x: Structure
    y: Structure
    batch_size: int | None
    epochs: int
    verbose: str | int
    callbacks: Structure
    validation_split: float
    validation_data: Structure
    shuffle: bool | str
    class_weight: dict[int, float] | None
    sample_weight: Structure
    initial_epoch: int
    steps_per_epoch: int | None
    validation_steps: int | None
    validation_batch_size: int | None
    validation_freq: int | list[int]
    plan: str
    train_step: StepFunction | None
    test_step: StepFunction | None
    strict: bool
