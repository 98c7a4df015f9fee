"""What a step costs under two engines: interleaved fits of the same scenario, warm.

A step's share of everything fit does is counted: batches, callbacks, validation, the boundary of
the epoch. Tracing is not: both engines train once before the clock starts.
"""

import statistics
import time
from dataclasses import dataclass
from functools import partial

import keras

import loop
from compare.recording.recorder import empty_folder, prepare, steps_taken, wait_for_device
from compare.recording.trials import blamed_on
from compare.scenario import Fit, FitArguments, Scenario
from compare.timing import Ratio, interleaved, ratio

ROUNDS = 7
SECONDS = 0.4


@dataclass(frozen=True)
class Throughput:
    """Times of one scenario, a sample for each round, warm-up apart.

    Attributes:
        scenario: Its name.
        steps: Training steps in one fit of the reference.
        reference: Microseconds per step of the reference, a sample a round.
        candidate: Microseconds of the candidate for as many, a sample a round.
        again: Microseconds per step of the reference, a second time in each round.
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

    Raises:
        CannotCompareError: One of them cannot train it.
    """
    reference = reference or keras.Model.fit

    def timed(who: str, model: keras.Model, fit: Fit) -> float:
        with blamed_on(scenario, who):
            return seconds_of(fit, model, scenario.data())

    if trained is None:
        trained = prepare(scenario)[0], prepare(scenario)[0]
        timed("reference", trained[0], reference)
        timed("candidate", trained[1], candidate)
    before = steps_taken(trained[0])
    seconds = interleaved(
        {
            "reference": partial(timed, "reference", trained[0], reference),
            "candidate": partial(timed, "candidate", trained[1], candidate),
            "again": partial(timed, "reference", trained[0], reference),
        },
        ROUNDS,
        SECONDS,
    )
    steps = (steps_taken(trained[0]) - before) // (2 * len(seconds["again"]))
    if not steps:
        return None
    samples = {who: [1e6 * one / steps for one in of] for who, of in seconds.items()}
    return Throughput(scenario.name, steps, **samples)


def seconds_of(fit: Fit, model: keras.Model, arguments: FitArguments) -> float:
    """Seconds of one fit, in an empty folder and without its progress bars."""
    with empty_folder():
        begun = time.perf_counter()
        fit(model, **{"verbose": 0, **arguments})
        wait_for_device(model)
        return time.perf_counter() - begun
