"""What taps compute inside a graph: hashes of tensors, and gradients for the tap only."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

_INTEGERS = {1: tf.uint8, 2: tf.int16, 4: tf.int32, 8: tf.int64, 16: tf.int64}


def fingerprint(tensor: tf.Tensor) -> tf.Tensor:
    """Return a hash of the bits of a tensor, their order and their count: int64 scalar, never 0."""
    if tensor.dtype == tf.string:
        bits = tf.strings.to_hash_bucket_fast(tensor, 2**62)
    elif tensor.dtype == tf.bool:
        bits = tf.cast(tensor, tf.uint8)
    else:
        bits = tf.bitcast(tensor, _INTEGERS[tensor.dtype.size])
    return _of_bits(tf.reshape(tf.cast(bits, tf.int64), [-1]))


def _sum_of_bits(bits: tf.Tensor) -> tf.Tensor:
    places = tf.range(tf.size(bits, tf.int64))
    # Mix bits and place as splitmix64 does: a sum of their products would not change if two
    # elements exchanged their signs.
    mixed = (bits + 0x9E3779B97F4A7C1) * (2 * places + 0x2545F4914F6CDD1D)
    for shift, factor in ((30, 0x3F58476D1CE4E5B9), (27, 0x14D049BB133111EB)):
        mixed = tf.bitwise.bitwise_xor(mixed, tf.bitwise.right_shift(mixed, shift)) * factor
    return tf.bitwise.bitwise_or(tf.reduce_sum(mixed), 1)


# A function of its own is traced once and called for every tensor.
_of_bits = tf.function(
    _sum_of_bits, input_signature=[tf.TensorSpec([None], tf.int64)], autograph=False
)


def recomputed(tensor: Any, op: str) -> Any:
    """Return the tensor, computed a second time if it is the result of `op` in a graph.

    Grappler computes `learning_rate * (a * b)` as `(learning_rate * a) * b` where that saves a
    broadcast, but only if `a * b` has one consumer (`MinimizeBroadcasts` in its arithmetic
    optimizer). A tap on `a * b` would be a second consumer, and the update would round otherwise.
    So the tap reads `a` and `b` and multiplies them in a function that grappler does not inline.
    Sums are regrouped under the same condition (`AddOpsRewrite`), an objective of many losses too.

    Args:
        tensor: A gradient or an objective.
        op: "Mul" for a product, "AddV2" for a sum.
    """
    if not (tf.is_symbolic_tensor(tensor) and tensor.op.type == op):
        return tensor
    operands: list[tf.Tensor] = []

    def collect(node: tf.Tensor) -> Any:
        if node.op.type == op:
            return tuple(collect(operand) for operand in node.op.inputs)
        operands.append(node)
        return len(operands) - 1

    tree = collect(tensor)
    combine = {"Mul": tf.multiply, "AddV2": tf.add}[op]

    def compute(node: Any, values: Sequence[tf.Tensor]) -> tf.Tensor:
        if isinstance(node, int):
            return values[node]
        return combine(compute(node[0], values), compute(node[1], values))

    def again(*values: tf.Tensor) -> tf.Tensor:
        return compute(tree, values)

    not_inlined = {"_noinline": True}
    return tf.function(again, autograph=False, experimental_attributes=not_inlined)(*operands)
