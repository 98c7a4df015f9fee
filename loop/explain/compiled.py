"""Losses, metrics and optimizer, as `model.compile` resolved them."""

from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from loop._keras import (
    every_metric,
    is_inherited,
    is_resolved,
    loss_tracker,
    output_metrics,
    resolved_losses,
)
from loop.engine.reuse import resolve
from loop.explain.document import Note, Part, Section, Table, facts
from loop.explain.numbers import plural
from loop.explain.prepared import Prepared
from loop.step import train_step
from loop.types import FitArguments, LossTerm, OutputMetrics, Structure


def resolve_for(model: keras.Model, spec: Structure) -> None:
    """Resolve losses and metrics, if no batch has done so, from the shapes of a batch.

    Args:
        model: A compiled model that is built.
        spec: A `tf.TensorSpec` for each leaf of a batch.
    """
    if is_resolved(model):
        return
    x, y, _ = keras.utils.unpack_x_y_sample_weight(spec)
    resolve(model, y, model.compute_output_spec(keras.tree.map_structure(_symbolic, x)))


def _symbolic(leaf: Any) -> Any:
    """Return what Keras passes through a model to find shapes, in place of a leaf of a batch."""
    if leaf is None:
        return None
    is_sparse = isinstance(leaf, tf.SparseTensorSpec)
    return keras.KerasTensor(leaf.shape, leaf.dtype.name, sparse=is_sparse)


def compiled_section(arguments: FitArguments, prepared: Prepared) -> Section:
    """Return the losses, the metrics and the optimizer of a model."""
    model = arguments.model
    parts: list[Part] = []
    if not model.compiled:
        parts.append(Note("The model is not compiled: the step that was passed does everything."))
        return Section("Losses, metrics, optimizer", tuple(parts))
    parts += [Note(note) for note in _own_methods(arguments)]
    if prepared.runner is not None and prepared.source is not None and computes_as_fit(arguments):
        resolve_for(model, prepared.source.spec)
    if is_resolved(model):
        metrics = output_metrics(model, None, None)
        parts += [*_losses(model, resolved_losses(model)), _metrics(model, metrics)]
    else:
        parts.append(Note("Losses and metrics are resolved at the first predictions."))
    parts.append(facts(("optimizer", describe_optimizer(model)), ("updates", _weights(model))))
    return Section("Losses, metrics, optimizer", tuple(parts))


def computes_as_fit(arguments: FitArguments) -> bool:
    """Return whether nothing but fit's own code computes losses and metrics."""
    return not list(_own_methods(arguments))


def _own_methods(arguments: FitArguments) -> Iterator[str]:
    """Yield what replaces the computation that fit makes of losses and metrics."""
    model = arguments.model
    if arguments.train_step not in (None, train_step):
        yield "The step is the function that was passed: train_step=."
    elif not is_inherited(model.train_step, keras.Model.train_step):
        yield "The model has its own train_step: what it makes of losses and metrics is its own."
    if not is_inherited(model.compute_loss, keras.Model.compute_loss):
        yield "The model has its own compute_loss: the losses below are its own to use or not."
    if not is_inherited(model.compute_metrics, keras.Model.compute_metrics):
        yield "The model has its own compute_metrics, which decides which metric sees what."


def _losses(model: keras.Model, terms: list[LossTerm]) -> Iterator[Part]:
    """Yield the table of the losses, and what the layers add."""
    rows = tuple(
        (
            name_of_output(model, term),
            name_of_loss(term.loss),
            "1" if term.weight is None else f"{term.weight:g}",
            reduction_of(term.loss),
        )
        for term in terms
    )
    heads = ("output", "loss", "loss weight", "reduction")
    if rows:
        yield Table(heads, rows, (heads[0], heads[1], heads[3]))
    else:
        yield Note("No loss is compiled: the layers add all of the objective.")
    if regularized := [v for v in model.trainable_weights if v.regularizer is not None]:
        names = ", ".join(f"{v.path} ({type(v.regularizer).__name__})" for v in regularized)
        yield Note(f"Added to the objective, for regularizers: {names}.")


