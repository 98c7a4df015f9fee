"""Compiles Python functions to TensorFlow graphs, calls them, and finds what must not be looped."""

import copy
import itertools
from collections.abc import Callable, Hashable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from loop.types import Structure

SUMS = ("Add", "AddV2", "AddN")

NUMBERS = "biufc"
"""The kinds of NumPy dtypes that become tensors of the same dtype: booleans and numbers."""

MOST_SIGNATURES = 1024
"""The most kinds of arguments that a `FlatFunction` remembers, as many as a `tf.function` does."""


def graph(function: Callable[..., Any], jit_compile: bool | None) -> Callable[..., Any]:
    """Return a `tf.function` without AutoGraph; it is traced for each new shape."""
    unconverted = tf.autograph.experimental.do_not_convert(function)
    return tf.function(unconverted, reduce_retracing=True, jit_compile=jit_compile)


def concrete(function: Any, *specs: Structure) -> Any:
    """Return the concrete function for arguments of these specs: one graph for every batch size.

    Return the function unchanged if it is no `tf.function` or if TensorFlow runs them eagerly.
    """
    is_function = isinstance(function, tf.types.experimental.PolymorphicFunction)
    if is_function and not tf.config.functions_run_eagerly():
        return function.get_concrete_function(*specs)
    return function


def is_graph(function: Any) -> bool:
    """Return whether a function is a concrete function, not Python that runs eagerly."""
    return isinstance(function, tf.types.experimental.ConcreteFunction)


def flat_call(function: Any) -> Callable[..., Any]:
    """Return a function that calls a concrete function without checking the arguments.

    On 2 cores this shortens the call of a single small step by a third. Arguments must have the
    structure, dtypes and shapes of the concrete function's signature.
    """
    places = itertools.count()
    template = tf.nest.map_structure(lambda _: next(places), function.structured_outputs)

    def call(*arguments: Structure) -> Structure:
        leaves = tf.nest.flatten(arguments, expand_composites=True)
        flat = [leaf for leaf in leaves if leaf is not None]  # None is no input of a graph
        outputs = function.inference_fn.call_flat(*flat, *function.captured_inputs)
        return _filled(template, outputs)

    return call


def _filled(template: Structure, values: list) -> Structure:
    """Return the template with each index replaced by the value at that index."""
    if isinstance(template, dict):
        return {name: _filled(part, values) for name, part in template.items()}
    if isinstance(template, tuple | list):
        return tuple(_filled(part, values) for part in template)
    return values[template]


class FlatFunction:
    """A `tf.function` of one argument that is called flat for arguments like an earlier one.

    The first call for a structure, its dtypes and shapes goes through the `tf.function`, which
    traces if it must and picks a graph. Later calls go straight to that graph: TensorFlow spends
    two thirds of a small call on looking it up. Another trace may change which graph TensorFlow
    picks, so it empties the cache.

    Attributes:
        function: The `tf.function`.
    """

    def __init__(self, function: Any):
        self.function = function
        self._picked: dict[Hashable, Any] = {}
        self._traces = 0

    def __call__(self, argument: Structure) -> Structure:
        """Return what the function returns for an argument, in the same structure."""
        leaves: list[Any] = []
        kinds: list[Hashable] = []
        is_eager = tf.config.functions_run_eagerly() or not tf.executing_eagerly()
        if is_eager or tf.distribute.has_strategy() or not _flatten(argument, leaves, kinds):
            return self.function(argument)
        picked = self._graphs().get(tuple(kinds))
        if picked is None:
            outputs = self.function(argument)
            self.pick(argument)
            return outputs
        tensors = [tf.convert_to_tensor(leaf) for leaf in leaves]
        return picked.inference_fn.call_preflattened([*tensors, *picked.captured_inputs])

    def pick(self, argument: Structure) -> Any:
        """Return the concrete function that runs for an argument, tracing it if there is none."""
        kinds: list[Hashable] = []
        is_known = _flatten(argument, [], kinds)
        if is_known and tuple(kinds) in self._graphs():
            return self._picked[tuple(kinds)]
        picked = self.function.get_concrete_function(argument)
        if is_known:
            self._graphs()[tuple(kinds)] = picked
        return picked

    def _graphs(self) -> dict[Hashable, Any]:
        """Return the graph picked for each kind of argument; {} after another trace."""
        traces = self.function.experimental_get_tracing_count()
        if traces != self._traces or len(self._picked) >= MOST_SIGNATURES:
            self._picked.clear()
            self._traces = traces
        return self._picked


def _flatten(structure: Structure, leaves: list[Any], kinds: list[Hashable]) -> bool:
    """Append the arrays and tensors of a structure, and what TensorFlow picks a graph by.

    Args:
        structure: An argument of a `tf.function`.
        leaves: Gets the arrays and tensors, in the order of the inputs of a graph.
        kinds: Gets the dtype and shape of each of them, and the containers around them.

    Returns:
        Whether all parts are known kinds: NumPy arrays of numbers, tensors, None and tuples, lists
        and dicts of them. TensorFlow treats others by further rules.
    """
    kind = type(structure)
    if structure is None:
        kinds.append(None)
        return True
    if kind is np.ndarray or isinstance(structure, tf.Tensor):
        leaves.append(structure)
        kinds.append((structure.dtype, structure.shape))
        return kind is not np.ndarray or structure.dtype.kind in NUMBERS
    if kind is dict and all(type(name) is str for name in structure):
        kinds.append((dict, *sorted(structure)))
        return all(_flatten(structure[name], leaves, kinds) for name in sorted(structure))
    if kind is tuple or kind is list:
        kinds.append((kind, len(structure)))
        return all(_flatten(part, leaves, kinds) for part in structure)
    return False


