"""Distances between floats in ulps: how many representable numbers lie from one to the other."""

from typing import Any

import numpy as np


def ulps_between(a: Any, b: Any) -> int | None:
    """Return the distance of two floats in ulps; None if they are not finite floats of one dtype.

    Python floats are logs, most of which were float32: if both fit in float32, its ulps count.
    """
    if isinstance(a, float) and isinstance(b, float):
        narrow = all(float(np.float32(value)) == value for value in (a, b))
        a, b = np.array([a, b], np.float32 if narrow else np.float64)
    a, b = np.asarray(a), np.asarray(b)
    if a.dtype != b.dtype or a.dtype.kind != "f" or not np.isfinite([a, b]).all():
        return None
    return abs(int(_ranks(a)) - int(_ranks(b)))


def farthest(a: np.ndarray, b: np.ndarray) -> float:
    """Return the largest distance in ulps between elements; 1 for -0.0 and 0.0.

    Infinite if bits differ that have no distance: integers, NaN, another shape or dtype.
    """
    if a.shape != b.shape or a.dtype != b.dtype:
        return np.inf
    if a.tobytes() == b.tobytes():
        return 0.0
    if a.dtype.kind != "f" or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return np.inf
    return max(1.0, np.abs(_ranks(a).astype(float) - _ranks(b).astype(float)).max())


def _ranks(values: np.ndarray) -> np.ndarray:
    """Return the rank of each float among all of its dtype, 0 for 0.0 and for -0.0."""
    bits = values.view(f"i{values.dtype.itemsize}").astype(np.int64)
    return np.where(bits < 0, np.iinfo(f"i{values.dtype.itemsize}").min - bits, bits)
