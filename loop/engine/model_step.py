"""The step that a fit runs: the model's or one that was passed, and the cache of what is compiled.

The cache is stored on the function object that Keras makes for the same purpose
(`model.train_function`), so it has the same lifetime: `compile` and
`make_train_function(force=True)` clear it, and a second fit on the same shapes traces nothing.
"""

import contextlib
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from loop import step as steps
from loop._keras import build_optimizer, count_variables, every_metric, is_distributed
from loop.advice.notices import Frozen, say_of_metrics, say_of_new_function
from loop.advice.reads import read_by
from loop.data import without_optionals
from loop.distribute import on_replicas
from loop.engine import own_logs
from loop.engine.compiled_step import CompiledStep
from loop.engine.given import make, reads_of, repeatable
from loop.engine.graphs import FlatFunction, concrete, graph, in_a_loop, is_graph, why_regrouped
from loop.engine.kinds import TEST, TRAIN, StepKind
from loop.engine.reuse import make_variables, shared
from loop.logs import RunningLogs
from loop.types import Batch, Logs, StepFunction, Structure


class StepFunctions(NamedTuple):
    """A step as functions that are traced for each new shape of their arguments."""

    on_batch: Callable[[Batch], Logs]
    """Runs the step on a batch: a `tf.function`, or plain Python if the model runs eagerly."""

    flat: Callable[[Batch], Logs]
    """The same, called flat: see `FlatFunction`."""

    on_pass: Callable[[tf.data.Iterator], Logs]
    """Runs the step on the next batch of an iterator, drawn inside the graph. Matches Keras: an
    exhausted iterator fails within the step and may leave `optimizer.iterations` incremented."""

    @property
    def traces(self) -> int:
        """How many times the step was traced; 0 if it runs eagerly."""
        step: Any = self.on_batch
        is_function = isinstance(step, tf.types.experimental.PolymorphicFunction)
        return step.experimental_get_tracing_count() if is_function else 0


class StepKey(NamedTuple):
    """What a compiled step depends on: its function, specs of a batch, `run_functions_eagerly`."""

    function: StepFunction
    spec: str
    eagerly: bool


@dataclass
class Cache:
    """Everything compiled from the steps of one kind of a model; stored on Keras's function.

    Attributes:
        step_of_model: The step function for the model, looked up once.
        functions: Steps that are traced for each new shape, by step function.
        compiled: Steps compiled for one spec.
        running: The running values of the logs of each step function.
        predictions: The `loop.engine.predictions.PredictFunction` of each step function.
    """

    step_of_model: StepFunction | None = None
    functions: dict[StepFunction, StepFunctions] = field(default_factory=dict)
    compiled: dict[StepKey, CompiledStep] = field(default_factory=dict)
    running: dict[StepFunction, RunningLogs] = field(default_factory=dict)
    predictions: dict[StepFunction, Any] = field(default_factory=dict)

    def use(self, step: StepFunction) -> None:
        """Note that a step is used; forget the steps that were passed and used least recently."""
        if step in self.functions:
            self.functions[step] = self.functions.pop(step)  # the last of the dict
        passed = [function for function in self.functions if function is not self.step_of_model]
        for old in passed[:-MOST_STEPS]:
            del self.functions[old]
            self.running.pop(old, None)
            self.compiled = {key: one for key, one in self.compiled.items() if key.function != old}


MOST_STEPS = 8
"""The most steps passed to fit that a model keeps compiled: closures keep what they hold alive."""


def cache_on(function: Any) -> Cache:
    """Return the cache stored on a function of Keras, creating it on first use."""
    cache: Cache = vars(function).setdefault("_glassfit_cache", Cache())
    return cache


