"""Logs as callbacks see them: plain floats, keys sorted."""

import contextlib
from typing import Any

import tensorflow as tf

from loop.types import Logs


def python_logs(logs: Logs | None) -> Logs:
    """Flattens nested dicts, sorts the keys and turns scalars into floats, others into arrays.

    Mirrors: keras.src.utils.python_utils.pythonify_logs
    """
    result: Logs = {}
    for key, value in sorted((logs or {}).items()):
        if isinstance(value, dict):
            result.update(python_logs(value))
        else:
            result[key] = _python_value(value)
    return result


def _python_value(value: Any) -> Any:
    if isinstance(value, tf.Tensor):
        if value.dtype == tf.bfloat16 and not value.shape.rank:
            return value  # as in Keras, where NumPy makes no array of it
        value = value.numpy()  # waits for the device
    with contextlib.suppress(TypeError, ValueError):  # what is no scalar stays what it is
        return float(value)
    return value
