"""One step of a model, compiled for batches of one spec, and the cache that holds it.

Everything compiled is stored on the function object that Keras makes for the same purpose
(`model.train_function`), so it lives exactly as long: `compile` and
`make_train_function(force=True)` drop it, and a second fit on the same shapes traces nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from loop import step as steps
from loop._keras import every_metric, is_distributed, is_inherited
from loop.checks import check_inherited
from loop.data import without_optionals
from loop.distribute import on_replicas
from loop.engine.graphs import (
    concrete,
    graph,
    in_a_loop,
    op_types,
    why_not_in_a_loop,
    why_regrouped,
)
from loop.types import Batch, Logs, StepFunction, Structure


class StepKind(NamedTuple):
    """The names that Keras has for one kind of step, and the step functions that stand for it."""

    function: str
    """The attribute of a model with Keras's compiled function."""

    make: str
    """The method that makes it."""

    step: str
    """The method with the mathematics of one batch."""

    ours: StepFunction
    """The step of a model that inherits Keras's."""

    overridden: StepFunction
    """The step of a model whose class overrides Keras's."""

    def keras_function(self, model: keras.Model) -> Any:
        """Return Keras's function for this kind of step; make it where there is none."""
        getattr(model, self.make)()
        return getattr(model, self.function)

    def step_of(self, model: keras.Model) -> StepFunction:
        """Return the step of a model: ours in the place of Keras's, or the model's own."""
        inherited = is_inherited(getattr(model, self.step), getattr(keras.Model, self.step))
        return self.ours if inherited else self.overridden

    def check(self, model: keras.Model) -> None:
        """Raise NotImplementedError if the model makes its compiled function itself."""
        check_inherited(getattr(model, self.make), getattr(keras.Model, self.make))


TRAIN = StepKind(
    "train_function",
    "make_train_function",
    "train_step",
    steps.train_step,
    steps.overridden_train_step,
)
TEST = StepKind(
    "test_function", "make_test_function", "test_step", steps.test_step, steps.overridden_test_step
)
PREDICT = StepKind(
    "predict_function",
    "make_predict_function",
    "predict_step",
    steps.predict_step,
    steps.overridden_predict_step,
)


class StepFunctions(NamedTuple):
    """A step as functions that trace by the shapes that come."""

    on_batch: Callable[[Batch], Logs]
    """Takes a batch; a `tf.function`, or Python where the model runs eagerly."""

    on_pass: Callable[[tf.data.Iterator], Logs]
    """Draws its batch inside the graph. Matches Keras: where the pass is exhausted it fails in
    mid-step, and may leave `optimizer.iterations` incremented."""


class CompiledStep:
    """One step of a model, compiled for batches of one spec, and what is known about its graph.

    Attributes:
        model: The model.
        spec: A `tf.TensorSpec` for each leaf of a batch.
        on_batch: Takes a batch: one concrete function, or Python that runs eagerly.
        on_pass: See `StepFunctions`.
        programs: The calls of many steps that were compiled from this step, by their key.
        measured: What plan "fastest" measured for this step, or None.
    """

    def __init__(self, model: keras.Model, functions: StepFunctions, spec: Structure):
        self.model = model
        self.spec = spec
        self.on_pass = functions.on_pass
        # Under a strategy each replica has a part of a batch, and some have none: no one graph.
        step = functions.on_batch if is_distributed(model) else concrete(functions.on_batch, spec)
        if model.steps_per_execution > 1 and why_regrouped(step, model.jit_compile):
            step = concrete(in_a_loop(step), spec)
        self.on_batch: Any = step
        self.programs: dict[Any, Any] = {}
        self.measured: Any = None

    @cached_property
    def in_xla(self) -> Any:
        """The concrete function of the step compiled with XLA."""
        if self.model.jit_compile:
            return self.on_batch
        jitted = graph(lambda batch: self.on_batch(batch), jit_compile=True)
        return concrete(jitted, self.spec)

    @cached_property
    def op_types(self) -> set[str]:
        """The types of all its ops."""
        return op_types(self.on_batch)

    @cached_property
    def why_not_in_a_loop(self) -> str | None:
        """Why it cannot run many times in one graph; None where it can."""
        return why_not_in_a_loop(self.on_batch)

    @cached_property
    def why_regrouped(self) -> str | None:
        """Why a sum would have other bits in a loop; None where none has."""
        return why_regrouped(self.on_batch, self.model.jit_compile)

    @cached_property
    def why_metrics_stay_outside(self) -> str | None:
        """Why metrics cannot be reset and read in a graph, where Keras does not; None if so."""
        model = self.model
        if not (
            is_inherited(model.reset_metrics, keras.Model.reset_metrics)
            and is_inherited(model.get_metrics_result, keras.Model.get_metrics_result)
        ):
            return "the model overrides reset_metrics or get_metrics_result"
        for metric in every_metric(model):
            # total / count has the same bits in a graph and out of it; other results may not.
            if not (
                is_inherited(metric.result, keras.metrics.Mean.result)
                and is_inherited(metric.reset_state, keras.metrics.Mean.reset_state)
            ):
                return f"the metric {metric.name!r} is not a mean"
        for name, result in model.get_metrics_result().items():
            log = self.on_batch.structured_outputs.get(name, result)
            if (log.dtype, log.shape) != (result.dtype, result.shape):
                return f"the log {name!r} of the step differs in dtype or shape from its metric"
        return None


