"""Clocks and statistics: interleaved rounds, paired ratios, bootstrap intervals."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from scipy.stats import bootstrap

Timed = Callable[[], float]
"""Runs once and returns seconds."""


@dataclass(frozen=True)
class Ratio:
    """How many times faster one way is than another.

    Attributes:
        median: The median of the paired ratios.
        low: The lower end of its 95% bootstrap interval.
        high: The upper end.
        rounds: How many pairs there were.
    """

    median: float
    low: float
    high: float
    rounds: int

    def __str__(self) -> str:
        return f"{self.speed} ({self.interval})"

    @property
    def speed(self) -> str:
        """The median, as tables have it."""
        return f"{figure(self.median)}x"

    @property
    def interval(self) -> str:
        """Both ends, as tables have them."""
        return f"{figure(self.low)}-{figure(self.high)}"

    def is_within(self, noise: "Ratio") -> bool:
        """Whether it cannot be told from the ratio of one way to itself: the intervals overlap."""
        return self.low <= noise.high and self.high >= noise.low


def figure(value: float) -> str:
    """A number with as many digits as a noisy clock is worth."""
    return f"{value:.0f}" if value >= 20 else f"{value:.1f}" if value >= 3 else f"{value:.2f}"


def ratio(reference: list[float], candidate: list[float]) -> Ratio:
    """How many times faster the candidate was, from seconds of the same rounds."""
    pairs = [a / b for a, b in zip(reference, candidate, strict=True)]
    middle = statistics.median(pairs)
    if len(pairs) < 3 or len(set(pairs)) == 1:  # nothing to resample
        return Ratio(middle, min(pairs), max(pairs), len(pairs))
    found = bootstrap(
        (pairs,), statistics.median, method="percentile", vectorized=False, n_resamples=2000, rng=0
    )
    interval = found.confidence_interval
    return Ratio(middle, float(interval.low), float(interval.high), len(pairs))


def interleaved(
    timed: Mapping[str, Timed], rounds: int, seconds: float | None = None, fewest: int = 3
) -> dict[str, list[float]]:
    """Rounds in which every way runs once, forwards and backwards in turn.

    What disturbs a round disturbs all of it, so that ratios within a round hold.

    Args:
        timed: The ways, by name.
        rounds: How many rounds, at most.
        seconds: Time after which no further round starts, once there are `fewest`.
        fewest: Rounds to run in any case.

    Returns:
        Seconds of each round, by name.
    """
    samples: dict[str, list[float]] = {name: [] for name in timed}
    started = time.perf_counter()
    for place in range(rounds):
        if seconds and place >= fewest and time.perf_counter() - started > seconds:
            break
        order = list(timed.items())
        for name, run in order if place % 2 == 0 else order[::-1]:
            samples[name].append(run())
    return samples
