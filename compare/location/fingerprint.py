"""What taps compute inside a graph: hashes of tensors."""

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
