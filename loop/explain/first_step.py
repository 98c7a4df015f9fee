"""The first step of a fit in numbers: it runs on the model, which is restored to the bit."""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from loop._keras import build_optimizer, every_metric, is_inherited, symbolic_build
from loop.engine.graphs import concrete, graph
from loop.engine.kinds import TRAIN
from loop.explain.compiled import computes_as_fit, name_of_output, named_metrics, resolve_for
from loop.explain.draw import Drawn, draw, why_not_drawn
from loop.explain.objective import Added, added_by
from loop.explain.observe import Observed, observe, resolved_terms
from loop.explain.prepared import Prepared
from loop.explain.terms import Term, term_of
from loop.explain.untouched import untouched, variables_of
from loop.explain.update import Moved, Update, largest_update, settings_of
from loop.logs import RunningLogs
from loop.metrics import reset_metrics
from loop.step import forward, train_step
from loop.types import FitArguments, Logs, Structure


class MetricState(NamedTuple):
    """A variable of a metric, by the name of its log, before and after the step."""

    metric: str
    variable: str
    before: np.ndarray
    after: np.ndarray


class FirstStep(NamedTuple):
    """The first step in numbers: NumPy arrays throughout.

    Attributes:
        drawn: The batch.
        y_pred: The predictions; None if the model cannot be called on `x` alone.
        output_names: The names of the leaves of `y_pred`.
        own: Whose step it is if it is not fit's, so that it is not taken apart; "" for fit's.
        terms: The losses on data.
        added: The losses that layers add.
        objective: The scalar that the step minimizes; None if the step is not taken apart.
        owns_loss: Whether the model computes the objective itself.
        loss_scale: By what the objective is multiplied for the gradients; None if it is not.
        moved: The trainable variables.
        update: The update of one weight; None if no variable has a gradient.
        metrics: The states of the metrics.
        logs: What the step returns.
    """

    drawn: Drawn
    y_pred: Structure
    output_names: tuple[str, ...]
    own: str
    terms: tuple[Term, ...]
    added: tuple[Added, ...]
    objective: Any
    owns_loss: bool
    loss_scale: Any
    moved: tuple[Moved, ...]
    update: Update | None
    metrics: tuple[MetricState, ...]
    logs: Logs


class Functions(NamedTuple):
    """What is run, each a graph, or Python if the model runs eagerly."""

    step: Callable[..., Any]
    observed: Callable[..., Any]
    variables: list[tf.Variable]


def first_step(arguments: FitArguments, prepared: Prepared) -> FirstStep:
    """Return the first step in numbers; restore variables and generators of random numbers.

    The step runs twice from the same state: once up to the gradients, with all values in between
    returned, and once as fit runs it.
    """
    model = arguments.model
    own = whose_step(arguments)
    functions = _functions(arguments, prepared, own)
    with untouched(functions.variables):
        drawn = draw(arguments, prepared)
        if is_inherited(model.reset_metrics, keras.Model.reset_metrics):
            reset_metrics(model)
        with untouched(functions.variables):
            observed = _as_numpy(functions.observed(drawn.batch))
        optimizer = settings_of(getattr(model, "optimizer", None))
        before = [np.array(variable) for variable in model.trainable_weights], _states(model)
        logs = RunningLogs(model).update(functions.step(drawn.batch), drawn.batch)
        logs = _as_numpy(logs)
        after = [np.array(variable) for variable in model.trainable_weights], _states(model)
    drawn = drawn._replace(batch=_as_numpy(drawn.batch))
    if own or observed is None:
        observed = Observed(observed, [], [], None, [None] * len(before[0]), None)
    moved = _moved(model, before[0], observed, after[0])
    return FirstStep(
        drawn=drawn,
        y_pred=observed.y_pred,
        output_names=tuple(_output_names(model, observed.y_pred)),
        own=own,
        terms=tuple(_terms(model, drawn, observed)) if not own else (),
        added=tuple(_added(model, before[0], observed)) if not own else (),
        objective=observed.objective,
        owns_loss=not is_inherited(model.compute_loss, keras.Model.compute_loss),
        loss_scale=observed.loss_scale,
        moved=tuple(moved),
        update=largest_update(model, moved, optimizer),
        metrics=tuple(_metric_states(model, before[1], after[1])),
        logs=dict(logs),
    )


def why_not_shown(arguments: FitArguments, prepared: Prepared) -> str | None:
    """Return why the first step cannot be shown; None if it can."""
    optimizer = getattr(arguments.model, "optimizer", None)
    lacks_variables = optimizer is not None and not optimizer.built
    if whose_step(arguments) and _runs_eagerly(arguments.model) and lacks_variables:
        return (
            "The step is not fit's and runs eagerly, and its optimizer has no variables yet: those "
            "that the step makes could not be restored. Call optimizer.build(...) first."
        )
    return why_not_drawn(arguments, prepared)


