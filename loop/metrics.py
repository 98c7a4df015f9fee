"""Which metric sees what, and when.

Metrics see the predictions of the training forward pass, before the update. The log `loss` is a
mean over samples: each batch counts by its size, so a short last batch counts less.
"""

import keras
import tensorflow as tf

from loop._keras import every_metric, flat_outputs, is_inherited, loss_tracker, output_metrics
from loop.types import Logs, Structure


def track_loss(model: keras.Model, loss: tf.Tensor, x: Structure) -> None:
    """Adds the objective of a batch, a scalar, to the log `loss`, weighted by the size of `x`.

    Mirrors: keras.Model.train_step
    """
    first = next(leaf for leaf in keras.tree.flatten(x) if leaf is not None)
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    loss = loss if replicas == 1 else keras.ops.multiply(loss, replicas)
    loss_tracker(model).update_state(loss, sample_weight=tf.shape(first)[0])


def update_metrics(
    model: keras.Model,
    x: Structure,
    y: Structure,
    y_pred: Structure,
    sample_weight: Structure = None,
) -> Logs:
    """Shows a batch to the metrics. A user's own `model.compute_metrics` takes its place.

    Args:
        model: A compiled model.
        x: Inputs, leaves `[batch, ...]`.
        y: Targets, leaves `[batch, ...]`.
        y_pred: Predictions before the update, leaves `[batch, ...]`.
        sample_weight: `[batch]` or `[batch, ...]`; seen by `weighted_metrics` only.

    Returns:
        The running results since the last reset: scalars by name, float32.

    Mirrors: keras.Model.compute_metrics
    """
    if not is_inherited(model.compute_metrics, keras.Model.compute_metrics):
        return model.compute_metrics(x, y, y_pred, sample_weight=sample_weight)
    plain, weighted = output_metrics(model, y, y_pred)
    if plain or weighted:
        targets, predictions = flat_outputs(model, y), flat_outputs(model, y_pred)
        weights = flat_outputs(model, sample_weight)
        if len(weights) < len(targets):  # one weight for each sample serves all outputs
            weights = [weights[0]] * len(targets)
        # Where targets are given for some outputs only, zip stops where the targets do.
        for metrics, *seen in zip(plain, targets, predictions, strict=False):
            for metric in metrics:
                metric.update_state(*seen, sample_weight=None)
        for metrics, *seen, weight in zip(weighted, targets, predictions, weights, strict=False):
            for metric in metrics:
                metric.update_state(*seen, sample_weight=weight)
    return model.get_metrics_result()


def epoch_logs(model: keras.Model, logs: Logs) -> Logs:
    """The logs of an epoch: what the metrics say, unless the user's step returns logs of its own.

    Mirrors: keras.src.trainers.trainer.Trainer._get_metrics_result_or_logs
    """
    results = model.get_metrics_result()
    return dict(results if set(logs) == set(results) else logs)


def in_metric_order(model: keras.Model, logs: Logs) -> float | list[float]:
    """The values of logs as `evaluate` returns them: one scalar, or a list, loss first.

    Mirrors: keras.src.trainers.trainer.Trainer._flatten_metrics_in_order
    """
    names = [metric.name for metric in every_metric(model)]
    values = [logs[name] for name in names if name in logs]
    values += [logs[name] for name in sorted(logs) if name not in names]
    return values[0] if len(values) == 1 else values
