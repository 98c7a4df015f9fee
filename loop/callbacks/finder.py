"""The learning rate range test: the loss while the rate grows from tiny to huge."""

import contextlib
from collections.abc import Callable, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from loop._keras import build_optimizer
from loop.callbacks.cadence import register_cadence
from loop.callbacks.watch import Watching, apart
from loop.metrics import kept
from loop.types import Logs


class LearningRateFinder(Watching):
    """Trains for some steps at rates that grow by one factor, records the losses, undoes it all.

        finder = LearningRateFinder()
        loop.fit(model, x, y, epochs=5, callbacks=[finder])  # stops after 100 steps
        finder.plot("rates.png")
        model.optimizer.learning_rate = finder.suggestion

    At the end weights, optimizer and seeds are as before. If fit has fewer steps, so has the test.
    Steps share calls, an epoch each. They take less than 0.1 ms longer with a small MLP, and the
    step is traced anew, which takes about 0.5 s (docs/research.md).

    Args:
        start: The first rate.
        end: The last rate.
        steps: How many rates, one for each step.

    Attributes:
        rates: The rates tried, `[steps]`.
        losses: The loss of the batch before the update at each rate, `[steps]`: no running mean.

    Raises:
        ValueError: The rates do not grow, or there are less than two. From fit: the rate follows a
            schedule, the model is not built, or the step does not call `optimizer.scale_loss`.
    """

    def __init__(self, start: float = 1e-6, end: float = 1.0, steps: int = 100):
        super().__init__()
        if not 0 < start < end < float("inf"):
            raise ValueError(f"Expected 0 < start < end, got start={start} and end={end}.")
        if not isinstance(steps, Integral) or steps < 2:
            raise ValueError(f"Expected `steps` to be an integer of 2 or more, got {steps}.")
        self._planned: np.ndarray = np.geomspace(start, end, steps)
        self.rates: np.ndarray = np.array([])
        self.losses: np.ndarray = np.array([])
        self._done: tf.Variable = tf.Variable(0, dtype=tf.int64)
        # The last one is for steps that run after the test.
        self._recorded: tf.Variable = tf.Variable(tf.zeros([steps + 1]))
        self._restored: contextlib.ExitStack = contextlib.ExitStack()

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Keep the state of the model, and set the rate at every update from now on."""
        optimizer = _optimizer_to_sweep(self.model)
        self.begin()
        names = getattr(self.model, "optimizer_names", ())  # of a State, all of whose parts train
        parts = [self.model, optimizer, *(getattr(self.model, name) for name in names)]
        self._restored.enter_context(kept(v for part in parts for v in part.variables))
        self._loss: tf.Tensor | None = None  # of the step that is traced
        self._done.assign(0)
        self.around(optimizer, "scale_loss", self._around_loss)
        self.around(optimizer, "apply", self._around_apply)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Stop after the last rate."""
        if not self.steps_left:
            self.model.stop_training = True

    def close(self) -> None:
        """Read the losses, and restore the model, even if the test was interrupted."""
        done = len(self._planned) - self.steps_left
        self.rates, self.losses = self._planned[:done], self._recorded.numpy()[:done]
        super().close()
        self._restored.close()

    @property
    def steps_left(self) -> int:
        """How many rates are left to try. Waits for the device."""
        return max(len(self._planned) - int(self._done.numpy()), 0)

    def _around_loss(self, scale_loss: Callable[..., Any], loss: tf.Tensor) -> tf.Tensor:
        self._loss = tf.cast(apart(loss), tf.float32)
        return scale_loss(loss)

    def _around_apply(
        self,
        apply: Callable[..., Any],
        grads: Sequence[Any],
        trainable_variables: Sequence[keras.Variable] | None = None,
    ) -> None:
        if self._loss is None:
            raise ValueError(
                "The step does not show its loss. In its tape, write "
                "`loss = model.optimizer.scale_loss(loss)`, as loop.train_step does."
            )
        row = tf.minimum(self._done, len(self._planned))
        self._recorded.scatter_nd_update([[row]], [self._loss])
        rates = tf.constant([*self._planned, self._planned[-1]], tf.float32)
        self.model.optimizer.learning_rate.assign(tf.gather(rates, row))
        self._done.assign_add(1)
        apply(grads, trainable_variables)

    @property
    def suggestion(self) -> float | None:
        """The rate at which the smoothed loss falls most steeply; None if it never falls."""
        losses = _smoothed(self.losses)
        if len(losses) < 2:
            return None
        slopes = np.gradient(losses, np.log(self.rates[: len(losses)]))[: losses.argmin() + 1]
        return float(self.rates[slopes.argmin()]) if slopes.min() < 0 else None

    def plot(self, path: str | Path) -> None:
        """Draw the losses over the rates into a file, with the suggestion.

        Raises:
            ImportError: matplotlib is not installed.
        """
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise ImportError("`plot` needs matplotlib: pip install matplotlib.") from error
        smooth, rate = _smoothed(self.losses), self.suggestion
        figure = Figure(figsize=(6, 3.5), layout="constrained")
        axes = figure.add_subplot(xscale="log", xlabel="learning rate", ylabel="loss of the batch")
        axes.plot(self.rates, self.losses, color="0.75", label="each step")
        axes.plot(self.rates[: len(smooth)], smooth, color="#1f5f8b", label="smoothed")
        if rate is not None:
            axes.axvline(rate, color="#d9822b", label=f"suggestion: {rate:.2g}")
        if len(smooth) and smooth[0] > smooth.min():  # else the rise at the end would hide the fall
            low, first = np.nanmin(self.losses), smooth[0]
            axes.set_ylim(low - 0.05 * (first - low), first + 0.6 * (first - low))
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
        figure.savefig(path, dpi=150)


def _optimizer_to_sweep(model: keras.Model) -> keras.optimizers.Optimizer:
    """Return the optimizer of a model, built; raise ValueError if that cannot be swept."""
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None or not isinstance(optimizer.learning_rate, keras.Variable):
        raise ValueError(
            "LearningRateFinder sets `model.optimizer.learning_rate`, which must be a number: "
            "compile with keras.optimizers.Adam(1e-3), say, not with a schedule."
        )
    if not model.built:
        raise ValueError(
            "LearningRateFinder restores the weights, but the model has none yet: call it once, "
            "model(x[:1]), or build it."
        )
    build_optimizer(model)
    if not optimizer.built:
        optimizer.build(model.trainable_variables)
    return optimizer


def _smoothed(losses: np.ndarray) -> np.ndarray:
    """Return moving averages of the losses before the first that is NaN or infinite."""
    finite = losses[: np.argmin([*np.isfinite(losses), False])]
    if not len(finite):
        return finite
    reach = len(losses) // 25
    padded = np.pad(finite, reach, "edge")
    return np.convolve(padded, np.full(2 * reach + 1, 1 / (2 * reach + 1)), "valid")


def _until_swept(finder: LearningRateFinder, batch: int) -> int:
    """Return the batch after which all rates were tried."""
    return batch + max(finder.steps_left, 1) - 1


register_cadence(LearningRateFinder, _until_swept)
