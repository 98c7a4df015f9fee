"""What taps compute inside a graph: hashes of tensors, and of the samples of a batch."""

import functools
from typing import Any

import tensorflow as tf

_INTEGERS = {1: tf.uint8, 2: tf.int16, 4: tf.int32, 8: tf.int64, 16: tf.int64}

WHOLE = 2**24
"""Up to here float32 holds every integer."""


def fingerprints(tensors: list[tf.Tensor]) -> tf.Tensor:
    """Return a hash of each tensor, of its bits, their order and their count: int64, never 0.

    All are hashed in one call: every op takes a while to trace.
    """
    bits = [tf.reshape(_bits(tf.stop_gradient(tensor)), [-1]) for tensor in tensors]
    return _hashing(len(bits))(bits)


@functools.cache
def _hashing(count: int) -> Any:
    """Return the function that hashes so many lists of bits, each int64 `[elements]`.

    It is called in a graph, and not made part of it: beside these ops, TensorFlow's optimizer
    groups the sums of some steps otherwise.
    """

    def hashes(of_tensors: list[tf.Tensor]) -> tf.Tensor:
        return tf.stack([_sum_of_bits(bits) for bits in of_tensors])

    spec = [tf.TensorSpec([None], tf.int64)] * count
    return tf.function(hashes, input_signature=[spec], autograph=False)


def sizes_of(tensors: list[tf.Tensor]) -> tf.Tensor:
    """Return how many elements each tensor has, int64."""
    known = [tensor.shape.num_elements() for tensor in tensors]
    if None in known:
        return tf.stack([tf.size(tensor, tf.int64) for tensor in tensors])
    return tf.constant(known, tf.int64)


def fingerprint_rows(tensors: list[tf.Tensor]) -> tf.Tensor:
    """Return a hash for each sample of a batch: int64 `[samples]`, never 0.

    Numbers count as float32, and integers that float32 cannot hold as int64: a sample has the same
    hash wherever it is cast.

    Args:
        tensors: The inputs of a model, `[samples, ...]`.
    """
    rows = []
    for tensor in tensors:
        if tensor.dtype.is_floating:
            tensor = tf.cast(tensor, tf.float32)
        bits = _bits(tensor)
        if tensor.dtype.is_integer:
            whole = tf.cast(tensor, tf.int64)
            bits = tf.where(tf.abs(whole) <= WHOLE, _bits(tf.cast(whole, tf.float32)), whole)
        rows.append(tf.reshape(bits, [tf.shape(bits)[0], tf.reduce_prod(tf.shape(bits)[1:])]))
    return _of_rows(tf.concat(rows, axis=1))


def _bits(tensor: tf.Tensor) -> tf.Tensor:
    """Return the bits of each element as int64."""
    if tensor.dtype == tf.string:
        return tf.strings.to_hash_bucket_fast(tensor, 2**62)
    if tensor.dtype == tf.bool:
        return tf.cast(tensor, tf.int64)
    return tf.cast(tf.bitcast(tensor, _INTEGERS[tensor.dtype.size]), tf.int64)


def _sum_of_bits(bits: tf.Tensor) -> tf.Tensor:
    """Return a hash of bits along the last axis."""
    places = tf.range(tf.shape(bits, tf.int64)[-1])
    # Mix bits and place as splitmix64 does: a sum of their products would not change if two
    # elements exchanged their signs.
    mixed = (bits + 0x9E3779B97F4A7C1) * (2 * places + 0x2545F4914F6CDD1D)
    for shift, factor in ((30, 0x3F58476D1CE4E5B9), (27, 0x14D049BB133111EB)):
        mixed = tf.bitwise.bitwise_xor(mixed, tf.bitwise.right_shift(mixed, shift)) * factor
    return tf.bitwise.bitwise_or(tf.reduce_sum(mixed, axis=-1), 1)


# A function of its own, as `_hashing` makes them, and for the same reason.
_of_rows = tf.function(
    _sum_of_bits, input_signature=[tf.TensorSpec([None, None], tf.int64)], autograph=False
)
