"""Logs as callbacks see them: plain floats, keys sorted."""

import contextlib
from typing import Any

import numpy as np
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
    with contextlib.suppress(TypeError, ValueError):
        if isinstance(value, tf.Tensor):
            value = np.array(value)  # waits for the device; a scalar of bfloat16 stays a tensor
        return float(value)  # and what is no scalar an array
    return value
