"""The proof: the same training through two engines, compared to the last bit.

The reference is first run against itself: where `model.fit` does not repeat its own bits, that is
the verdict, and no engine is blamed.
"""

from dataclasses import dataclass, field, replace

import keras

import loop
from compare.bits import Difference, differences
from compare.recorder import record
from compare.scenario import Fit, Scenario


@dataclass
class Parity:
    """The verdict on one scenario.

    Attributes:
        scenario: Its name.
        claimed: The class of exactness that identity means here: "exact" or "exact-xla".
        compared: How many values were compared.
        differences: Every value that differs between reference and candidate.
        unrepeatable: Every value that differs between two runs of the reference.
        one_by_one: Why loop.fit ran the steps one by one; None where it fused them.
    """

    scenario: str
    claimed: str
    compared: int
    differences: list[Difference] = field(default_factory=list)
    unrepeatable: list[Difference] = field(default_factory=list)
    one_by_one: str | None = None

    @property
    def identical(self) -> bool:
        """Whether every bit is the same, and the reference repeats itself."""
        return self.compared > 0 and not self.differences and not self.unrepeatable

    def __str__(self) -> str:
        if self.identical:
            return f"{self.scenario}: identical, {self.compared:,} values"
        if self.unrepeatable:
            return (
                f"{self.scenario}: the reference does not repeat itself, so nothing can be said: "
                f"{self.unrepeatable[0]} when run again ({len(self.unrepeatable)} such values)"
            )
        return (
            f"{self.scenario}: {len(self.differences)} of {self.compared:,} values differ; first "
            f"{self.differences[0]} in the candidate"
        )


def parity(scenario: Scenario, candidate: Fit = loop.fit, reference: Fit | None = None) -> Parity:
    """Trains a scenario through two engines from the same seed and compares all they leave behind.

    Both are run twice: with every hook recorded, and with nobody watching but the scenario's own
    callbacks, where an engine may take short cuts. What differs only then is named `unwatched/...`.

    Args:
        scenario: What to train.
        candidate: Called as `candidate(model, **fit_arguments)`; returns a History.
        reference: The same; `keras.Model.fit` by default.

    Returns:
        The verdict, with every difference in History, hooks, logs, weights, optimizer, metrics,
        seed states, files and warnings.

    Raises:
        Exception: Whatever an engine raised while it trained.
    """
    return prove(scenario, candidate, reference or keras.Model.fit)[0]


def prove(
    scenario: Scenario, candidate: Fit, reference: Fit
) -> tuple[Parity, tuple[keras.Model, keras.Model]]:
    """The verdict, and the models that the reference and the candidate have trained unwatched."""
    watched, _ = record(scenario, reference)
    again, by_reference = record(scenario, reference, "nothing")
    _, unrepeatable = differences(watched.as_watched("nothing"), again)
    seen_by_all = record(scenario, candidate)[0]
    compared, found = differences(watched.as_promised_by(seen_by_all), seen_by_all)
    unwatched, by_candidate = record(scenario, candidate, "nothing")
    more, others = differences(again.as_promised_by(unwatched), unwatched)
    found += [replace(one, where=f"unwatched/{one.where}") for one in others]
    verdict = Parity(scenario.name, scenario.exactness, compared + more, found, unrepeatable)
    return verdict, (by_reference, by_candidate)
