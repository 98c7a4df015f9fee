"""How far apart floats are: how many steps from one to the other, through all of their dtype."""

from typing import Any

import numpy as np


def ulps_between(one: Any, other: Any) -> int | None:
    """Steps from one float to the other; None where that means nothing.

    Python's floats are logs, which were float32 in most models: then such steps are counted.
    """
    if isinstance(one, float) and isinstance(other, float):
        narrow = all(float(np.float32(value)) == value for value in (one, other))
        one, other = np.array([one, other], np.float32 if narrow else np.float64)
    one, other = np.asarray(one), np.asarray(other)
    if one.dtype != other.dtype or one.dtype.kind != "f" or not np.isfinite([one, other]).all():
        return None
    return abs(int(_ranks(one)) - int(_ranks(other)))


def farthest(one: np.ndarray, other: np.ndarray) -> float:
    """The largest number of steps between elements of the same place; 1 for -0.0 and 0.0.

    Infinite where the bits differ and steps mean nothing: integers, NaN, another shape or dtype.
    """
    if one.shape != other.shape or one.dtype != other.dtype:
        return np.inf
    if one.tobytes() == other.tobytes():
        return 0.0
    if one.dtype.kind != "f" or not (np.isfinite(one).all() and np.isfinite(other).all()):
        return np.inf
    return max(1.0, np.abs(_ranks(one).astype(float) - _ranks(other).astype(float)).max())


def _ranks(values: np.ndarray) -> np.ndarray:
    """The place of each float among all of its dtype, counted from zero; -0.0 is 0.0."""
    bits = values.view(f"i{values.dtype.itemsize}").astype(np.int64)
    return np.where(bits < 0, np.iinfo(f"i{values.dtype.itemsize}").min - bits, bits)
