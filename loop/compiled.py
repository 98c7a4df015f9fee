"""How Python becomes a graph, where the graph is kept, and how it is called."""

import itertools
from collections.abc import Callable
from typing import Any, TypeVar

import tensorflow as tf

from loop.types import Structure

T = TypeVar("T")

SUMS = ("Add", "AddV2", "AddN")


def kept(owner: Any, key: Any, make: Callable[[], T]) -> T:
    """What was made for a step: made once, and kept on Keras's function for the same work."""
    everything: dict[Any, T] = vars(owner).setdefault("_glassfit_compiled", {})
    if key not in everything:
        everything[key] = make()
    return everything[key]


def graph(function: Callable[..., Any], jit_compile: bool | None) -> Callable[..., Any]:
    """A `tf.function` of code that needs no AutoGraph."""
    unconverted = tf.autograph.experimental.do_not_convert(function)
    return tf.function(unconverted, reduce_retracing=True, jit_compile=jit_compile)


def concrete(function: Any, *specs: Structure) -> Any:
    """The one graph for such arguments: a short last batch does not trace again."""
    is_function = isinstance(function, tf.types.experimental.PolymorphicFunction)
    if is_function and not tf.config.functions_run_eagerly():
        return function.get_concrete_function(*specs)
    return function  # the model or TensorFlow was told to run eagerly


def flat_call(function: Any) -> Callable[..., Any]:
    """Calls a concrete function without packing and checking its arguments again at every call.

    On 2 cores this takes a third off a call that runs a single small step.
    """
    places = itertools.count()
    template = tf.nest.map_structure(lambda _: next(places), function.structured_outputs)

    def call(*arguments: Structure) -> Structure:
        flat = tf.nest.flatten(arguments, expand_composites=True)
        outputs = function.inference_fn.call_flat(*flat, *function.captured_inputs)
        return _filled(template, outputs)

    return call


def _filled(template: Structure, values: list) -> Structure:
    """The structure with a value for each of its places."""
    if isinstance(template, dict):
        return {name: _filled(part, values) for name, part in template.items()}
    if isinstance(template, tuple | list):
        return tuple(_filled(part, values) for part in template)
    return values[template]


def kinds_of_ops(function: Any) -> set[str]:
    """The kinds of all ops in a concrete function and in the functions that it calls."""
    graph_def = function.graph.as_graph_def()
    functions = graph_def.library.function
    return {node.op for node in graph_def.node} | {
        node.op for one in functions for node in one.node_def
    }


def why_not_in_a_loop(one: Any) -> str | None:
    """Why a step, a concrete function, cannot run many times in one graph; None where it can."""
    if not isinstance(one.structured_outputs, dict):
        return "the step returns no dict of logs"
    for name, log in one.structured_outputs.items():
        if not isinstance(log, tf.Tensor | tf.TensorSpec) or not log.shape.is_fully_defined():
            return f"the log {name!r} of the step is no tensor of a fixed shape"
        if log.dtype == tf.bfloat16:
            return f"the log {name!r} of the step is of bfloat16, which Keras leaves a tensor"
    for kind in kinds_of_ops(one):
        if kind.startswith("Write") and kind.endswith("Summary"):
            return "the step writes summaries, which ask Python for the number of the step"
        if kind in ("PyFunc", "EagerPyFunc"):
            return "the step calls Python, which may look at anything"
        if kind.startswith("Random") or kind in ("TruncatedNormal", "Multinomial"):
            return (
                f"the step draws with {kind}, whose state is in the graph: another graph would "
                "draw anew (keras.random keeps its state in variables)"
            )
    return None


def is_graph(function: Any) -> bool:
    """Whether a function is one graph for all batches, and not Python that runs eagerly."""
    return isinstance(function, tf.types.experimental.ConcreteFunction)


def why_regrouped(one: Any, in_xla: bool) -> str | None:
    """Why a sum in a step, a concrete function, has other bits in a loop: `total + (a + b)`.

    TensorFlow makes `(total + a) + b` of it where it knows the shape of `total`, and in a loop it
    does not: the last bit of the sum may then depend on where the step runs. The log `loss` is such
    a total where there are several losses and every batch is one sample, so that nothing is
    multiplied in between. XLA regroups nothing.
    """
    if in_xla or not is_graph(one) or why_not_in_a_loop(one):
        return None
    specs = tf.nest.flatten(one.structured_input_signature)
    one_sample = all(spec is None or (spec.shape.rank and spec.shape[0] == 1) for spec in specs)
    through = {"Identity", "Sum", "Mul"} if one_sample else {"Identity", "Sum"}

    def is_sum(tensor: tf.Tensor) -> bool:
        while tensor.op.type in through and tensor.op.inputs[0].shape == tensor.shape:
            tensor = tensor.op.inputs[0]
        return tensor.op.type in SUMS

    found = any(
        ours.op.type == "ReadVariableOp" and ours.shape == other.shape and is_sum(other)
        for op in one.graph.get_operations()
        if op.type in SUMS and len(op.inputs) == 2
        for ours, other in itertools.permutations(op.inputs)
    )
    reason = "the step adds a sum to a total, which TensorFlow regroups outside of loops"
    return reason if found else None


def in_a_loop(one: Any) -> Callable[[Structure], Structure]:
    """A step in a loop of one turn, where sums are added up as in Keras's own loops."""

    def run(batch: Structure) -> Structure:
        def turn(_: tf.Tensor, __: Structure) -> tuple[bool, Structure]:
            return True, one(batch)

        logs = tf.nest.map_structure(
            lambda log: tf.zeros(log.shape, log.dtype), one.structured_outputs
        )
        return tf.while_loop(lambda done, _: tf.logical_not(done), turn, (False, logs))[1]

    return graph(run, jit_compile=None)
