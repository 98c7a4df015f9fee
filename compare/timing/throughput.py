"""What a step costs under two engines: interleaved warm fits of the same scenario.

Tracing is not timed: both engines train twice before the clock starts.
"""

import statistics
from dataclasses import dataclass
from functools import partial

import keras

import loop
from compare.recording.recorder import prepare, steps_taken
from compare.recording.trials import blamed_on
from compare.scenario import Fit, Scenario
from compare.timing.clock import Ratio, interleaved, microseconds, ratio
from compare.timing.training import seconds_of

ROUNDS = 7
SECONDS = 0.25


@dataclass(frozen=True)
class Throughput:
    """Times of one scenario, a value for each round, without the fits that warm up.

        times = throughput(scenario)
        print(times.ratio, times.noise)

    Attributes:
        scenario: Its name.
        steps: Training steps in one fit of the reference.
        reference: Microseconds a step of the reference.
        candidate: Microseconds a step of the candidate, by the steps of the reference.
        again: Microseconds a step of the reference, timed a second time in each round.
    """

    scenario: str
    steps: int
    reference: list[float]
    candidate: list[float]
    again: list[float]

    @property
    def ratio(self) -> Ratio:
        """How many times as fast the candidate is: the median of the rounds' ratios."""
        return ratio(self.reference, self.candidate)

    @property
    def noise(self) -> Ratio:
        """The ratio of the reference to itself."""
        return ratio(self.reference, self.again)

    @property
    def medians(self) -> tuple[float, float]:
        """Columns "fit us" and "loop us": see `compare.timing.clock.microseconds`."""
        return statistics.median(self.reference), statistics.median(self.candidate)

    @property
    def shown(self) -> tuple[str, str]:
        """Columns "speed" and "95%", see `Ratio.cells`."""
        return self.ratio.cells(self.noise)

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
    """Time a scenario under two engines in interleaved rounds of warm fits.

        print(throughput(scenario, my_fit))

    Args:
        scenario: What to train.
        candidate: Called as `candidate(model, **fit_arguments)`.
        reference: Called likewise; `keras.Model.fit` by default.
        trained: Models that the reference and the candidate have trained already; by default two
            new models are built. Each model is trained before the clock starts: a new one twice,
            a trained one once more.

    Returns:
        The times; None for a scenario that trains no step.

    Raises:
        CannotCompareError: The reference or the candidate cannot train it.
    """
    reference = reference or keras.Model.fit

    def timed(who: str, model: keras.Model, fit: Fit) -> float:
        with blamed_on(scenario, who):
            return seconds_of(fit, model, scenario.data())

    warming = 1 if trained else 2
    trained = trained or (prepare(scenario)[0], prepare(scenario)[0])
    for _ in range(warming):
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
    samples = {
        who: [microseconds([taken], steps) for taken in of_rounds]
        for who, of_rounds in seconds.items()
    }
    return Throughput(scenario.name, steps, **samples)
