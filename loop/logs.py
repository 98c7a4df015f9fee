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

        return {"loss": loop.mean(loss), "kl": loop.mean(kl, weight=tf.reduce_sum(mask))}

    Args:
        value: A scalar, or values `[batch, ...]`, of which each counts alike.
        weight: How much the value counts: a scalar, or for values `[batch, ...]` a tensor of that
            shape or `[batch]`. By default a scalar counts as many times as the batch has samples,
            as fit's own `loss` does.

    Mirrors: keras.metrics.Mean.update_state
    """
    return Mean(value, weight)


def total(value: Any) -> Total:
    """Mark a log of a step to be added up over the epoch.

        return {"loss": loop.mean(loss), "tokens": loop.total(tf.reduce_sum(mask))}

    Args:
        value: A scalar, or values `[batch, ...]`, which are added up.

    Mirrors: keras.metrics.Sum.update_state
    """
    return Total(value)


def last(value: Any) -> Last:
    """Mark a log of a step to be the value of the last batch, as a value without a mark is.

        return {"loss": loop.mean(loss), "temperature": loop.last(temperature)}

    Args:
        value: A scalar.

    Mirrors: keras.src.trainers.trainer.Trainer._get_metrics_result_or_logs
    """
    return Last(value)


class RunningLogs:
    """The running means and totals of the logs of one step, since the last reset.

        running = RunningLogs(model)
        running.update({"loss": loop.mean(loss)}, batch)  # {"loss": the mean so far}

    Attributes:
        model: The model that the step trains or tests.
        marked: The names of the logs that are marked, known as soon as the step has run or is
            traced.
        metrics: The means and totals, by the class of the mark and the name of the log.
    """

    def __init__(self, model: keras.Model):
        self.model = model
        self.marked: set[str] = set()
        self.metrics: dict[tuple[type, str], keras.metrics.Metric] = {}

    def update(self, logs: Any, batch: Batch) -> Any:
        """Return the logs of a step with running values in place of marked ones.

        Raises:
            NotImplementedError: A log is marked, and the step runs on replicas.
        """
        if not isinstance(logs, dict):
            return logs
        return {name: self._running(name, log, batch) for name, log in logs.items()}

    def _running(self, name: str, log: Any, batch: Batch) -> Any:
        if not isinstance(log, Mean | Total | Last):
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
            metric.update_state(log.value, batch_size_of(batch) if by_samples else log.weight)
        return metric.result()

    def _metric(self, mark: type, name: str) -> keras.metrics.Metric:
        if (mark, name) not in self.metrics:
            kind = keras.metrics.Mean if mark is Mean else keras.metrics.Sum
            with tf.init_scope():  # else its variables would belong to the graph that is traced
                self.metrics[mark, name] = kind(name=name)
        return self.metrics[mark, name]

    def reset(self) -> None:
        """Set all means and totals to zero: called where fit resets the metrics of the model."""
        for metric in self.metrics.values():
            metric.reset_state()

    def of_epoch(self, logs: Logs) -> Logs:
        """Return the logs of an epoch, given those of its last step: see `metrics.epoch_logs`.

        Metrics of the model do not replace a marked log of the same name.
        """
        return dict(logs) if self.marked else epoch_logs(self.model, logs)
