"""A reference and a candidate train the same scenario; whose fault it is where one fails."""

from typing import NamedTuple

import keras

from compare.bits import Difference, differences
from compare.outcome import (
    CandidateError,
    CannotCompareError,
    NeverTrainedError,
    ScenarioError,
    UnrepeatableError,
)
from compare.recorder import prepare, record, variables_of
from compare.scenario import Fit, Scenario
from compare.trace import Trace


class Trials(NamedTuple):
    """Both trainings, and every difference between them."""

    reference: Trace
    candidate: Trace
    found: list[Difference]


def by_reference(
    scenario: Scenario, fit: Fit, watched: str = "batches"
) -> tuple[Trace, keras.Model]:
    """Records the reference: where it fails, the scenario is no training.

    Raises:
        ScenarioError: It cannot be built, or the reference raised.
    """
    try:
        return record(scenario, fit, watched)
    except CannotCompareError:
        raise
    except Exception as error:  # whatever a model or a callback may raise
        raise ScenarioError(f"{scenario.name}: the reference raised {_text(error)}") from error


def by_candidate(
    scenario: Scenario, fit: Fit, watched: str = "batches"
) -> tuple[Trace, keras.Model]:
    """Records a candidate.

    Raises:
        CandidateError: It raised.
        NoHistoryError: It returned neither a History nor a dict of lists.
    """
    try:
        return record(scenario, fit, watched)
    except CannotCompareError:
        raise
    except Exception as error:  # a loop of the user's may raise anything
        raise CandidateError(f"{scenario.name}: the candidate raised {_text(error)}") from error


def trained_by_both(scenario: Scenario, candidate: Fit, reference: Fit) -> Trials:
    """Trains a scenario under both, once; where they differ, the reference has to repeat itself.

    Raises:
        CannotCompareError: One of its kinds, where there is nothing to compare.
    """
    theirs, _ = by_reference(scenario, reference, "epochs")
    ours, _ = by_candidate(scenario, candidate, "epochs")
    _, found = differences(theirs.as_promised_by(ours), ours)
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


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
