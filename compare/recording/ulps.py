"""Distances between floats in ulps: how many representable numbers lie from one to the other."""

from typing import Any

import numpy as np


def ulps_between(one: Any, other: Any) -> int | None:
    """Return the distance of two floats in ulps; None if they are not finite floats of one dtype.

    Python floats are logs, most of which were float32: if both fit in float32, its ulps count.
    """
    if isinstance(one, float) and isinstance(other, float):
        narrow = all(float(np.float32(value)) == value for value in (one, other))
        one, other = np.array([one, other], np.float32 if narrow else np.float64)
    one, other = np.asarray(one), np.asarray(other)
    if one.dtype != other.dtype or one.dtype.kind != "f" or not np.isfinite([one, other]).all():
        return None
    return abs(int(_ranks(one)) - int(_ranks(other)))


def farthest(one: np.ndarray, other: np.ndarray) -> float:
    """Return the largest distance in ulps between elements; 1 for -0.0 and 0.0.

    Infinite if bits differ that have no distance: integers, NaN, another shape or dtype.
    """
    if one.shape != other.shape or one.dtype != other.dtype:
        return np.inf
    if one.tobytes() == other.tobytes():
        return 0.0
    if one.dtype.kind != "f" or not (np.isfinite(one).all() and np.isfinite(other).all()):
        return np.inf
    return max(1.0, np.abs(_ranks(one).astype(float) - _ranks(other).astype(float)).max())


def _ranks(values: np.ndarray) -> np.ndarray:
    """Return the rank of each float among all of its dtype, 0 for 0.0 and for -0.0."""
    bits = values.view(f"i{values.dtype.itemsize}").astype(np.int64)
    return np.where(bits < 0, np.iinfo(f"i{values.dtype.itemsize}").min - bits, bits)
