"""A step of a model, compiled for batches of one spec, and the properties of its graph."""

from collections.abc import Callable
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

import keras
import tensorflow as tf

from loop._keras import every_metric, is_inherited
from loop.advice.notices import Frozen
from loop.engine.climb import SingleSteps
from loop.engine.graphs import (
    concrete,
    flat_call,
    graph,
    is_graph,
    op_types,
    why_not_in_a_loop,
    why_regrouped,
)
from loop.logs import RunningLogs
from loop.types import Batch, Logs, Structure


class CompiledStep:
    """A step of a model compiled for batches of one spec, and the properties of its graph.

    Attributes:
        model: The model.
        spec: A `tf.TensorSpec` for each leaf of a batch.
        on_batch: Runs the step on a batch: a concrete function, or Python if it runs eagerly.
        on_pass: See `StepFunctions`.
        running: The running values of the logs that the step marks by `loop.mean`, `loop.total`.
        frozen: The values of Python that the graph keeps.
        programs: The cache of programs that run this step, by `loop.engine.program.ProgramKey`.
        measured: The measurements of plan "fastest" for this step, or None.
        single_steps: The measurements of plan "auto".
    """

    def __init__(
        self,
        model: keras.Model,
        spec: Structure,
        on_batch: Any,
        on_pass: Callable[..., Logs],
        running: RunningLogs,
        frozen: Frozen,
    ):
        self.model = model
        self.spec = spec
        self.on_batch = on_batch
        self.on_pass = on_pass
        self.running = running
        self.frozen = frozen
        self.programs: dict[Any, Any] = {}
        self.measured: Any = None
        self.single_steps = _single_steps_of(on_batch)

    @cached_property
    def alone(self) -> Callable[[Batch], Logs]:
        """The step as a call of its own on a batch."""
        return flat_call(self.on_batch) if is_graph(self.on_batch) else self.on_batch

    @cached_property
    def in_xla(self) -> Any:
        """The concrete function of the step compiled with XLA."""
        if self.model.jit_compile:
            return self.on_batch
        jitted = graph(lambda batch: self.on_batch(batch), jit_compile=True)
        return concrete(jitted, self.spec)

    @property
    def variables(self) -> list[tf.Variable]:
        """The variables that the step reads or updates; perhaps more, of the model's own.

        A graph that several models share knows no variables: it has none but the model's own.
        """
        if self.on_batch.variables:
            return list(self.on_batch.variables)
        model = self.model
        metrics = [variable for metric in model.metrics for variable in metric.variables]
        owned = [
            *model.variables,
            *(model.optimizer.variables if model.optimizer else ()),
            *metrics,
        ]
        return list({id(variable): variable.value for variable in owned}.values())

    @cached_property
    def op_types(self) -> set[str]:
        """The types of all ops in the graph of the step."""
        return op_types(self.on_batch)

    @cached_property
    def why_not_in_a_loop(self) -> str | None:
        """Why the step cannot run in a loop inside a graph; None if it can."""
        return why_not_in_a_loop(self.on_batch)

    @cached_property
    def why_regrouped(self) -> str | None:
        """Why a sum in the step would have other bits in a loop; None if none would."""
        in_loops = self.model.steps_per_execution > 1
        return why_regrouped(self.on_batch, self.model.jit_compile, in_loops)

    @cached_property
    def why_metrics_stay_outside(self) -> str | None:
        """Why metrics cannot be reset and read inside a graph; None if they can.

        Keras resets and reads them outside, so the results must have the same bits in both places.
        """
        model = self.model
        if not (
            is_inherited(model.reset_metrics, keras.Model.reset_metrics)
            and is_inherited(model.get_metrics_result, keras.Model.get_metrics_result)
        ):
            return "the model overrides reset_metrics or get_metrics_result"
        for metric in every_metric(model):
            # total / count has the same bits in a graph and eagerly; other results may not.
            if not (
                is_inherited(metric.result, keras.metrics.Mean.result)
                and is_inherited(metric.reset_state, keras.metrics.Mean.reset_state)
            ):
                return f"the metric {metric.name!r} is not a mean"
        if self.running.marked:  # then results of metrics are not asked for: see `of_epoch`
            return None
        for name, result in model.get_metrics_result().items():
            log = self.on_batch.structured_outputs.get(name, result)
            if (log.dtype, log.shape) != (result.dtype, result.shape):
                return f"the log {name!r} of the step differs in dtype or shape from its metric"
        return None


_single_steps: WeakKeyDictionary[Any, SingleSteps] = WeakKeyDictionary()


def _single_steps_of(step: Any) -> SingleSteps:
    """Return the measurements of a step, those of equal models included.

    Models that share a graph pay once for its first call and for larger programs.
    """
    if not is_graph(step):
        return SingleSteps()
    return _single_steps.setdefault(step.graph, SingleSteps())
