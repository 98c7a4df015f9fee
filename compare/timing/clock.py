"""Clocks and statistics: interleaved rounds, microseconds a step, paired ratios with intervals."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from scipy.stats import bootstrap

Timed = Callable[[], float]
"""Runs once and returns seconds."""


@dataclass(frozen=True)
class Ratio:
    """How many times as fast as a reference a candidate is: column "speed", without a unit.

    Attributes:
        median: The median of the paired ratios: seconds of the reference divided by seconds of
            the candidate in the same round.
        low: The lower end of the median's 95% bootstrap interval.
        high: The upper end: column "95%" is low-high.
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
        """The median as tables print it."""
        return f"{figure(self.median)}x"

    @property
    def interval(self) -> str:
        """Both ends of the interval as tables print them."""
        return f"{figure(self.low)}-{figure(self.high)}"

    def is_within(self, noise: "Ratio") -> bool:
        """Return whether this interval overlaps that of an engine against itself."""
        return self.low <= noise.high and self.high >= noise.low

    def cells(self, noise: "Ratio | None" = None) -> tuple[str, str]:
        """Return the columns "speed" and "95%".

        Args:
            noise: The reference against itself. A ratio within it is not printed: the cells then
                are "noise" and the interval of the noise.
        """
        if noise and self.is_within(noise):
            return "noise", noise.interval
        return self.speed, self.interval


def figure(value: float) -> str:
    """Format a number with as many digits as a noisy clock is worth: 0.98, 3.1, 101."""
    return f"{value:.0f}" if value >= 20 else f"{value:.1f}" if value >= 3 else f"{value:.2f}"


def microseconds(seconds: Sequence[float], steps: int) -> float:
    """Return microseconds a step: 1e6 times the median of `seconds`, divided by `steps`.

    Everything else that a fit does has its share in this figure: batches, callbacks, validation,
    the end of the epoch.

    Args:
        seconds: Seconds of whole fits, one value for each round.
        steps: Training steps in one fit.
    """
    return 1e6 * statistics.median(seconds) / max(steps, 1)


def ratio(reference: Sequence[float], candidate: Sequence[float]) -> Ratio:
    """Return how many times as fast the candidate was, from seconds of the same rounds."""
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
    """Time every engine once a round, in turn forwards and backwards.

    Whatever disturbs the machine during a round disturbs all engines, so ratios within a round
    hold.

    Args:
        timed: What to time, by the name of the engine.
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
