"""Logs of one's own: how the values that a step returns are reduced over an epoch.

    return {"loss": loop.mean(loss), "grad_norm": loop.last(norm), "tokens": loop.total(count)}

A value without one of these is what it is under Keras: that of the last batch.
"""

from typing import Any, NamedTuple

import keras
import tensorflow as tf

from loop._keras import is_distributed
from loop.metrics import batch_size_of, epoch_logs
from loop.types import Batch, Logs


class Mean(NamedTuple):
    """A log that is averaged over an epoch. A tuple, so that a step may be a `tf.function`."""

    value: Any
    weight: Any


class Total(NamedTuple):
    """A log that is added up over an epoch."""

    value: Any


class Last(NamedTuple):
    """A log that is the value of the last batch."""

    value: Any


def mean(value: Any, weight: Any = None) -> Mean:
    """Mark a log of a step to be averaged over the epoch, in training, validation and `evaluate`.

        def step(model, batch):
            x, y = batch
            return {"error": loop.mean(tf.abs(model(x) - y))}
        loop.evaluate(model, x, y, test_step=step)

    Args:
        value: A scalar, or values `[batch, ...]`, of which each counts alike.
        weight: How much the value counts: a scalar, which is the weight of the whole batch, or for
            values `[batch, ...]` a tensor of that shape or `[batch]`. By default a scalar counts as
            many times as the batch has samples, as fit's own `loss` does. Where all weights of an
            epoch are 0, the mean is 0.0, as in Keras.

    Mirrors: keras.metrics.Mean.update_state
    """
    return Mean(value, weight)


def total(value: Any) -> Total:
    """Mark a log of a step to be added up over the epoch.

        def step(model, batch):
            return loop.train_step(model, batch) | {"samples": loop.total(tf.shape(batch[0])[0])}
        loop.fit(model, x, y, train_step=step)

    Args:
        value: A scalar, or values `[batch, ...]`, which are added up.

    Mirrors: keras.metrics.Sum.update_state
    """
    return Total(value)


def last(value: Any) -> Last:
    """Mark a log of a step to be the value of the last batch, as a value without a mark is.

        def step(model, batch):
            return loop.train_step(model, batch) | {"largest": loop.last(tf.reduce_max(batch[0]))}
        loop.fit(model, x, y, train_step=step)

    Args:
        value: A scalar.

    Mirrors: keras.src.trainers.trainer.Trainer._get_metrics_result_or_logs
    """
    return Last(value)


def _check_unmarked(name: str, log: Any) -> None:
    """Raise ValueError if a log has a mark inside: in a dict or list, or after arithmetic."""
    parts = log.values() if isinstance(log, dict) else log if isinstance(log, tuple | list) else ()
    if any(isinstance(part, Mean | Total | Last) for part in parts):
        raise ValueError(
            f"The log {name!r} is a {type(log).__name__} with a marked value inside: expected the "
            "mark outermost, for a single log. Return "
            f"{{{name!r}: loop.mean(value), ...}}."
        )


def _update_mean(metric: keras.metrics.Metric, *of_log: Any) -> None:
    """Update a mean; raise ValueError, with both shapes, if the weight does not fit the value."""
    try:
        metric.update_state(*of_log)
    except (ValueError, tf.errors.InvalidArgumentError) as error:
        value, weight = (tuple(tf.convert_to_tensor(part).shape) for part in of_log)
        raise ValueError(
            f"The weight of the log {metric.name!r} has the shape {weight}, its value {value}: "
            f"expected one of {[value[:rank] for rank in range(len(value) + 1)]}. Return "
            f"{{{metric.name!r}: loop.mean(values, weight)}} with a weight for each value or row."
        ) from error


def _no_arithmetic(*_: Any) -> Any:
    raise TypeError("A marked log is no number: compute first, then mark, loop.mean(2 * value).")


for _mark in (Mean, Total, Last):
    for _operation in ("add", "radd", "mul", "rmul", "sub", "rsub", "truediv", "rtruediv", "neg"):
        setattr(_mark, f"__{_operation}__", _no_arithmetic)


class RunningLogs:
    """The running means and totals of the logs of one step, since the last reset.

        running = RunningLogs(model)
        running.update({"loss": loop.mean(loss)}, batch)  # {"loss": the mean so far}

    Attributes:
        model: The model that the step trains or tests.
        marked: The names of the logs that are marked, known as soon as the step has run or is
            traced.
        metrics: The means and totals, by the class of the mark and the name of the log.
        is_given: Whether the step was passed to fit: its logs must have the same names for each
            batch. Those of a model's own step may change where it runs eagerly, as under Keras.
    """

    def __init__(self, model: keras.Model, is_given: bool = True):
        self.model = model
        self.is_given = is_given
        self.marked: set[str] = set()
        self._names: set[str] = set()  # of the logs, since the last reset
        self.metrics: dict[tuple[type, str], keras.metrics.Metric] = {}

    def update(self, logs: Any, batch: Batch) -> Any:
        """Return the logs of a step with running values in place of marked ones.

        Raises:
            NotImplementedError: A log is marked, and the step runs on replicas.
            ValueError: Other logs than before, a mark inside of a log, a weight of a wrong shape.
        """
        if not isinstance(logs, dict):
            return logs
        if self.is_given:
            self._check_names(set(logs))
        return {name: self._running(name, log, batch) for name, log in logs.items()}

    def _check_names(self, names: set[str]) -> None:
        """Raise ValueError, which names them, if logs are new or missing."""
        self._names = self._names or names
        if changing := sorted(self._names ^ names):
            raise ValueError(
                f"The step returned the logs {sorted(self._names)}, and for a later batch "
                f"{sorted(names)}: expected the same for every batch. Return {changing} always, or "
                "never."
            )

    def _running(self, name: str, log: Any, batch: Batch) -> Any:
        if not isinstance(log, Mean | Total | Last):
            _check_unmarked(name, log)
            return log
        if is_distributed(self.model):
            raise NotImplementedError(
                f"The log {name!r} is marked by loop.{type(log).__name__.lower()}, which is not "
                "supported under a tf.distribute strategy. Keep a keras.metrics.Mean as an "
                "attribute of the model, and return its result."
            )
        self.marked.add(name)
        if isinstance(log, Last):
            return log.value
        metric = self._metric(type(log), name)
        if isinstance(log, Total):
            metric.update_state(log.value)
        else:
            by_samples = log.weight is None and not tf.convert_to_tensor(log.value).shape.rank
            _update_mean(metric, log.value, batch_size_of(batch) if by_samples else log.weight)
        return metric.result()

    def _metric(self, mark: type, name: str) -> keras.metrics.Metric:
        if (mark, name) not in self.metrics:
            kind = keras.metrics.Mean if mark is Mean else keras.metrics.Sum
            with tf.init_scope():  # else its variables would belong to the graph that is traced
                self.metrics[mark, name] = kind(name=name)
        return self.metrics[mark, name]

    def reset(self) -> None:
        """Set all means and totals to zero: called where fit resets the metrics of the model."""
        self._names = set()
        for metric in self.metrics.values():
            metric.reset_state()

    def of_epoch(self, logs: Logs) -> Logs:
        """Return the logs of an epoch from those of its last step; marked logs are no metric's."""
        return dict(logs) if self.marked else epoch_logs(self.model, logs)
