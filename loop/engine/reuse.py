"""Graphs that equal models share: the second of two equal models traces nothing.

A graph reaches the variables of its model through handles, which are passed at every call, after
the arguments. Called with the handles of another model it trains that model. It is the graph that
tracing the other model would give if all that tracing reads is the same:

    the step or the program, the specs of its arguments, settings     `Key.rough`
    the model and how it is compiled                                  `Key.model`, see `likeness`
    names, where data or logs are addressed by them                   `Key.names`
    the code of Keras and of `loop`, which somebody may have patched  `Kept.code`

A learning rate that is a number is the value of a variable, so it may differ; a schedule may not.
Where anything is in doubt, the model is traced, as if this module did not exist.
"""

import operator
import sys
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from itertools import chain
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from loop._keras import (
    build_optimizer,
    is_distributed,
    loss_terms,
    needs_determinism,
    note_call,
    output_metrics,
)
from loop.engine.graphs import bound, is_graph, unbound
from loop.engine.likeness import IncomparableError, Likeness
from loop.objective import match_targets
from loop.types import Structure

MAX_KEPT = 16
"""The most graphs that are kept; a fit with validation makes two to four."""

MAX_OPS = 20_000
"""The most ops in all graphs that are kept: about 50 MB."""

CODE = ("keras.src.", "keras.ops", "keras.tree", "keras.utils", "loop.")
"""How the names of modules begin whose code tracing runs."""

CLASSES = ("keras.src.models.sequential", "keras.src.models.functional")
"""The modules of the classes of models that share graphs: subclasses may override anything."""

TENSORFLOW = (tf, tf.nn, tf.math, tf.linalg, tf.random, tf.image, tf.Tensor, tf.Variable)
"""The modules and classes of TensorFlow by which Keras calls its operations."""

STATE = ("keras.src.backend.common.global_state", "loop.engine.reuse")
"""Modules whose global values change all the time; nobody patches them."""


class Key(NamedTuple):
    """All that a graph depends on, apart from the code."""

    rough: tuple[Any, ...]
    """What it runs, the settings, the class and the shapes of the model: quick to compare."""

    names: tuple[str, ...]
    """The names of inputs and outputs, where data or logs are addressed by them."""

    model: tuple[Any, ...]
    """The model: `Likeness.parts`."""


class Kept(NamedTuple):
    """A graph without the variables of the model that it was traced for."""

    function: Any
    """The concrete function, without captured inputs."""

    places: tuple[int, ...]
    """For each captured input, the place of its variable in `Likeness.variables`."""

    code: tuple[Any, ...]
    """The code that was traced: see `current_code`."""


_kept: OrderedDict[Key, Kept] = OrderedDict()


def shared(
    model: keras.Model,
    runs: tuple[Any, ...],
    trace: Callable[[], Any],
    make_variables: Callable[[], None] | None = None,
    steps: tuple[Any, ...] = (),
    may_keep: Callable[[Any], bool] = is_graph,
) -> Any:
    """Return the concrete function of an equal model, on this model's variables, or trace it.

    What is traced is kept for equal models to come.

    Args:
        model: The model.
        runs: What the function runs, and all that it depends on apart from the model.
        trace: Returns the concrete function, traced; or a Python function if it runs eagerly.
        make_variables: Makes the variables that tracing would make; None if there are none.
        steps: The concrete functions that the function calls.
        may_keep: Returns whether what was traced may be kept.
    """
    graphs = tuple(step.graph for step in steps)
    if not may_share(model) or not all(map(_is_kept, graphs)):
        return trace()
    rough: tuple[Any, ...] = (*runs, *graphs), settings(), type(model.optimizer), shapes(model)
    if any(key.rough == rough for key in tuple(_kept)):
        if make_variables is not None and _likeness(model) is not None:
            make_variables()
        function = _found(rough, model)
        if function is not None:
            return function
    function, has_warned = _traced(trace)
    if is_graph(function) and not has_warned and may_keep(function):
        _keep(rough, model, function)
    return function


def forget() -> None:
    """Forget all graphs, so that the next model is traced whatever was trained before."""
    _kept.clear()


def make_variables(model: keras.Model, batch: Structure) -> None:
    """Make what tracing a step makes on a model whose optimizer is built, without tracing it.

    Args:
        model: A model that is built.
        batch: A `tf.TensorSpec` for each leaf of a batch.
    """
    _, y, _ = keras.utils.unpack_x_y_sample_weight(batch)
    outputs = model.outputs[0] if isinstance(model, keras.Sequential) else model.output
    y_pred = keras.tree.map_structure(lambda o: tf.TensorSpec(o.shape, o.dtype), outputs)
    resolve(model, y, y_pred)
    note_call(model)


def make_optimizer(model: keras.Model) -> None:
    """Make the variables of the optimizer, as tracing a training step of Keras's makes them."""
    build_optimizer(model)


def resolve(model: keras.Model, y: Structure, y_pred: Structure) -> None:
    """Make the losses and metrics of `compile`, as Keras does at the first predictions.

    Args:
        model: A compiled model.
        y: Targets; something with a shape and a dtype for each leaf suffices.
        y_pred: Predictions, likewise.
    """
    if model.loss is not None and (keras.tree.is_nested(y) or keras.tree.is_nested(y_pred)):
        y = match_targets(y, y_pred, model)
    loss_terms(model, y, y_pred)
    output_metrics(model, y, y_pred)


