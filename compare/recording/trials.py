"""A reference and a candidate train the same scenario; whose fault it is where one fails."""

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

import keras

from compare.errors import (
    CandidateError,
    CannotCompareError,
    NeverTrainedError,
    NoHistoryError,
    ScenarioError,
    UnrepeatableError,
)
from compare.recording.bits import Difference, differences
from compare.recording.recorder import prepare, record, variables_of
from compare.recording.trace import Trace, on_equal_terms
from compare.scenario import Fit, Scenario


class Trials(NamedTuple):
    """Both trainings, and every difference between them."""

    reference: Trace
    candidate: Trace
    found: list[Difference]


@contextlib.contextmanager
def blamed_on(scenario: Scenario, who: str) -> Iterator[None]:
    """What the "reference" raises makes the scenario none; what the "candidate" does is its fault.

    Raises:
        ScenarioError: The reference raised, or returned no history.
        CandidateError: The candidate raised.
        NoHistoryError: It returned neither a History nor a dict of lists.
    """
    try:
        yield
    except NoHistoryError as error:
        raise ScenarioError(f"the reference: {error}") if who == "reference" else error from None
    except CannotCompareError:
        raise
    except (Exception, SystemExit) as error:  # a model, a callback or a loop may raise anything
        kind = ScenarioError if who == "reference" else CandidateError
        what = f"{type(error).__name__}: {error}"
        raise kind(f"{scenario.name}: the {who} raised {what}") from error


def by_reference(
    scenario: Scenario, fit: Fit, watched: str = "batches"
) -> tuple[Trace, keras.Model]:
    """Records the reference; raises as `blamed_on` says."""
    with blamed_on(scenario, "reference"):
        return record(scenario, fit, watched)


def by_candidate(
    scenario: Scenario, fit: Fit, watched: str = "batches"
) -> tuple[Trace, keras.Model]:
    """Records a candidate; raises as `blamed_on` says."""
    with blamed_on(scenario, "candidate"):
        return record(scenario, fit, watched)


def trained_by_both(scenario: Scenario, candidate: Fit, reference: Fit) -> Trials:
    """Trains a scenario under both, once; where they differ, the reference has to repeat itself.

    Raises:
        CannotCompareError: One of its kinds, where there is nothing to compare.
    """
    theirs, _ = by_reference(scenario, reference, "epochs")
    ours, _ = by_candidate(scenario, candidate, "epochs")
    _, found = differences(*on_equal_terms(theirs, ours))
    if found:
        require_training(scenario, theirs, ours)
        again, _ = by_reference(scenario, reference, "epochs")
        if unrepeatable := differences(theirs, again)[1]:
            raise UnrepeatableError(
                f"{scenario.name}: the reference does not repeat itself, so nothing can be said: "
                f"{unrepeatable[0]} when run again ({len(unrepeatable)} such values)"
            )
    return Trials(theirs, ours, found)


def require_training(scenario: Scenario, reference: Trace, candidate: Trace) -> None:
    """Of two trainings that differ: that the candidate is one.

    Raises:
        NeverTrainedError: Its weights are those it was given, and the reference's are not.
    """
    given = Trace(variables=variables_of(prepare(scenario)[0]))
    kept = {name: value for name, value in given.variables.items() if name.startswith("weights/")}

    def moved(trace: Trace) -> bool:
        after = {name: trace.variables.get(name) for name in kept}
        return bool(differences(Trace(variables=kept), Trace(variables=after))[1])  # type: ignore[arg-type]

    if kept and moved(reference) and not moved(candidate):
        raise NeverTrainedError(f"{scenario.name}: the candidate left every weight as it was")
