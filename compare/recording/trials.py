"""Trainings of one scenario by a reference and a candidate, each recorded once."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
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
from compare.recording.bits import Difference, differences, same
from compare.recording.recorder import prepare, record, variables_of
from compare.recording.trace import Trace, on_equal_terms
from compare.scenario import Fit, Scenario


class Recording(NamedTuple):
    """One training: what it left behind, and the trained model."""

    trace: Trace
    model: keras.Model


class Trainings:
    """A scenario under a reference and a candidate; each training is recorded on first use.

    `locate`, `diagnose`, `heat_of` and the proof of one command share these recordings.

    Attributes:
        scenario: What is trained.
        reference: The fit that is right by definition, `keras.Model.fit` by default.
        candidate: The fit that is compared with it.
    """

    def __init__(
        self,
        scenario: Scenario,
        candidate: Fit,
        reference: Fit | None = None,
        recorded: dict[str, Recording] | None = None,
    ):
        self.scenario = scenario
        self.candidate = candidate
        self.reference = reference or keras.Model.fit
        self._by_reference = {} if recorded is None else recorded
        self._by_candidate: dict[str, Recording] = {}

    def by_another(self, candidate: Fit) -> Trainings:
        """Return the trainings of another candidate; those of the reference are shared."""
        return Trainings(self.scenario, candidate, self.reference, self._by_reference)

    def by_reference(self, watched: str = "batches") -> Recording:
        """Return the recording of the reference with the hooks of `watched` recorded.

        Raises:
            ScenarioError: The reference raised, or returned no history.
        """
        if watched not in self._by_reference:
            if watched == "epochs" and "batches" in self._by_reference:
                trace, model = self._by_reference["batches"]
                return Recording(trace.as_watched("epochs"), model)
            with blamed_on(self.scenario, "reference"):
                recorded = Recording(*record(self.scenario, self.reference, watched))
            self._by_reference[watched] = recorded
        return self._by_reference[watched]

    def by_candidate(self, watched: str = "batches") -> Recording:
        """Return the recording of the candidate with the hooks of `watched` recorded.

        Raises:
            CandidateError: The candidate raised.
            NoHistoryError: It returned neither a History nor a dict of lists.
        """
        if watched not in self._by_candidate:
            with blamed_on(self.scenario, "candidate"):
                recorded = Recording(*record(self.scenario, self.candidate, watched))
            self._by_candidate[watched] = recorded
        return self._by_candidate[watched]

    def compared(self, again: Callable[[], Trace] | None = None) -> Compared:
        """Compare both trainings; where they differ, check that the comparison means something.

        Args:
            again: Trains the reference once more, in some other way, for a caller that needs that
                training: if it has the same bits, the reference repeats itself.

        Raises:
            NeverTrainedError: The candidate changed no weight, and the reference did.
            UnrepeatableError: The reference does not repeat its own bits.
            CannotCompareError: Another subclass: one training is missing.
        """
        theirs, ours = self.by_reference("epochs").trace, self.by_candidate("epochs").trace
        _, found = differences(*on_equal_terms(theirs, ours))
        if found:
            require_training(self.scenario, theirs, ours)
            repeats = again is not None and same(theirs, again())
            if not repeats and (unrepeatable := self.unrepeatable()):
                raise UnrepeatableError(
                    f"{self.scenario.name}: the reference does not repeat itself, so nothing can "
                    f"be compared with it: {unrepeatable[0]} when run again "
                    f"({len(unrepeatable)} such values)"
                )
        return Compared(theirs, ours, found)

    def unrepeatable(self) -> list[Difference]:
        """Return every value that differs between two trainings of the reference.

        The second training records no hooks, so hooks are left out of the comparison.
        """
        trace = self.by_reference("epochs").trace.as_watched("nothing")
        return differences(trace, self.by_reference("nothing").trace)[1]


class Compared(NamedTuple):
    """The traces of both trainings with the hooks of epochs, and every difference between them."""

    reference: Trace
    candidate: Trace
    found: list[Difference]


@contextlib.contextmanager
def blamed_on(scenario: Scenario, who: str) -> Iterator[None]:
    """Map exceptions to ScenarioError (`who` is "reference") or CandidateError ("candidate").

    Raises:
        ScenarioError: The reference raised, or returned no history.
        CandidateError: The candidate raised.
        NoHistoryError: The candidate returned neither a History nor a dict of lists.
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


def require_training(scenario: Scenario, reference: Trace, candidate: Trace) -> None:
    """Raise if the candidate left every weight as it was although the reference trained.

    Raises:
        NeverTrainedError: The candidate's weights are the initial ones, the reference's are not.
    """
    initial = {
        name: value
        for name, value in variables_of(prepare(scenario)[0]).items()
        if name.startswith("weights/")
    }

    def moved(trace: Trace) -> bool:
        after = {name: trace.variables.get(name) for name in initial}
        return bool(differences(Trace(variables=initial), Trace(variables=after))[1])  # type: ignore[arg-type]

    if initial and moved(reference) and not moved(candidate):
        raise NeverTrainedError(f"{scenario.name}: the candidate left every weight as it was")