class StepKey(NamedTuple):
    """What a compiled step depends on, beside the model."""

    function: StepFunction
    spec: str
    eagerly: bool


@dataclass
class Cache:
    """Everything compiled from the steps of a model; stored on Keras's function for such steps."""

    step_of_model: StepFunction | None = None
    functions: dict[StepFunction, StepFunctions] = field(default_factory=dict)
    compiled: dict[StepKey, CompiledStep] = field(default_factory=dict)
    predictions: dict[StepFunction, Callable[[list[Batch]], Structure]] = field(
        default_factory=dict
    )


def cache_on(function: Any) -> Cache:
    """Return the cache on one of Keras's functions."""
    cache: Cache = vars(function).setdefault("_glassfit_cache", Cache())
    return cache


class ModelStep:
    """The step that a fit or an evaluation runs: the model's, or one that the user gives.

    Attributes:
        model: The model.
        kind: `TRAIN` or `TEST`.
        given: The user's step in place of the model's, or None.

    Raises:
        NotImplementedError: The model makes its compiled function itself.

    Mirrors: keras.Model.make_train_function
    """

    def __init__(self, model: keras.Model, kind: StepKind, given: StepFunction | None = None):
        kind.check(model)
        self.model = model
        self.kind = kind
        self.given = given

    @property
    def keras_function(self) -> Any:
        """Keras's function for this step; a callback that compiles the model replaces it."""
        return self.kind.keras_function(self.model)

    def compiled(self, spec: Structure) -> CompiledStep:
        """Return the step compiled for batches of a spec, tracing it on first use."""
        cache = cache_on(self.keras_function)
        step = self._step(cache)
        key = StepKey(step, repr(spec), tf.config.functions_run_eagerly())
        if key not in cache.compiled:
            cache.compiled[key] = CompiledStep(self.model, self.for_any_shape(), spec)
        return cache.compiled[key]

    def for_any_shape(self) -> StepFunctions:
        """Return the step as functions that trace by the shapes that come."""
        cache = cache_on(self.keras_function)
        step = self._step(cache)
        if step not in cache.functions:
            cache.functions[step] = _functions(self.model, step)
        return cache.functions[step]

    def _step(self, cache: Cache) -> StepFunction:
        """Return the function of the step; that of the model is looked up once, as in Keras."""
        if self.given is not None:
            return self.given
        if cache.step_of_model is None:
            cache.step_of_model = self.kind.step_of(self.model)
        return cache.step_of_model


def _functions(model: keras.Model, step: StepFunction) -> StepFunctions:
    def on_batch(batch: Batch) -> Logs:
        return on_replicas(model, step, batch)

    compiled = on_batch if model.run_eagerly else graph(on_batch, model.jit_compile)

    def on_pass(batches: tf.data.Iterator) -> Logs:
        return compiled(without_optionals(batches.get_next()))

    return StepFunctions(compiled, graph(on_pass, jit_compile=None))
