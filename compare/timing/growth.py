"""How the time of a step grows with the batch, the number of steps and the width of layers."""

import itertools
from collections.abc import Callable, Sequence

from compare.timing.clock import microseconds
from compare.timing.resize import FixedSizeError, Size
from compare.timing.training import Training

GROWS = {"batch": "samples in a batch", "steps": "steps in an epoch", "width": "units in a layer"}
"""What grows, as `Size` names it, and in words."""

FACTORS = (1, 4, 16)
"""By how much."""

Scaling = dict[str, dict[str, dict[float, float]]]
"""Microseconds a step by what grows, engine and factor."""


def grown(training: Training, size: Size) -> tuple[float, int] | None:
    """Time a new model of another size.

    Returns:
        Seconds of the quickest of three warm fits, and its steps; None where the training cannot
        be resized.
    """
    try:
        return training.wider(size.width).quickest(size)
    except FixedSizeError:
        return None


def scaling(
    names: Sequence[str],
    grow: Callable[[str, Size], tuple[float, int] | None],
    on_progress: Callable[[str], None],
) -> Scaling:
    """Time every engine in every size, in fits of two epochs.

    Args:
        names: The engines. The steps of the first one count for all: a loop of a user's may not
            count its own.
        grow: Calls `grown` where the named engine trains.
        on_progress: Called with what is being timed.

    Returns:
        Microseconds a step: the quickest of three warm fits, divided by its steps.
    """
    found: Scaling = {}
    for what, factor in itertools.product(GROWS, FACTORS):
        steps = 0
        for name in names:
            on_progress(f"{name}: {factor} times the {GROWS[what]}")
            if timed := grow(name, Size(**{what: factor}, epochs=2)):
                steps = steps or timed[1]
                by_engine = found.setdefault(what, {})
                by_engine.setdefault(name, {})[factor] = microseconds([timed[0]], steps)
    return found
