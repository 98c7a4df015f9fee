"""Common mistakes in what a loop logs: its losses and metrics, not what it trains.

A replacement is passed the function that it replaces (`original`) before its other arguments.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any
from unittest import mock

import keras
import numpy as np
import tensorflow as tf

from compare.diagnosis.broken import FitCall, StepParts
from compare.diagnosis.mistakes import Original, is_flat
from compare.diagnosis.samples import resolve_split
from loop.metrics import loss_tracker
from loop.step import forward
from loop.types import OutputMetrics

objective = import_module("loop.objective")  # `loop.objective` is its function


class _OfBatches:
    """The mean that logs the loss of an output, with a mistake; made while a step is traced."""

    def __init__(self, tracker: keras.metrics.Mean, last_only: bool):
        self.tracker = tracker
        self.last_only = last_only

    def reset_state(self) -> None:
        """Forget all batches."""
        self.tracker.reset_state()

    def update_state(self, value: Any, sample_weight: Any = None) -> None:
        """Count the batch as one, whatever its size, or as the only one."""
        if self.last_only:
            self.tracker.reset_state()
        self.tracker.update_state(value)


def losses_of_outputs(last_only: bool) -> Callable[..., Any]:
    """Return a mistake: the means of the losses of outputs are those of batches, or of the last."""

    def computed(original: Original, *of: Any) -> Any:
        find = objective.loss_terms

        def terms_of(*what: Any) -> Any:
            terms, y, y_pred = find(*what)
            kept = [it.tracker and _OfBatches(it.tracker, last_only) for it in terms]
            pairs = zip(terms, kept, strict=True)
            return [it._replace(tracker=kept) for it, kept in pairs], y, y_pred

        with mock.patch.object(objective, "loss_terms", terms_of):
            return original(*of)

    return computed


def unweighted_mean(_: Original, model: keras.Model, loss: tf.Tensor, __: Any) -> None:
    """Log the mean of the losses of batches, whatever their sizes."""
    loss_tracker(model).update_state(loss)


def last_loss_only(original: Original, model: keras.Model, loss: tf.Tensor, x: Any) -> None:
    """Log the loss of the last batch."""
    loss_tracker(model).reset_state()
    original(model, loss, x)


def last_metrics_only(original: Original, model: keras.Model, *of: Any, **more: Any) -> Any:
    """Show the metrics of the last batch."""
    tracker = loss_tracker(model)
    for metric in model.metrics:
        if metric is not tracker:
            metric.reset_state()
    return original(model, *of, **more)


def loss_reset_only(call: FitCall) -> None:
    """Reset no metric but the mean of the losses."""
    call.patch(keras.Model, "reset_metrics", lambda model: loss_tracker(model).reset_state())


def mean_of_metrics(call: FitCall) -> None:
    """Log the mean of the metrics of batches, whatever their sizes."""
    call.train = call.train.with_mistake("update_metrics", last_metrics_only)
    call.add_callback(_MeansOfBatches(call))


class _MeansOfBatches(keras.callbacks.Callback):
    """Replaces the logs of metrics by the means of those of batches, where these are of a batch."""

    def __init__(self, call: FitCall):
        super().__init__()
        self.call = call
        self.seen: dict[str, list[float]] = {}

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._see(self.call.train, "", logs or {})

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        self._see(self.call.test, "val_", logs or {})

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logs = {} if logs is None else logs
        logs.update((name, float(np.mean(self.seen[name]))) for name in self.seen if name in logs)
        self.seen = {}

    def _see(self, parts: StepParts, prefix: str, logs: dict[str, Any]) -> None:
        if getattr(parts.update_metrics, "func", None) is last_metrics_only:
            for name in logs.keys() - {"loss"}:
                self.seen.setdefault(prefix + name, []).append(float(logs[name]))


def evaluated_after_the_epoch(call: FitCall) -> None:
    """Log the loss of the training data after each epoch."""
    arguments = dict(call.arguments)
    resolve_split(arguments)
    names = ("x", "y", "sample_weight", "batch_size")
    given = {name: arguments[name] for name in names if arguments.get(name) is not None}
    if not hasattr(given.get("x"), "shape"):
        return  # a dataset may be another one in each pass

    class Evaluated(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            if logs is not None:
                found = self.model.evaluate(**given, verbose=0, return_dict=True)
                logs["loss"] = found["loss"]

    call.add_callback(Evaluated())


def sum_of_losses(_: Original, model: keras.Model, loss: tf.Tensor, __: Any) -> None:
    """Log the sum of the losses of batches, divided by nothing."""
    tracker = loss_tracker(model)
    tracker.total.assign_add(tf.cast(loss, tracker.total.dtype))
    tracker.count.assign(1.0)


def loss_on_data(
    _: Original, __: keras.Model, loss: tf.Tensor, on_data: tf.Tensor | None
) -> tf.Tensor:
    """Log the loss without what layers add, which is minimized all the same."""
    return loss if on_data is None else on_data


def logged_times(factor: float) -> Callable[..., tf.Tensor]:
    """Return a mistake that logs `factor` times the loss."""

    def scaled(original: Original, *of: Any) -> tf.Tensor:
        loss = original(*of)
        return loss * tf.cast(factor, loss.dtype)

    return scaled


def metrics_of_a_second_forward(
    original: Original, model: keras.Model, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
) -> Any:
    """Update metrics with predictions made after the update of the weights."""
    return original(model, x, y, forward(model, x, training=False), sample_weight)


def metrics_of_a_training_pass(
    original: Original, model: keras.Model, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
) -> Any:
    """Update metrics with predictions of a second forward pass in training, after the update."""
    return original(model, x, y, forward(model, x, training=True), sample_weight)


def weights_in_all_metrics(original: Original, *of: Any) -> OutputMetrics:
    """Pass sample weights to plain metrics, too."""
    plain, weighted = original(*of)
    return OutputMetrics([], [a + b for a, b in zip(plain, weighted, strict=True)])


def metrics_broadcast(
    original: Original, model: keras.Model, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
) -> Any:
    """Compare each of the targets `[n]` with each of the predictions `[n, 1]` in metrics."""
    if not is_flat(y, y_pred):
        return original(model, x, y, y_pred, sample_weight)
    count = tf.shape(y)[0]
    weights = None if sample_weight is None else tf.tile(sample_weight, [count])
    return original(model, x, tf.tile(y, [count]), tf.repeat(y_pred, count, axis=0), weights)


def metrics_without_weights(
    original: Original, model: keras.Model, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
) -> Any:
    """Update weighted metrics without sample weights."""
    return original(model, x, y, y_pred, None)