def op_types(function: Any) -> set[str]:
    """Return the types of all ops in a concrete function and in the functions that it calls."""
    return {node.op for node in _nodes(function)}


def count_ops(function: Any) -> int:
    """Return the number of ops in a concrete function and in the functions that it calls."""
    return len(list(_nodes(function)))


def _nodes(function: Any) -> Iterator[Any]:
    """Return an iterator over the ops of a concrete function and of the functions it calls."""
    graph_def = function.graph.as_graph_def()
    return itertools.chain(graph_def.node, *(f.node_def for f in graph_def.library.function))


def why_not_in_a_loop(step: Any) -> str | None:
    """Return why a step, a concrete function, cannot run in a loop in a graph; None if it can."""
    if not isinstance(step.structured_outputs, dict):
        return "the step returns no dict of logs"
    for name, log in step.structured_outputs.items():
        if not isinstance(log, tf.Tensor | tf.TensorSpec) or not log.shape.is_fully_defined():
            return f"the log {name!r} of the step is no tensor of a fixed shape"
        if log.dtype == tf.bfloat16:
            return f"the log {name!r} of the step is of bfloat16, which Keras leaves a tensor"
    return why_alone(step)


def why_alone(function: Any) -> str | None:
    """Return why a concrete function must run alone in a call, by its ops; None if it need not."""
    for op_type in op_types(function):
        if op_type.startswith("Write") and op_type.endswith("Summary"):
            return "the step writes summaries, which read the number of the step from Python"
        if op_type in ("PyFunc", "EagerPyFunc"):
            return "the step calls Python, which may read or change anything"
        if op_type.startswith("Random") or op_type in ("TruncatedNormal", "Multinomial"):
            return (
                f"the step draws with {op_type}, whose state is in the graph: another graph would "
                "draw anew (keras.random keeps its state in variables)"
            )
    return None


def why_regrouped(step: Any, in_xla: bool, in_loops: bool) -> str | None:
    """Return why a sum in a step, a concrete function, has other bits in a loop; None if none has.

    TensorFlow rewrites `total + (a + b)` to `(total + a) + b`, in loops as well. In
    `total + 1 * (a + b)` it removes the factor first, but not in a loop: the last bit of the sum
    may then differ between a step alone and a step in a loop. The factor is the batch size in the
    log `loss` if there are several losses and every batch is one sample. XLA does not regroup.

    Args:
        step: The step.
        in_xla: Whether it is compiled with XLA.
        in_loops: Whether Keras runs it in loops as well. They keep the batch size as a factor, as
            ours do, but remove a constant 1, which ours do not.
    """
    if in_xla or not is_graph(step) or why_not_in_a_loop(step):
        return None
    specs = tf.nest.flatten(step.structured_input_signature)
    one_sample = all(spec is None or (spec.shape.rank and spec.shape[0] == 1) for spec in specs)
    found = any(
        total.op.type == "ReadVariableOp"
        and total.shape == term.shape
        and _is_sum_times_one(term, one_sample, in_loops)
        for op in step.graph.get_operations()
        if op.type in SUMS and len(op.inputs) == 2
        for total, term in itertools.permutations(op.inputs)
    )
    reason = "the step adds 1 * (a + b) to a total, which TensorFlow regroups outside of loops"
    return reason if found else None


def _is_sum_times_one(tensor: tf.Tensor, one_sample: bool, in_loops: bool) -> bool:
    """Return whether a tensor is a sum multiplied by a constant 1.

    Args:
        tensor: A tensor of the graph of a step.
        one_sample: Whether every batch is one sample: any factor may then be the batch size.
        in_loops: Whether to count constants only.
    """
    has_factor = False
    while (
        tensor.op.type in ("Identity", "Sum", "Mul") and tensor.op.inputs[0].shape == tensor.shape
    ):
        if tensor.op.type == "Mul":
            if not any(map(_is_one, tensor.op.inputs)) and (in_loops or not one_sample):
                return False
            has_factor = True
        tensor = tensor.op.inputs[0]
    return has_factor and tensor.op.type in SUMS


def _is_one(tensor: tf.Tensor) -> bool:
    """Return whether a tensor of a graph is known to be 1, as a constant `sample_weight` is."""
    if tensor.op.type == "BroadcastTo":
        tensor = tensor.op.inputs[0]
    value = tf.get_static_value(tensor)
    return value is not None and bool(np.all(value == 1))


def in_a_loop(step: Any) -> Callable[[Structure], Structure]:
    """Return a step in a loop of one iteration, which groups sums as Keras's own loops do."""

    def run(batch: Structure) -> Structure:
        def turn(_: tf.Tensor, __: Structure) -> tuple[bool, Structure]:
            return True, step(batch)

        logs = tf.nest.map_structure(
            lambda log: tf.zeros(log.shape, log.dtype), step.structured_outputs
        )
        return tf.while_loop(lambda done, _: tf.logical_not(done), turn, (False, logs))[1]

    return graph(run, jit_compile=None)


def unbound(function: Any) -> Any:
    """Return a copy of a concrete function without the tensors and variables that it captured.

    The function itself still has them. Its graph, which both share, drops what it noted while it
    was traced, so that the graph keeps no variable alive.
    """
    function.graph.function_captures.clear()
    function.set_variables(())
    return bound(function, [])


def bound(function: Any, captures: list[tf.Tensor]) -> Any:
    """Return a copy of a concrete function that is called with these captured inputs."""
    copied = copy.copy(function)
    copied.set_external_captures(captures)
    return copied
