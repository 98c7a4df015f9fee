"""Numbers as a reader can check them: in few digits, and how far two of them are apart."""

from typing import Any

import numpy as np


def brief(value: Any) -> str:
    """Return a number, or the first numbers of a row, in at most six digits each."""
    array = np.asarray(value)
    if array.ndim:
        shown = " ".join(brief(number) for number in array.ravel()[:3])
        return f"[{shown}{' ...' if array.size > 3 else ''}]"
    if array.dtype.kind in "fc":
        return f"{float(array):.6g}"
    return str(array.item())[:20]


def exact(value: Any) -> str:
    """Return a float in the fewest digits that tell it from all others of its dtype."""
    array = np.asarray(value)
    if array.dtype.kind != "f" or array.ndim:
        return brief(array)
    if array.dtype.itemsize not in (2, 4, 8):  # bfloat16
        array = array.astype("float32")
    return str(array[()])


def apart(by_hand: Any, computed: Any) -> str:
    """Return how far two numbers, or arrays of one shape, are apart, as words."""
    if by_hand is None or computed is None:
        return ""
    count = ulps(by_hand, computed)
    if count is None:
        return "not comparable"
    return "the same bits" if count == 0 else f"{count:,} ulp{'s' * (count != 1)} apart"


def ulps(by_hand: Any, computed: Any) -> int | None:
    """Return the largest distance in units in the last place of the larger number.

    None if the shapes differ, or numbers that are not finite, or no floats.
    """
    a, b = np.asarray(by_hand), np.asarray(computed)
    if a.shape != b.shape or b.dtype.kind != "f":
        return 0 if np.array_equal(a, b) else None
    a, b = a.astype(b.dtype).astype("float64"), b.astype("float64")
    if np.array_equal(a, b, equal_nan=True):
        return 0
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return None
    larger = np.maximum(np.abs(a), np.abs(b)).astype(np.asarray(computed).dtype)
    return max(1, int(np.max(np.abs(a - b) / np.spacing(larger).astype("float64")).round()))


def shape(value: Any) -> str:
    """Return shape and dtype: "(70, 4) float32"; None for an unknown size is written `?`."""
    dtype = getattr(value.dtype, "name", value.dtype)
    if getattr(value.shape, "rank", 0) is None:
        return f"of unknown shape, {dtype}"
    sizes = ["?" if size is None else str(size) for size in value.shape]
    comma = "," if len(sizes) == 1 else ""
    return f"({', '.join(sizes)}{comma}) {dtype}"


def plural(count: int, noun: str, nouns: str = "") -> str:
    """Return "1 sample", "1,000 samples", "2 batches"."""
    return f"{count:,} {noun if count == 1 else nouns or noun + 's'}"
