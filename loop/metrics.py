"""With which values each metric is updated, and how the log `loss` is averaged.

Metrics are updated with the predictions of the training forward pass, made before the weights are
updated. The log `loss` is a mean over samples: the objective of each batch is weighted by its size.
"""

import contextlib
from collections.abc import Iterable, Iterator
from functools import lru_cache

import keras
import tensorflow as tf

from loop._keras import (
    every_metric,
    flat_outputs,
    is_distributed,
    is_inherited,
    loss_tracker,
    output_metrics,
)
from loop.types import Logs, Structure


def track_loss(model: keras.Model, loss: tf.Tensor, x: Structure) -> None:
    """Add the objective of a batch, a scalar, to the log `loss`, weighted by the batch size.

        loop.track_loss(model, loop.objective(model, x, y, model(x)), x)

    Args:
        model: A compiled model.
        loss: The objective, a scalar.
        x: Inputs, leaves `[batch, ...]`.

    Raises:
        ValueError: The model is not compiled.

    Mirrors: keras.Model.train_step
    """
    if not model.compiled:
        raise ValueError(
            "The model is not compiled, so there is no log `loss` to add to: return "
            '{"loss": loop.mean(loss)} from the step, or call model.compile(...).'
        )
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    loss = loss if replicas == 1 else keras.ops.multiply(loss, replicas)
    loss_tracker(model).update_state(loss, sample_weight=batch_size_of(x))


def batch_size_of(batch: Structure) -> tf.Tensor:
    """Return the number of samples in a batch: the length of its first leaf; 1 if it has none."""
    first = next((leaf for leaf in keras.tree.flatten(batch) if leaf is not None), None)
    return tf.constant(1) if first is None else tf.shape(first)[0]


def update_metrics(
    model: keras.Model,
    x: Structure,
    y: Structure,
    y_pred: Structure,
    sample_weight: Structure = None,
) -> Logs:
    """Update the metrics with a batch, by the model's own `compute_metrics` if it has one.

        logs = loop.update_metrics(model, x, y, loop.forward(model, x, training=False))

    Args:
        model: A compiled model.
        x: Inputs, leaves `[batch, ...]`.
        y: Targets, leaves `[batch, ...]`.
        y_pred: Predictions before the weights are updated, leaves `[batch, ...]`.
        sample_weight: `[batch]` or `[batch, ...]`; used by `weighted_metrics` only.

    Returns:
        The results over the batches since the last reset: scalars by name, float32.

    Mirrors: keras.Model.compute_metrics
    """
    if not is_inherited(model.compute_metrics, keras.Model.compute_metrics):
        return model.compute_metrics(x, y, y_pred, sample_weight=sample_weight)
    plain, weighted = output_metrics(model, y, y_pred)
    if plain or weighted:
        targets, predictions = flat_outputs(model, y), flat_outputs(model, y_pred)
        weights = flat_outputs(model, sample_weight)
        if len(weights) < len(targets):  # one array of sample weights applies to all outputs
            weights = [weights[0]] * len(targets)
        # Matches Keras: with targets for the first outputs only, the rest is left out (no strict).
        for metrics, *pair in zip(plain, targets, predictions, strict=False):
            for metric in metrics:
                metric.update_state(*pair, sample_weight=None)
        for metrics, *pair, weight in zip(weighted, targets, predictions, weights, strict=False):
            for metric in metrics:
                metric.update_state(*pair, sample_weight=weight)
    return model.get_metrics_result()


def reset_metrics(model: keras.Model) -> None:
    """Reset the metrics as `model.reset_metrics` does, with a single op for each variable.

    A model that overrides `reset_metrics`, and a metric that overrides `reset_state`, reset
    themselves, and so do the metrics of replicas.

    Mirrors: keras.Model.reset_metrics
    """
    if is_distributed(model) or not is_inherited(model.reset_metrics, keras.Model.reset_metrics):
        model.reset_metrics()
        return
    for metric in every_metric(model):
        if is_inherited(metric.reset_state, keras.metrics.Mean.reset_state):
            _set_to_zero([metric.total, metric.count])
        elif is_inherited(metric.reset_state, keras.metrics.Metric.reset_state):
            _set_to_zero(metric.variables)
        else:
            metric.reset_state()


@contextlib.contextmanager
def kept_metrics(model: keras.Model, and_seeds: bool = False) -> Iterator[None]:
    """Restore the metrics of a model after the block: an evaluation within a training resets them.

        with kept_metrics(model):
            loop.evaluate(model, x_val, y_val)

    Logs by `loop.mean` are not concerned: training and evaluation have running values of their own.

    Args:
        model: The model.
        and_seeds: Whether to restore seeds as well: a recurrent layer with dropout draws from its
            seed even in an evaluation.
    """
    variables = [variable for metric in every_metric(model) for variable in metric.variables]
    if and_seeds:
        weights = {id(weight) for weight in model.weights}
        variables += [variable for variable in model.variables if id(variable) not in weights]
    with kept(variables):
        yield


@contextlib.contextmanager
def kept(variables: Iterable[tf.Variable | keras.Variable]) -> Iterator[None]:
    """Restore the values of variables after the block, to the bit."""
    values = [(variable, tf.identity(variable)) for variable in variables]
    try:
        yield
    finally:
        for variable, value in values:
            variable.assign(value)


def _set_to_zero(variables: list[keras.Variable]) -> None:
    """Set the variables of a metric to zero."""
    for variable in variables:
        zeros = _zeros(tuple(variable.shape), variable.dtype)
        if isinstance(variable.value, tf.Variable):
            tf.raw_ops.AssignVariableOp(resource=variable.value.handle, value=zeros)
        else:  # no variable of Keras
            variable.assign(zeros)


@lru_cache(maxsize=256)
def _zeros(shape: tuple[int, ...], dtype: str) -> tf.Tensor:
    return tf.zeros(shape, dtype)


def epoch_logs(model: keras.Model, logs: Logs) -> Logs:
    """Return the logs of an epoch: metric results, or the step's logs if their names differ.

    Args:
        model: The model.
        logs: The logs that the last step of the epoch returned.

    Mirrors: keras.src.trainers.trainer.Trainer._get_metrics_result_or_logs
    """
    results = model.get_metrics_result()
    return dict(results if set(logs) == set(results) else logs)


def in_metric_order(model: keras.Model, logs: Logs) -> float | list[float]:
    """Return the values of logs as `evaluate` does: a scalar, or a list with the loss first.

    Mirrors: keras.src.trainers.trainer.Trainer._flatten_metrics_in_order
    """
    names = [metric.name for metric in every_metric(model)]
    values = [logs[name] for name in names if name in logs]
    values += [logs[name] for name in sorted(logs) if name not in names]
    return values[0] if len(values) == 1 else values
