"""Converts logs to the form that callbacks get: plain floats, keys sorted."""

import contextlib
from typing import Any

import tensorflow as tf

from loop.types import Logs


def python_logs(logs: Logs | None) -> Logs:
    """Return flat logs with sorted keys, scalars as floats and other tensors as NumPy arrays.

        >>> python_logs({"loss": tf.constant(0.5), "accuracy": tf.constant(1)})
        {'accuracy': 1.0, 'loss': 0.5}

    Waits for the device, once for each tensor.

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
            return value  # matches Keras, which leaves it a tensor
        value = value.numpy()  # waits for the device
    with contextlib.suppress(TypeError, ValueError):  # a value that is no scalar is left as it is
        return float(value)
    return value