class ModelStep:
    """The step that a fit or an evaluation runs: the model's, or a step function that was passed.

    Attributes:
        model: The model.
        kind: `TRAIN` or `TEST`.
        given: The step function passed in place of the model's step, or None.
        strict: Whether to refuse a given step whose logs are values of the last batch.

    Raises:
        NotImplementedError: The model overrides the method that makes Keras's compiled function.

    Mirrors: keras.Model.make_train_function
    """

    def __init__(
        self,
        model: keras.Model,
        kind: StepKind,
        given: StepFunction | None = None,
        strict: bool = False,
    ):
        kind.check(model)
        self.model = model
        self.kind = kind
        self.given = given
        self.strict = strict
        # Held here, too: a callback may train with so many other steps that the cache forgets this.
        self._running: RunningLogs | None = None
        self._running_of: Any = None

    @property
    def keras_function(self) -> Any:
        """Keras's compiled function for this step; `model.compile` replaces it."""
        return self.kind.keras_function(self.model)

    def compiled(self, spec: Structure) -> CompiledStep:
        """Return the step compiled for batches of a spec, tracing it on first use."""
        cache = cache_on(self.keras_function)
        step = self._step(cache)
        cache.use(step)
        key = StepKey(step, repr(spec), tf.config.functions_run_eagerly())
        if key not in cache.compiled:
            with self._warning_as_often_as_keras(cache, step):
                functions = self.for_any_shape()
                on_batch = self._shared_or_traced(step, functions, spec)
            running, frozen = self.running_logs(), self._frozen(is_graph(on_batch))
            compiled = CompiledStep(self.model, spec, on_batch, functions.on_pass, running, frozen)
            if self.kind is TRAIN or self.given is not None:
                own_logs.check_logs(
                    on_batch, "training step" if self.kind is TRAIN else "test step"
                )
            if self.kind is TEST and self.own is not None:
                own_logs.say_of_idle_metrics(on_batch, self.model, self.own)
            if self.given is not None:
                own_logs.check_overwritten(on_batch, running)
                plain = own_logs.plain_logs(on_batch, running)
                own_logs.check_plain_logs(plain, self.given, self.strict)
            cache.compiled[key] = compiled
        cache.compiled[key].frozen.say_of_changes()
        return cache.compiled[key]

    @property
    def own(self) -> Any:
        """The step function that was passed, or the model's if it overrides Keras's, or None."""
        step = self._step(cache_on(self.keras_function))
        if step is self.kind.overridden:
            step = getattr(self.model, self.kind.step)
            return getattr(step, "__func__", step)
        return None if step is self.kind.ours else step

    def _frozen(self, is_traced: bool) -> Frozen:
        """Return the values of Python that a trace of the step keeps; say what is wrong with it."""
        own = self.own
        if own is None:
            return Frozen({}, self.kind.make)
        reads = read_by(own, self.model)
        say_of_metrics(own, reads, every_metric(self.model))
        if self.given is not None and is_traced:
            say_of_new_function(self.given, cache_on(self.keras_function).functions, self.model)
        return Frozen(reads if is_traced else {}, self.kind.make)

    @contextlib.contextmanager
    def _warning_as_often_as_keras(self, cache: Cache, step: StepFunction) -> Iterator[None]:
        """Issue each warning of a trace twice if Keras, creating variables in it, traces twice."""
        if step is not steps.train_step:
            yield
            return
        variables = count_variables(self.model)
        traces = cache.functions[step].traces if step in cache.functions else 0
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
        traced_once = cache.functions[step].traces - traces == 1
        times = 2 if traced_once and count_variables(self.model) > variables else 1
        registry: dict[Any, int] = {}  # by default Python prints repeated warnings once
        for warning in times * caught:
            message: Any = warning.message
            place = warning.filename, warning.lineno
            warnings.warn_explicit(message, warning.category, *place, registry=registry)

    def _shared_or_traced(
        self, step: StepFunction, functions: StepFunctions, spec: Structure
    ) -> Any:
        """Return the step of an equal model, on this model's variables, or trace it."""
        model = self.model

        def trace() -> Any:
            return _traced(model, functions, spec)

        if step is self.kind.ours:
            return shared(model, (step, repr(spec)), trace, lambda: make_variables(model, spec))
        reads = reads_of(step, model)
        if reads is None:
            return trace()
        runs = step, repr(spec), reads
        is_repeatable = repeatable(step, model, spec, reads)

        def may_keep(function: Any) -> bool:  # marked logs have running values for each model
            return not self.running_logs().marked and is_repeatable(function)

        return shared(model, runs, trace, lambda: make(model, spec), may_keep=may_keep)

    def for_any_shape(self) -> StepFunctions:
        """Return the step as functions that are traced for each new shape of their arguments."""
        cache = cache_on(self.keras_function)
        step = self._step(cache)
        if step not in cache.functions:
            if step is steps.train_step:
                build_optimizer(self.model)
            cache.functions[step] = _functions(self.model, step, self.running_logs())
            cache.use(step)
        return cache.functions[step]

    def running_logs(self) -> RunningLogs:
        """Return the running values of the logs that the step marks by `loop.mean`, `loop.total`.

        They outlast a fit, as the graphs do that update them.
        """
        function = self.keras_function
        if self._running is None or self._running_of is not function:
            cache = cache_on(function)
            running = RunningLogs(self.model, is_given=self.given is not None)
            self._running = cache.running.setdefault(self._step(cache), running)
            self._running_of = function
        return self._running

    def reset_metrics(self) -> None:
        """Reset the metrics of the model, and the running values of the logs of the step."""
        self.model.reset_metrics()
        self.running_logs().reset()

    def epoch_logs(self, logs: Logs) -> Logs:
        """Return the logs of an epoch, given those of its last step."""
        model, running = self.model, self.running_logs()
        if self.given is not None and model.run_eagerly and not is_distributed(model):
            own_logs.say_of_eager_logs(logs, running, self.given)
        return running.of_epoch(logs)

    def _step(self, cache: Cache) -> StepFunction:
        """Return the step function; the model's is looked up once per cache, as in Keras."""
        if self.given is not None:
            return hashable(self.given)
        if cache.step_of_model is None:
            cache.step_of_model = self.kind.step_of(self.model)
        return cache.step_of_model


def hashable(step: Any) -> StepFunction:
    """Return a step, or the method that calls it, whose hash is the identity of its object."""
    try:
        hash(step)
    except TypeError:
        call: StepFunction = step.__call__
        return call
    return step


def _functions(model: keras.Model, step: StepFunction, running: RunningLogs) -> StepFunctions:
    """Return a step as functions, compiled by the model's `run_eagerly` and `jit_compile`."""

    def on_batch(batch: Batch) -> Logs:
        return running.update(on_replicas(model, step, batch), batch)

    compiled = on_batch if model.run_eagerly else graph(on_batch, model.jit_compile)

    def on_pass(batches: tf.data.Iterator) -> Logs:
        return compiled(without_optionals(batches.get_next()))

    return StepFunctions(compiled, called_flat(model, compiled), graph(on_pass, jit_compile=None))


def called_flat(model: keras.Model, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function called flat; unchanged if the model runs eagerly or on replicas."""
    return function if model.run_eagerly or is_distributed(model) else FlatFunction(function)


def _traced(model: keras.Model, functions: StepFunctions, spec: Structure) -> Any:
    """Return the concrete function of a step for batches of a spec; Python if it runs eagerly."""
    # Under a strategy replicas get parts of a batch, which may be empty: no single graph fits.
    step = functions.on_batch if is_distributed(model) else concrete(functions.on_batch, spec)
    alone, in_loops = (why_regrouped(step, model.jit_compile, where) for where in (False, True))
    if model.steps_per_execution > 1 and alone and not in_loops:
        step = concrete(in_a_loop(step), spec)
    return step
