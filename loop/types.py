"""The words of the loop: every type is named once, here, and this module imports nothing of ours.

Shapes are written `[batch, ...]`: the first axis counts samples.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import keras

Structure = Any
"""One array or tensor, or tuples, lists and dicts of them, nested as the user likes."""

Batch = Any
"""What one step sees: `x`, `(x,)`, `(x, y)` or `(x, y, sample_weight)`, leaves `[batch, ...]`."""

Logs = dict[str, Any]
"""Names to scalars: float32 tensors inside the loop, floats once a callback looks."""

StepFunction = Callable[[keras.Model, Batch], Logs]
"""The mathematics of one batch. `keras.Model.train_step`, unbound, is one too."""

Call = Callable[[Iterator[Batch]], Logs]
"""Takes the batches it runs from the pass over the data, and returns the logs after the last."""

PLANS = ("auto", "step")
"""How steps become compiled calls. `step`: one call a batch. `auto`: the same, so far."""


class Source(Protocol):
    """Where batches come from: arrays in memory, or a dataset."""

    @property
    def num_batches(self) -> int | None:
        """Batches in one pass over the data; None when only the pass itself can tell."""
        ...

    @property
    def spec(self) -> Structure:
        """A `tf.TensorSpec` for each leaf of a batch, its batch dimension as static as Keras's."""
        ...

    def new_pass(self) -> Iterator[Batch]:
        """Starts one pass over the data."""
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
