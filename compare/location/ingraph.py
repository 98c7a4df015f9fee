"""Run a function of tensors as a graph where it is called eagerly."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf


class InGraph:
    """A function of tensors that takes, eagerly, the time of one op, not of each of its own.

    It is traced once for each combination of dtypes and ranks; inside of a graph it is part of it.
    """

    def __init__(self, function: Callable[..., None]):
        self._function = function
        self._traced: dict[tuple[Any, ...], Callable[..., None]] = {}

    def __call__(self, *tensors: Any) -> None:
        """Run the function on tensors, or lists of them."""
        if not tf.executing_eagerly():
            self._function(*tensors)
            return
        kind = tuple((leaf.shape.rank, leaf.dtype) for leaf in tf.nest.flatten(tensors))
        if kind not in self._traced:
            specs = tf.nest.map_structure(
                lambda tensor: tf.TensorSpec([None] * tensor.shape.rank, tensor.dtype), tensors
            )
            anew = functools.partial(self._function)  # else TensorFlow warns of many traces
            self._traced[kind] = tf.function(anew, input_signature=specs, autograph=False)
        self._traced[kind](*tensors)
