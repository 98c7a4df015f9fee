"""What a step costs under two engines: interleaved fits of the same scenario, warm.

A step's share of everything fit does is counted: batches, callbacks, validation, the boundary of
the epoch. Tracing is not: both engines train once before the clock starts.
"""

import statistics
import time
from dataclasses import dataclass

import keras

import loop
from compare.recorder import empty_folder, prepare, wait_for_device
from compare.scenario import Fit, Scenario
from compare.timing import Ratio, interleaved, ratio

ROUNDS = 7
SECONDS = 0.4


@dataclass(frozen=True)
class Throughput:
    """Times of one scenario, a sample for each round, warm-up apart.

    Attributes:
        scenario: Its name.
        steps: Training steps in one fit.
        reference: Microseconds per step under the reference, a sample a round.
        candidate: Microseconds per step under the candidate, a sample a round.
        again: Microseconds per step under the reference, a second time in each round.
    """

    scenario: str
    steps: int
    reference: list[float]
    candidate: list[float]
    again: list[float]

    @property
    def ratio(self) -> Ratio:
        """How many times faster the candidate was, from the pairs of fits."""
        return ratio(self.reference, self.candidate)

    @property
    def noise(self) -> Ratio:
        """The reference against itself."""
        return ratio(self.reference, self.again)

    @property
    def medians(self) -> tuple[float, float]:
        """Microseconds per step of the reference and of the candidate."""
        return statistics.median(self.reference), statistics.median(self.candidate)

    @property
    def shown(self) -> tuple[str, str]:
        """The ratio and its interval; where it is within the noise, the noise and no ratio."""
        if self.ratio.is_within(self.noise):
            return "noise", self.noise.interval
        return self.ratio.speed, self.ratio.interval

    def __str__(self) -> str:
        before, after = self.medians
        return (
            f"{self.scenario}: {before:,.0f} -> {after:,.0f} us per step, "
            f"{self.shown[0]} ({self.shown[1]}), {self.steps} steps"
        )


def throughput(
    scenario: Scenario,
    candidate: Fit = loop.fit,
    reference: Fit | None = None,
    trained: tuple[keras.Model, keras.Model] | None = None,
) -> Throughput | None:
    """Times a scenario under two engines, interleaved: what disturbs one round disturbs both.

    Args:
        scenario: What to train.
        candidate: Called as `candidate(model, **fit_arguments)`.
        reference: The same; `keras.Model.fit` by default.
        trained: Models that the reference and the candidate have trained already, each with its
            own graphs traced; made and trained here where none are given.

    Returns:
        The samples; None for a scenario that trains no step.
    """
    reference = reference or keras.Model.fit
    if trained is None:
        trained = prepare(scenario)[0], prepare(scenario)[0]
        _seconds_per_step(scenario, trained[0], reference)
        _seconds_per_step(scenario, trained[1], candidate)
    steps = 0

    def timed(model: keras.Model, fit: Fit) -> float:
        nonlocal steps
        seconds, steps = _seconds_per_step(scenario, model, fit)
        return 1e6 * seconds

    samples = interleaved(
        {
            "reference": lambda: timed(trained[0], reference),
            "candidate": lambda: timed(trained[1], candidate),
            "again": lambda: timed(trained[0], reference),
        },
        ROUNDS,
        SECONDS,
    )
    return Throughput(scenario.name, steps, **samples) if steps else None


def _seconds_per_step(scenario: Scenario, model: keras.Model, fit: Fit) -> tuple[float, int]:
    """One fit on the clock; making the data is off it. Returns seconds per step, and steps."""
    arguments = {"verbose": 0, **scenario.data()}
    before = int(model.optimizer.iterations)
    with empty_folder():
        start = time.perf_counter()
        fit(model, **arguments)
        wait_for_device(model)
        seconds = time.perf_counter() - start
    steps = int(model.optimizer.iterations) - before
    return seconds / max(steps, 1), steps
