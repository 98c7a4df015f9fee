"""Prove that two engines train a scenario to the same bits.

The reference trains twice. If it does not repeat its own bits, that is the verdict, and nothing is
said about the candidate.
"""

import re
from dataclasses import dataclass, field, replace

import loop
from compare.errors import Outcome
from compare.recording.bits import Difference, differences
from compare.recording.trace import on_equal_terms
from compare.recording.trials import Trainings, require_training
from compare.scenario import Fit, Scenario


@dataclass
class Parity:
    """The verdict on one scenario.

        verdict = parity(scenario, my_fit)
        for difference in verdict.differences:
            print(difference)

    Attributes:
        scenario: The name of the scenario.
        claimed: The class of exactness that identical bits prove here: "exact" or "exact-xla".
        compared: How many values were compared.
        differences: Every value that differs between reference and candidate.
        unrepeatable: Every value that differs between two runs of the reference.
        histories: The histories of reference and candidate, a list for each log.
        plain: Whether one of the two returned a dict of lists, so that less was compared.
        one_by_one: Why loop.fit ran step by step; None if several steps shared a call.
    """

    scenario: str
    claimed: str
    compared: int
    differences: list[Difference] = field(default_factory=list)
    unrepeatable: list[Difference] = field(default_factory=list)
    histories: tuple[dict[str, list], dict[str, list]] = ({}, {})
    plain: bool = False
    one_by_one: str | None = None

    @property
    def outcome(self) -> Outcome:
        """How the comparison ended."""
        if self.identical:
            return Outcome.IDENTICAL
        return Outcome.UNREPEATABLE if self.unrepeatable else outcome_of(self.differences)

    @property
    def identical(self) -> bool:
        """Whether every bit is the same and the reference repeats its own bits."""
        return self.compared > 0 and not self.differences and not self.unrepeatable

    def __str__(self) -> str:
        if self.identical:
            alone = " of history, weights and optimizer: it returned plain lists" * self.plain
            return f"{self.scenario}: identical, {self.compared:,} values{alone}"
        if self.unrepeatable:
            return (
                f"{self.scenario}: the reference does not repeat itself, so nothing can be "
                f"compared with it: {self.unrepeatable[0]} when run again "
                f"({len(self.unrepeatable)} such values)"
            )
        return (
            f"{self.scenario}: {len(self.differences)} of {self.compared:,} values differ; first "
            f"{self.differences[0]} in the candidate"
        )


def parity(scenario: Scenario, candidate: Fit = loop.fit, reference: Fit | None = None) -> Parity:
    """Train a scenario with two engines from the same seed and compare all they leave behind.

        print(parity(scenario))          # model.fit against loop.fit
        print(parity(scenario, my_fit))  # model.fit against a loop of your own

    Both train twice: with every callback hook recorded, and with no callbacks but the scenario's
    own, where an engine may run many steps in one call. What differs only in the second pair is
    named `unwatched/...`.

    Args:
        scenario: What to train.
        candidate: Called as `candidate(model, **fit_arguments)`; returns a History.
        reference: The same; `keras.Model.fit` by default.

    Returns:
        The verdict, with every difference in History, hooks, logs, weights, optimizer, metrics,
        seed states, files and warnings.

    Raises:
        CannotCompareError: A training is missing: the scenario cannot be built, or the candidate
            raised, changed no weight, or returned neither a History nor a dict of lists.
    """
    return prove(Trainings(scenario, candidate, reference))


def prove(trainings: Trainings) -> Parity:
    """Return the verdict on the trainings of a scenario; `parity` says what is compared."""
    scenario = trainings.scenario
    watched, again = trainings.by_reference().trace, trainings.by_reference("nothing").trace
    seen_by_all = trainings.by_candidate().trace
    unwatched = trainings.by_candidate("nothing").trace
    compared, found = differences(*on_equal_terms(watched, seen_by_all))
    more, others = differences(*on_equal_terms(again, unwatched))
    found += [replace(other, where=f"unwatched/{other.where}") for other in others]
    if found:
        require_training(scenario, again, unwatched)
    return Parity(
        scenario.name,
        scenario.exactness,
        compared + more,
        found,
        trainings.unrepeatable(),
        histories=(again.history, unwatched.history),
        plain=again.is_plain or unwatched.is_plain,
    )


def outcome_of(found: list[Difference]) -> Outcome:
    """Return the kind of difference: other epochs, other logs, or other bits."""
    places = [difference.where.removeprefix("unwatched/") for difference in found]
    if any(re.match(r"(history/(?!val_).*|epochs/)\(length\)", place) for place in places):
        return Outcome.OTHER_EPOCHS
    if any(re.fullmatch("history/[^/]*", place) for place in places):
        return Outcome.OTHER_LOGS
    return Outcome.DIFFERENT
