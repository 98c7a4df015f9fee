"""Compare the logs that two loops both have, under whatever names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from compare.diagnosis.layers import Floor, relative

Logs = dict[str, list[Any]]

SAME = 1e-5
"""The largest relative difference of logs that are the same, where rounding was not measured."""

NOT_SAME = 1e-6
"""Added for each log that differs: one that differs by very little is not explained either."""


def log_distance(theirs: Logs, ours: Logs) -> dict[str, float]:
    """Return the mean relative difference of each log of fit that the candidate has, 0 to 1.

    A log of fit whose name the candidate lacks is compared with those logs that only the candidate
    has, and counts if one of them has its values. The rest is left out.

    Args:
        theirs: The history of fit.
        ours: The history of the candidate.
    """
    found = {}
    for name in filter(theirs.get, theirs):
        options = _options(name, theirs, ours)
        distances = [_difference(theirs[name], ours[option]) for option in options]
        if distances and (name in ours or min(distances) <= SAME):
            found[name] = min(distances)
    return found


def unexplained(theirs: Logs, ours: Logs, names: Sequence[str], floor: Floor) -> float:
    """Return how much some logs of fit differ, 0 to 1 each; 0 if all of it is rounding.

    Args:
        theirs: The history of fit, or of our engine with rules broken.
        ours: The history of the candidate.
        names: The logs of fit to compare, as far as the candidate has them.
        floor: What rounding does.
    """
    found = 0.0
    for name in names:
        if name not in theirs:
            found += 1.0
            continue
        options = _options(name, theirs, ours)
        if name in ours and not any(_is_same(theirs, name, ours[it], floor) for it in options):
            found += NOT_SAME + _difference(theirs[name], ours[name])
    return found


def renamed(theirs: Logs, ours: Logs, floor: Floor) -> dict[str, str]:
    """Return the candidate's name of each log of fit that has its values under another name."""
    found = {}
    for name in theirs:
        options = _options(name, theirs, ours)
        same = [option for option in options if _is_same(theirs, name, ours[option], floor)]
        if same and name not in same:
            found[name] = same[0]
    return found


def _options(name: str, theirs: Logs, ours: Logs) -> list[str]:
    """Return the candidate's logs that may be a log of fit: of its name, or of no name of fit's."""
    own = [name] if ours.get(name) else []
    return own + [other for other in ours if ours[other] and other not in theirs]


def _difference(first: list[Any], second: list[Any]) -> float:
    """Return the mean relative difference of two logs, 0 to 1; 1 if one of them is empty."""
    pairs = list(zip(first, second, strict=False))
    return sum(min(1.0, relative(*pair)) for pair in pairs) / len(pairs) if pairs else 1.0


def _is_same(theirs: Logs, name: str, log: list[Any], floor: Floor) -> bool:
    """Return whether a log is that of fit, as far as more than rounding tells."""
    pairs = list(zip(theirs[name], log, strict=False))
    apart = [relative(*pair) for pair in pairs]
    return bool(pairs) and all(
        distance <= floor.least or distance <= floor.log(name, epoch)
        for epoch, distance in enumerate(apart)
    )
