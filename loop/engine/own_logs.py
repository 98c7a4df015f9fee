"""Checks the logs of a training step, and of steps that are passed to fit, as they are traced."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from loop._keras import every_metric
from loop.advice.notices import say_once
from loop.engine.graphs import is_graph
from loop.logs import RunningLogs
from loop.types import Logs, StepFunction


def check_logs(step: Any, name: str) -> None:
    """Raise if a traced step returns no dict, in Keras's class, before a weight moves.

    Args:
        step: The step as a concrete function; nothing is known of others.
        name: "training step" or "test step".

    Raises:
        ValueError: It returns None.
        AttributeError: It returns a tensor, a tuple or a list.
    """
    logs = step.structured_outputs if is_graph(step) else {}
    if logs is None or isinstance(logs, tf.Tensor | tf.TensorSpec | list | tuple):
        kind = "None" if logs is None else f"a {type(logs).__name__}"
        error = ValueError if logs is None else AttributeError
        raise error(
            f"Expected the {name} to return a dict of logs, got {kind}. End it with "
            "`return update_metrics(model, x, y, y_pred, sample_weight)`, or return a dict like "
            '{"loss": loss}.'
        )


def check_overwritten(step: Any, running: RunningLogs) -> None:
    """Raise if a metric that the step leaves as it is would stand in History for a log of the step.

    Keras prefers the results of metrics to logs of the same names.

    Raises:
        ValueError: The message names the log.
    """
    if running.marked or not is_graph(step):
        return
    results = running.model.get_metrics_result()
    if set(results) != set(step.structured_outputs):
        return
    used = {id(tensor) for tensor in step.captured_inputs}
    metrics = {metric.name: metric for metric in running.model.metrics}
    for name in plain_logs(step, running):
        variables = metrics[name].variables if name in metrics else []
        if variables and used.isdisjoint(id(variable.value.handle) for variable in variables):
            raise ValueError(
                f"The log {name!r} of the step would not be seen: the compiled metric {name!r}, "
                "which the step does not update, stands in History for it, as under Keras. Return "
                "loop.mean(...) for it, or update the metric and return its result."
            )


def say_of_idle_metrics(step: Any, model: keras.Model, own: StepFunction) -> None:
    """Say once which metrics a test step reports without updating them: a result of no data.

    Args:
        step: The test step as a concrete function; nothing is known of others.
        model: The model.
        own: The step function, which was passed or belongs to the model.
    """
    logs = step.structured_outputs if is_graph(step) else None
    if not isinstance(logs, dict):
        return
    captured = step.captured_inputs
    inside = step.graph.inputs[len(step.graph.inputs) - len(captured) :]
    users = {id(outer): inner.consumers() for outer, inner in zip(captured, inside, strict=True)}
    for metric in every_metric(model):
        handles = [id(variable.value.handle) for variable in metric.variables]
        used_by = {op.type for handle in handles for op in users.get(handle, ())}
        if metric.name in logs and used_by == {"ReadVariableOp"}:
            say_once(
                own,
                f"idle metric {metric.name}",
                f"The test step returns the result of the metric {metric.name!r} without updating "
                f"it: val_{metric.name} is a result of no data, mostly 0.0. Call its update_state "
                "in the test step, or leave it out of what the step returns.",
            )


def check_plain_logs(names: list[str], given: StepFunction, strict: bool, more: str = "") -> None:
    """Say once for a step which logs are values of the last batch; ValueError under `strict`."""
    if not names:
        return
    name = getattr(given, "__name__", type(given).__name__)
    message = (
        f"History and callbacks get the value of the last batch only for what the step {name} "
        f"returns as {', '.join(map(repr, names))}. Return {{{names[0]!r}: loop.mean(value)}} for "
        f"the mean over the epoch, or loop.last(value) if the last batch is meant.{more}"
    )
    if strict:
        raise ValueError(message)
    say_once(given, "plain logs", message)


def say_of_eager_logs(logs: Logs, running: RunningLogs, given: StepFunction) -> None:
    """Say the same of a step that ran eagerly: of logs that equal no metric and no variable."""
    model, results = running.model, running.model.get_metrics_result()
    optimizer = getattr(model, "optimizer", None)
    known = [None, *results.values(), *model.variables, *getattr(optimizer, "variables", ())]
    plain = {name: log for name, log in logs.items() if name not in {*running.marked, *results}}
    names = [name for name in plain if not any(np.array_equal(plain[name], v) for v in known)]
    check_plain_logs(names, given, False, " What is computed from metrics alone may stay as it is.")


def plain_logs(step: Any, running: RunningLogs) -> list[str]:
    """Return the names of logs without a mark whose values are those of the last batch only.

    A value that comes from the batch, from random numbers or from the weights themselves is one of
    the batch; the result of a metric comes from the variables of the metric alone.
    """
    if not is_graph(step):
        return []
    logs = step.graph.structured_outputs
    weights = {id(weight.value.handle) for weight in running.model.trainable_variables}
    captures = {id(inside): id(outside) for outside, inside in step.graph.captures}
    return [
        name
        for name, log in (logs.items() if isinstance(logs, dict) else ())
        if name not in running.marked and _is_of_the_batch(log, captures, weights)
    ]


def _is_of_the_batch(log: Any, captures: dict[int, int], weights: set[int]) -> bool:
    """Return whether a log is computed from arguments, random numbers or weights of a graph."""
    queue, met = [log] if tf.is_tensor(log) else [], set()
    while queue:
        tensor = queue.pop()
        if id(tensor) in met:
            continue
        met.add(id(tensor))
        is_argument = tensor.op.type == "Placeholder" and id(tensor) not in captures
        is_argument &= tensor.dtype != tf.resource  # a variable, in a graph that models share
        if is_argument or captures.get(id(tensor)) in weights or "Random" in tensor.op.type:
            return True
        queue.extend(tensor.op.inputs)
    return False
