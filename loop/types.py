"""The words of the loop: every type is named once, here, and this module imports nothing of ours.

Shapes are written `[batch, ...]`: the first axis counts samples.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import keras
import tensorflow as tf

Structure = Any
"""One array or tensor, or tuples, lists and dicts of them, nested as the user likes."""

Batch = Any
"""What one step sees: `x`, `(x,)`, `(x, y)` or `(x, y, sample_weight)`, leaves `[batch, ...]`."""

Logs = dict[str, Any]
"""Names to scalars: float32 tensors inside the loop, floats once a callback looks."""

StepFunction = Callable[[keras.Model, Batch], Logs]
"""The mathematics of one batch. `keras.Model.train_step`, unbound, is one too."""

PLANS = ("auto", "step", "fused", "xla", "fastest")
"""How steps become compiled calls.

step      one call a batch: how Keras does it, and the one to read first
fused     as many steps as nobody watches in one call: the same bits
xla       fused, and compiled with XLA: the bits of `jit_compile=True`, or close to them
auto      fused where that can be, else step: never other bits
fastest   what a few steps on this model measure to be the fastest of all
"""


class Pass(Protocol):
    """One pass over the data: an iterator of batches, or what a compiled call draws them from."""

    inputs: Structure
    """Tensors, or an iterator, from which a graph draws: `source.draw(inputs, place)`."""

    place: int
    """The batch that comes next. A call that draws batches itself moves it on."""

    def __iter__(self) -> Iterator[Batch]: ...

    def __next__(self) -> Batch: ...


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


class Call(Protocol):
    """A compiled call that runs batches of a pass."""

    def __call__(self, batches: Pass, count: int, each: bool = False) -> list[Logs]:
        """Runs `count` batches, or what is left of the pass.

        Returns:
            The logs after the last batch; with `each`, those after every batch.
        """
        ...

    def steps_within(self, seconds: float) -> int:
        """About how many steps take so long, at least one; one where no two may share a call."""
        ...


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


class Asked(NamedTuple):
    """What the user asks fit for: the arguments of `loop.fit`, which says what they mean."""

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
