"""Compare traces bit by bit.

A missing key, another order of keys, another type, dtype or shape, -0.0 for 0.0 and another NaN are
all differences. There is no tolerance.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, is_dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from compare.recording.trace import Trace


@dataclass(frozen=True)
class Difference:
    """One place where two records differ.

        >>> print(Difference("history/loss/0", 3.25, 3.5))
        history/loss/0: 3.25 in the reference, 3.5

    Attributes:
        where: The path to it, like `history/loss/3`.
        reference: The value of the reference there.
        candidate: The value of the candidate there.
    """

    where: str
    reference: Any
    candidate: Any

    def __str__(self) -> str:
        theirs, ours = self.reference, self.candidate
        if isinstance(theirs, np.generic) and type(theirs) is type(ours):
            return f"{self.where}: {theirs} in the reference, {ours}"
        return f"{self.where}: {_brief(theirs)} in the reference, {_brief(ours)}"


class _Absent:
    def __repr__(self) -> str:
        return "(absent)"


ABSENT = _Absent()
COMPARABLE = (int, str, bytes, type(None))


def differences(reference: Trace, candidate: Trace) -> tuple[int, list[Difference]]:
    """Compare two traces bit by bit.

        reference, _ = record(scenario, keras.Model.fit)
        candidate, _ = record(scenario, loop.fit)
        compared, found = differences(reference, candidate)

    Returns:
        The number of values compared, and every difference among them.
    """
    compared = 0
    found: list[Difference] = []
    for result in _walk("", vars(reference), vars(candidate)):
        if isinstance(result, Difference):
            found.append(result)
        else:
            compared += result
    return compared + len(found), found


def same(reference: Trace, candidate: Trace) -> bool:
    """Return whether every bit of two traces is the same."""
    return not differences(reference, candidate)[1]


def _walk(where: str, a: Any, b: Any) -> Iterator[int | Difference]:
    """Yield counts of equal values, and differences, in the order of the traces."""
    if type(a) is not type(b):
        yield Difference(where, a, b)
    elif isinstance(a, np.ndarray):
        yield from _walk_arrays(where, a, b)
    elif tf.is_tensor(a):  # Keras leaves logs of bfloat16 tensors
        yield from _walk_arrays(where, *(np.asarray(tensor.numpy()) for tensor in (a, b)))
    elif isinstance(a, Mapping):
        yield from _walk_mappings(where, a, b)
    elif is_dataclass(a):
        yield from _walk(where, astuple(a), astuple(b))  # type: ignore[arg-type]
    elif isinstance(a, Sequence) and not isinstance(a, str | bytes):
        yield from _walk_sequences(where, a, b)
    else:
        yield 1 if _same_bits(a, b) else Difference(where, a, b)


def _walk_mappings(where: str, a: Mapping, b: Mapping) -> Iterator[int | Difference]:
    if list(a) != list(b) and set(a) == set(b):
        yield Difference(f"{where}/(order of keys)", list(a), list(b))
    for key in [*a, *(key for key in b if key not in a)]:
        yield from _walk(f"{where}/{key}".lstrip("/"), a.get(key, ABSENT), b.get(key, ABSENT))


def _walk_sequences(where: str, a: Sequence, b: Sequence) -> Iterator[int | Difference]:
    if len(a) != len(b):
        yield Difference(f"{where}/(length)", len(a), len(b))
    for place, (item_a, item_b) in enumerate(zip(a, b, strict=False)):
        yield from _walk(f"{where}/{place}", item_a, item_b)


def _walk_arrays(where: str, a: np.ndarray, b: np.ndarray) -> Iterator[int | Difference]:
    if a.dtype != b.dtype or a.shape != b.shape:
        yield Difference(where, f"{a.dtype}{list(a.shape)}", f"{b.dtype}{list(b.shape)}")
        return
    if a.dtype == object:  # strings, for example: compare elements as values
        yield from _walk_sequences(where, a.ravel().tolist(), b.ravel().tolist())
        return
    size = a.dtype.itemsize
    bits_a = np.ascontiguousarray(a).reshape(-1).view(np.uint8).reshape(-1, size)
    bits_b = np.ascontiguousarray(b).reshape(-1).view(np.uint8).reshape(-1, size)
    differing = np.flatnonzero((bits_a != bits_b).any(axis=1))
    yield a.size - len(differing)
    for index in differing.tolist():
        yield Difference(f"{where}[{index}]", a.ravel()[index], b.ravel()[index])


def _same_bits(a: Any, b: Any) -> bool:
    if isinstance(a, float):
        return struct.pack("<d", a) == struct.pack("<d", b)
    if isinstance(a, np.generic):
        return a.dtype == b.dtype and a.tobytes() == b.tobytes()
    if not isinstance(a, COMPARABLE):  # its __eq__ may not compare bits
        raise TypeError(f"Cannot compare the bits of {a!r}, of type {type(a)}.")
    return bool(a == b)


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
