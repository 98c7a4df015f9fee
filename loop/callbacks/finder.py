"""The learning rate range test: the loss while the rate grows from tiny to huge."""

import warnings
from collections.abc import Callable, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.callbacks import Callback

from loop._keras import build_optimizer
from loop.callbacks.cadence import register_cadence
from loop.callbacks.watch import Watch, apart
from loop.types import Logs


class LearningRateFinder(Callback):
    """Trains for some steps with a rate that grows by the same factor each, and undoes it all.

        finder = LearningRateFinder()
        loop.fit(model, x, y, epochs=5, callbacks=[finder])  # stops after 100 steps
        finder.plot("rates.png")
        model.optimizer.learning_rate = finder.suggestion

    At the end weights, optimizer and seeds are as before. All steps share calls. The step is traced
    anew. Sweep without validation, and with enough epochs for all steps.

    Args:
        start: The first rate.
        end: The last rate.
        steps: The number of rates, one for each step.

    Attributes:
        rates: The rates, `[steps]`.
        losses: The loss of each step's batch, before its update, `[steps]`: no running mean.

    Raises:
        ValueError: The rates do not grow, or there are less than two; from fit: the rate follows a
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

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Keep the state of the model, and set the rate at every update from now on."""
        model, optimizer = self.model, _optimizer_to_sweep(self.model)
        variables = [*model.variables, *optimizer.variables]
        self._kept = [(variable, variable.numpy()) for variable in variables]
        self._loss: tf.Tensor | None = None  # of the step that is traced
        self._step = tf.Variable(0, dtype=tf.int64)
        rows = len(self._planned) + 1  # the last is for steps that Keras runs after the sweep
        self._recorded = tf.Variable(tf.zeros([rows]))
        self._watch = Watch(model)
        self._watch.around(optimizer, "scale_loss", self._around_loss)
        self._watch.around(optimizer, "apply", self._around_apply)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Stop after the last rate."""
        if self.steps_left < 1:
            self.model.stop_training = True

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Read the losses, and restore the model."""
        left = max(self.steps_left, 0)
        if left:
            warnings.warn(
                f"The sweep ended {left} steps early: pass more epochs to fit, or less steps.",
                stacklevel=2,
            )
        self.close()

    def close(self) -> None:
        """Restore the model, whether or not the sweep has ended."""
        done = len(self._planned) - max(self.steps_left, 0)
        self.rates, self.losses = self._planned[:done], self._recorded.numpy()[:done]
        self._watch.close()
        for variable, value in self._kept:
            variable.assign(value)

    @property
    def steps_left(self) -> int:
        """How many rates are left to try. Waits for the device."""
        return len(self._planned) - int(self._step.numpy())

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
                "The step does not show its loss: let its tape see "
                "`loss = model.optimizer.scale_loss(loss)`, or train by `loop.minimize`."
            )
        row = tf.minimum(self._step, len(self._planned))
        self._recorded.scatter_nd_update([[row]], [self._loss])
        rates = tf.constant([*self._planned, self._planned[-1]], tf.float32)
        self.model.optimizer.learning_rate.assign(rates[row])
        self._step.assign_add(1)
        apply(grads, trainable_variables)

    @property
    def suggestion(self) -> float | None:
        """The rate at which the loss, smoothed, falls most steeply; None if it never falls."""
        losses = _smoothed(self.losses)
        if len(losses) < 2:
            return None
        slopes = np.gradient(losses, np.log(self.rates[: len(losses)]))[: losses.argmin() + 1]
        return float(self.rates[slopes.argmin()]) if slopes.min() < 0 else None

    def plot(self, path: str | Path) -> None:
        """Draw losses over rates, and the suggestion, into a file such as "rates.png".

        Raises:
            ImportError: matplotlib is not installed.
        """
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise ImportError("plot needs matplotlib: pip install matplotlib") from error
        smooth, rate = _smoothed(self.losses), self.suggestion
        figure = Figure(figsize=(6, 3.5), layout="constrained")
        axes = figure.add_subplot(
            xscale="log", xlabel="learning rate", ylabel="loss of the batch before the update"
        )
        axes.plot(self.rates, self.losses, color="0.75", label="each batch")
        axes.plot(self.rates[: len(smooth)], smooth, color="#1f5f8b", label="smoothed")
        if rate is not None:
            axes.axvline(rate, color="#d9822b", label=f"suggestion: {rate:.2g}")
        if len(smooth):  # the rise at the end is far higher than all before
            low, first = smooth.min(), smooth[0]
            axes.set_ylim(low - 0.1 * (first - low), first + 0.5 * (first - low))
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
        figure.savefig(path, dpi=150)


def _optimizer_to_sweep(model: keras.Model) -> keras.optimizers.Optimizer:
    """Return the optimizer of a model, built.

    Raises:
        ValueError: There is none whose rate could be set, or nothing to restore it for.
    """
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
    reach = len(losses) // 25
    windows = np.lib.stride_tricks.sliding_window_view
    return (
        windows(np.pad(finite, reach, "edge"), 2 * reach + 1).mean(axis=1)
        if len(finite)
        else finite
    )


def _until_swept(finder: LearningRateFinder, batch: int) -> int:
    """Return the batch after which the sweep ends."""
    return batch + max(finder.steps_left, 1) - 1


register_cadence(LearningRateFinder, _until_swept)
