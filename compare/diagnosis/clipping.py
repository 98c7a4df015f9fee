"""Clip gradients in the three ways that an optimizer of Keras does, and loops do by hand."""

from typing import Any

import tensorflow as tf

KINDS = ("clipvalue", "clipnorm", "global_clipnorm")
"""The settings of an optimizer that limit gradients; at most one of them is set."""


def clip(kind: str, limit: float, gradients: list[Any]) -> list[Any]:
    """Return gradients, None where there is none, clipped in one of the `KINDS`."""
    if kind == "global_clipnorm":
        return list(tf.clip_by_global_norm(gradients, limit)[0])
    if kind == "clipvalue":
        return [None if g is None else tf.clip_by_value(g, -limit, limit) for g in gradients]
    return [None if g is None else tf.clip_by_norm(g, limit) for g in gradients]