def whose_step(arguments: FitArguments) -> str:
    """Return whose step a fit runs if it is not fit's own, as words; "" for fit's."""
    if arguments.train_step not in (None, train_step):
        name = getattr(arguments.train_step, "__name__", type(arguments.train_step).__name__)
        return f"the function that was passed, {name}"
    if arguments.train_step is None and TRAIN.step_of(arguments.model) is not train_step:
        return f"the train_step of {type(arguments.model).__name__}"
    return ""


def _functions(arguments: FitArguments, prepared: Prepared, own: str) -> Functions:
    """Return the step and the function that observes it, and the variables that they may change.

    All variables exist afterwards, so that the step itself creates none.
    """
    model, spec = arguments.model, prepared.source.spec  # type: ignore[union-attr]
    step = partial(arguments.train_step or TRAIN.step_of(model), model)
    observed = partial(_prediction if own else observe, model)
    if computes_as_fit(arguments):
        resolve_for(model, spec)
    if _runs_eagerly(model):
        if not own and model.optimizer is not None and not model.optimizer.built:
            symbolic_build(model, spec)
        return Functions(step, observed, variables_of(model))
    if not own and model.optimizer is not None:
        build_optimizer(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fit shows its own
        compiled = graph(step, model.jit_compile), graph(observed, False)
        traced = [concrete(function, spec) for function in compiled]
    return Functions(*compiled, variables_of(model, traced))


def _runs_eagerly(model: keras.Model) -> bool:
    return bool(model.run_eagerly or tf.config.functions_run_eagerly())


def _prediction(model: keras.Model, batch: Structure) -> Structure:
    """Return the predictions in training; None if the model cannot be called on `x` alone."""
    x, _, _ = keras.utils.unpack_x_y_sample_weight(batch)
    try:
        return forward(model, x, training=True)
    except Exception:  # the model's own step may call it in another way; nothing is shown then
        return None


def _output_names(model: keras.Model, y_pred: Structure) -> list[str]:
    """Return a name for each leaf of the predictions: that of its output, or the path to it."""
    paths = [path for path, _ in keras.tree.flatten_with_path(y_pred)]
    names = getattr(model, "output_names", None) or []
    if isinstance(y_pred, list | tuple) and len(names) == len(paths):
        return [f"y_pred/{name}" for name in names]
    return ["/".join(["y_pred", *map(str, path)]) for path in paths]


def _as_numpy(values: Structure) -> Structure:
    """Return tensors as NumPy arrays; what has no dense array, such as a ragged tensor, stays."""

    def leaf(value: Any) -> Any:
        if value is None or isinstance(value, tf.RaggedTensor | tf.SparseTensor | tf.IndexedSlices):
            return value
        return np.array(value)[()]

    return keras.tree.map_structure(leaf, values)


def _states(model: keras.Model) -> list[np.ndarray]:
    """Return the values of all variables of all metrics."""
    return [np.array(v) for metric in every_metric(model) for v in metric.variables]


def _metric_states(
    model: keras.Model, before: list[np.ndarray], after: list[np.ndarray]
) -> list[MetricState]:
    names = [(name, v.name) for name, metric in named_metrics(model) for v in metric.variables]
    return [MetricState(*name, *values) for name, *values in zip(names, before, after, strict=True)]


def _terms(model: keras.Model, drawn: Drawn, observed: Observed) -> list[Term]:
    _, y, _ = keras.utils.unpack_x_y_sample_weight(drawn.batch)
    terms, _, _ = resolved_terms(model, y, observed.y_pred)
    return [
        term_of(name_of_output(model, term), term, values)
        for term, values in zip(terms, observed.terms, strict=True)
    ]


def _added(model: keras.Model, weights: list[np.ndarray], observed: Observed) -> list[Added]:
    by_id = {id(v): value for v, value in zip(model.trainable_weights, weights, strict=True)}
    return added_by(model, observed.added, by_id)


def _moved(
    model: keras.Model,
    before: list[np.ndarray],
    observed: Observed,
    after: list[np.ndarray],
) -> list[Moved]:
    """Return the trainable variables with their gradients, the scale of the loss divided out."""
    scale, moved = observed.loss_scale, []
    for variable, *values in zip(
        model.trainable_weights, before, observed.gradients, after, strict=True
    ):
        was, gradient, becomes = values
        if gradient is not None and scale is not None:
            gradient = gradient / np.asarray(scale, gradient.dtype)
        moved.append(Moved(variable.path, was, gradient, becomes))
    return moved