def may_share(model: keras.Model) -> bool:
    """Return whether a model is of a class of Keras, built, and runs in graphs on one device."""
    return (
        type(model).__module__ in CLASSES
        and model.built
        and not model.run_eagerly
        and not is_distributed(model)
        and not tf.distribute.has_strategy()
        and tf.executing_eagerly()
    )


def settings() -> tuple[Any, ...]:
    """Return the settings that tracing reads or that TensorFlow builds into graphs."""
    return (
        keras.config.floatx(),
        keras.config.epsilon(),
        keras.config.image_data_format(),
        keras.config.is_flash_attention_enabled(),
        keras.config.dtype_policy().name,
        needs_determinism(),
        tf.config.experimental.tensor_float_32_execution_enabled(),
        tf.config.functions_run_eagerly(),
        tf.config.get_soft_device_placement(),
        tf.config.optimizer.get_jit(),
        repr(tf.config.optimizer.get_experimental_options()),
        tf.zeros([]).device,  # of the surrounding `tf.device`
    )


def shapes(model: keras.Model) -> tuple[Any, ...]:
    """Return the shapes of the weights of a model."""
    return tuple(tuple(weight.shape) for weight in model.weights)


def _likeness(model: keras.Model) -> Likeness | None:
    """Return all that tracing reads of a model; None if it cannot be compared."""
    try:
        return Likeness(model)
    except IncomparableError:
        return None


def _found(rough: tuple[Any, ...], model: keras.Model) -> Any:
    """Return a kept function on the variables of this model; None if no equal model has any."""
    likeness = _likeness(model)
    if likeness is None:
        return None
    key = _key(rough, model, likeness)
    kept = _kept.pop(key, None)
    if kept is None or not _is_same(kept.code, current_code()):
        return None
    _kept[key] = kept  # the last one used is the last to go
    handles = [variable.value.handle for variable in likeness.variables]
    return bound(kept.function, [handles[place] for place in kept.places])


def _keep(rough: tuple[Any, ...], model: keras.Model, function: Any) -> None:
    """Keep a function for equal models, if the model can be compared and owns all it captured."""
    likeness = _likeness(model)
    if likeness is None:
        return
    places = {id(v.value.handle): place for place, v in enumerate(likeness.variables)}
    captured = [id(tensor) for tensor in function.captured_inputs]
    if not places.keys() >= set(captured):
        return  # a constant, or a variable that is not the model's
    order = tuple(places[tensor] for tensor in captured)
    _kept[_key(rough, model, likeness)] = Kept(unbound(function), order, current_code())
    while len(_kept) > MAX_KEPT or sum(_ops(kept) for kept in tuple(_kept.values())) > MAX_OPS:
        _kept.popitem(last=False)


def _is_kept(graph: Any) -> bool:
    return any(kept.function.graph is graph for kept in tuple(_kept.values()))


def _ops(kept: Kept) -> int:
    return len(kept.function.graph.get_operations())


def _key(rough: tuple[Any, ...], model: keras.Model, likeness: Likeness) -> Key:
    """Return the key of a model. Keras numbers names on, so they are left out where nobody asks."""
    layers = (layer.name for layer in model.layers)
    names = *(i.name for i in model.inputs), *layers, *getattr(model, "output_names", ())
    is_asked = (
        len(model.outputs) > 1 or "{" in repr(rough[0]) or not likeness.texts.isdisjoint(names)
    )
    return Key(rough, names if is_asked else (), tuple(likeness.parts))


def _traced(trace: Callable[[], Any]) -> tuple[Any, bool]:
    """Return what `trace` returns, and whether it warned: then it has to warn for every model."""
    warn, warned = warnings.warn, []

    def noted(
        message: Any, category: Any = None, stacklevel: int = 1, *rest: Any, **more: Any
    ) -> None:
        warned.append(message)
        warn(message, category, stacklevel + 1, *rest, **more)

    warnings.warn = noted
    try:
        return trace(), bool(warned)
    finally:
        warnings.warn = warn


def _is_same(code: tuple[Any, ...], now: tuple[Any, ...]) -> bool:
    """Return whether two tuples hold the very same objects."""
    return len(code) == len(now) and all(map(operator.is_, code, now))


def current_code() -> tuple[Any, ...]:
    """Return every function, class, method and global value that tracing may look up by its name.

    Whoever patches Keras, TensorFlow or a rule of fit changes what tracing gives.
    """
    return tuple(chain.from_iterable(space.values() for space in _namespaces(len(sys.modules))))


@lru_cache(maxsize=1)
def _namespaces(_: int) -> tuple[Mapping[str, Any], ...]:
    """Return the namespaces of modules and their classes; looked up anew after an import."""
    ours = chain.from_iterable(_namespaces_of(name) for name in tuple(sys.modules))
    return *ours, *map(vars, TENSORFLOW)


def _namespaces_of(name: str) -> Iterator[Mapping[str, Any]]:
    """Yield the namespaces of a module of Keras or `loop` and of the classes that it defines."""
    if name.startswith(CODE) and not name.startswith(STATE):
        namespace = vars(sys.modules[name])
        yield namespace
        for value in tuple(namespace.values()):
            if isinstance(value, type) and value.__module__ == name:
                yield vars(value)