def name_of_output(model: keras.Model, term: LossTerm) -> str:
    """Return the name of the output that a loss is for; "the output" if there is only one."""
    if not term.path:
        return "the output"
    names = getattr(model, "output_names", None) or []
    if len(term.path) == 1 and isinstance(term.path[0], int) and term.path[0] < len(names):
        return str(names[term.path[0]])
    return "/".join(map(str, term.path))


def name_of_loss(loss: Any) -> str:
    """Return the function that a loss object wraps, or its class."""
    function = getattr(loss, "fn", None)
    if type(loss).__name__ == "LossFunctionWrapper" and function is not None:
        return getattr(function, "__name__", type(function).__name__)
    return type(loss).__name__


def reduction_of(loss: Any) -> str:
    """Return the reduction of a loss object; "none" if it does not reduce."""
    return str(loss.reduction or "none")


def _metrics(model: keras.Model, metrics: OutputMetrics) -> Table:
    """Return a table of all metrics, in the order of the logs of evaluate."""
    plain = {id(metric) for output in metrics.plain for metric in output}
    weighted = {id(metric) for output in metrics.weighted for metric in output}
    rows = []
    for name, metric in named_metrics(model):
        if metric is loss_tracker(model):
            sees = "the objective of each batch, weighted by its samples"
        elif id(metric) in plain:
            sees = "targets and predictions, without sample weights"
        elif id(metric) in weighted:
            sees = "targets and predictions, with sample weights"
        elif metric.name.endswith("_loss"):
            sees = "the loss of that output, without its loss weight"
        else:
            sees = "what the model or a layer passes to it"
        rows.append((name, type(metric).__name__, sees))
    heads = ("log", "metric", "sees")
    return Table(heads, tuple(rows), heads)


def named_metrics(model: keras.Model) -> list[tuple[str, keras.metrics.Metric]]:
    """Return all metrics with the names of their logs, in the order of the logs of evaluate.

    A log is named after its metric, behind the name of its output, and numbered where two have one
    name. A metric whose result is a dict has several logs: it keeps its own name here.
    """
    metrics = every_metric(model)
    names = [metric.name for metric in metrics]
    if is_resolved(model) and is_inherited(
        model.get_metrics_result, keras.Model.get_metrics_result
    ):
        logs = list(model.get_metrics_result())
        names = logs if len(logs) == len(metrics) else names
    return list(zip(names, metrics, strict=True))


def describe_optimizer(model: keras.Model) -> str:
    """Return the class of the optimizer and all settings that are not off."""
    optimizer = model.optimizer
    if optimizer is None:
        return "none"
    if inner := getattr(optimizer, "inner_optimizer", None):
        return f"{_with_settings(inner)}; its loss is scaled (LossScaleOptimizer)"
    return _with_settings(optimizer)


def _with_settings(optimizer: Any) -> str:
    """Return an optimizer as a call with its settings."""
    config = optimizer.get_config()
    off = {"name"} if config.get("use_ema") else {"name", "ema_momentum"}
    settings = []
    for name, value in config.items():
        if name in off or not (value or name == "learning_rate"):
            continue
        value = value.get("class_name", "...") if isinstance(value, dict) else value
        settings.append(f"{name}={value:.6g}" if isinstance(value, float) else f"{name}={value}")
    return f"{type(optimizer).__name__}({', '.join(settings)})"


def _weights(model: keras.Model) -> str:
    """Return how many weights are trained and how many are not."""
    trained = sum(int(v.value.shape.num_elements()) for v in model.trainable_weights)
    frozen = sum(int(v.value.shape.num_elements()) for v in model.non_trainable_weights)
    found = plural(trained, "weight") + f" in {plural(len(model.trainable_weights), 'variable')}"
    return found + (f"; {frozen:,} are not trained" if frozen else "")
