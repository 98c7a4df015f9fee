"""Types and protocols shared by the modules of `loop`. Imports no other module of `loop`.

Shapes are written `[batch, ...]`: the first axis is that of the samples.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import keras
import tensorflow as tf

Structure = Any
"""An array or tensor, or nested tuples, lists and dicts of them."""

Arrays = tuple[Structure, Structure, Structure]
"""`(x, y, sample_weight)`, leaves `[samples, ...]`; None for a part that is not given."""

Batch = Any
"""The data of a step: `x`, `(x,)`, `(x, y)` or `(x, y, sample_weight)`, leaves `[batch, ...]`."""

Logs = dict[str, Any]
"""Scalars by name: float32 tensors inside the loop, floats in the hooks of callbacks."""

StepFunction = Callable[[keras.Model, Batch], Logs]
"""The computation on one batch. The unbound `keras.Model.train_step` is a step function too."""

PLANS = ("auto", "step", "fused", "xla", "fastest")
"""How steps are compiled and called.

step      one call per batch, as in Keras
fused     as many steps per call as callbacks allow: Keras's bits
xla       fused and compiled with XLA: the bits of `jit_compile=True`, or close to them
auto      fused where the step allows it, else step: Keras's bits
fastest   the compilation under which the fit takes least, by a few timed steps of this model
"""


class Pass(Protocol):
    """One pass over the data. It has no position: the schedule passes the place of each batch."""

    inputs: Structure
    """Tensors, or an iterator, from which a graph draws: `source.draw(inputs, place)`."""

    def batch(self, place: int) -> Batch:
        """Return the batch at `place`, counted from 0; a dataset returns its next batch.

        Raises:
            StopIteration: The pass has no more batches.
        """
        ...


class Source(Protocol):
    """Where batches come from: arrays in memory, a dataset, or Python."""

    @property
    def num_batches(self) -> int | None:
        """Batches in one pass over the data; None if unknown before the pass ends."""
        ...

    @property
    def is_endless(self) -> bool:
        """Whether a pass never ends."""
        ...

    def begin_epoch(self) -> None:
        """Prepare an epoch. Called before its first batch."""
        ...

    def end_epoch(self) -> None:
        """End an epoch. Called after its last batch, and once before the first epoch."""
        ...

    @property
    def spec(self) -> Structure:
        """A `tf.TensorSpec` for each leaf of a batch; the batch size is static where Keras's is."""
        ...

    def new_pass(self) -> Pass:
        """Start a pass over the data."""
        ...

    def signature(self, static: bool = False) -> Structure:
        """Return the specs of `Pass.inputs`; with `static` they include the number of samples."""
        ...

    def draw(self, inputs: Structure, place: tf.Tensor) -> Batch:
        """Return the batch at `place` of a pass, leaves `[batch, ...]`. Call it inside a graph."""
        ...


MAX_SECONDS = 1.0
"""Seconds after which a call returns control even if no callback needs it, so Ctrl-C works."""


class Horizon(NamedTuple):
    """How far the next call may run before it must return control."""

    last: int | None
    """The last step that the call may run, counted in its epoch; None: the last of the epoch."""

    seconds: float
    """About how many seconds the call may take."""

    record: bool = False
    """Whether to record the logs of every step: a callback reads them after the call."""

    every_step: bool = False
    """Whether a callback needs control after every step of the epoch."""

    may_stop: bool = False
    """Whether a callback that reads the recorded logs may stop the training at any of the steps."""


class Segment(NamedTuple):
    """Steps of one epoch that one call runs."""

    batches: Pass
    """The pass to draw batches from."""

    place: int
    """The place of the first batch in the pass."""

    first: int
    """The first step, counted in its epoch."""

    steps: int
    """How many steps to run."""

    horizon: Horizon
    """How far the call may run."""


class SegmentResult(NamedTuple):
    """What a call that ran a segment returns."""

    steps: int
    """How many steps ran: at least one, fewer than requested if the time limit ended the call."""

    logs: list[Logs]
    """The logs after the last step; if the segment was recorded, after every step."""


class WholeEpochs(NamedTuple):
    """Epochs over arrays that one call runs, validation included."""

    epochs: int
    """How many; all of them validate, or none does."""

    steps: int
    """Steps per epoch, which is one pass over the arrays."""

    test_steps: int
    """Validation steps per epoch; 0 for no validation."""

    orders: tf.Tensor
    """The order of the samples in each epoch, `[epochs, samples]` int64, or one row for all."""


class LossTerm(NamedTuple):
    """A loss on one output, as `model.compile` resolved it."""

    path: tuple[str | int, ...]
    """The keys that lead to the output in the predictions, and to its target in the targets."""

    loss: keras.losses.Loss
    weight: float | None
    tracker: keras.metrics.Metric | None
    """The mean reported as the log `{output}_loss`; None if the model has a single loss."""


class OutputMetrics(NamedTuple):
    """The metrics as `model.compile` resolved them: a list of metrics for each output."""

    plain: list[list[keras.metrics.Metric]]
    """From `metrics=`: updated without sample weights."""

    weighted: list[list[keras.metrics.Metric]]
    """From `weighted_metrics=`: updated with sample weights."""


@dataclass(frozen=True, kw_only=True)
class FitArguments:
    """The arguments of `loop.fit`, described in its docstring, and their defaults."""

    model: keras.Model
    x: Structure = None
    y: Structure = None
    batch_size: int | None = None
    epochs: int = 1
    verbose: str | int = "auto"
    callbacks: Structure = None
    validation_split: float = 0.0
    validation_data: Structure = None
    shuffle: bool | str = True
    class_weight: dict[int, float] | None = None
    sample_weight: Structure = None
    initial_epoch: int = 0
    steps_per_epoch: int | None = None
    validation_steps: int | None = None
    validation_batch_size: int | None = None
    validation_freq: int | list[int] = 1
    plan: str = "auto"
    train_step: StepFunction | None = None
    test_step: StepFunction | None = None
    strict: bool = False
    drop_remainder: bool = False
    eval_every: int | None = None
