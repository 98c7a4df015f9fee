"""Measure what a scenario costs: warm fits, or first fits only, of every engine in turn."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from statistics import median
from typing import Any, Protocol, TypeVar

from compare.errors import CandidateError, ScenarioError
from compare.scenario import Scenario
from compare.timing.apart import TakeApart, whole_fits
from compare.timing.clock import interleaved
from compare.timing.closeness import State, class_of, state_of
from compare.timing.costs import Cost, Costs
from compare.timing.engines import AGAIN, BARE_STEP, JIT, MODEL_FIT, Engine
from compare.timing.training import First, Training, first_fits, new_training

T = TypeVar("T")

MOST_WARM_UPS = 10
"""The most fits before the rounds."""


class Place(Protocol):
    """Where engines train: all in this process, or each in a process of its own."""

    def begin(self, scenario: Scenario, engine: Engine) -> First:
        """Build a new model for an engine, and train it twice."""

    def call(self, engine: str, work: Callable[..., T], *about: Any) -> T:
        """Call `work(training, *about)` where the named engine trains."""

    def end(self, engine: str) -> None:
        """Let go of what the named engine trained, and of its process if it has its own."""


class ThisProcess:
    """Every engine trains in this process, with a model of its own."""

    def __init__(self) -> None:
        self.trainings: dict[str, Training] = {}

    def begin(self, scenario: Scenario, engine: Engine) -> First:
        """Build a new model for an engine, and train it twice."""
        training = self.trainings[engine.name] = new_training(scenario, engine)
        return first_fits(training)

    def call(self, engine: str, work: Callable[..., T], *about: Any) -> T:
        """Call `work(training, *about)` with the training of the named engine."""
        return work(self.trainings[engine], *about)

    def end(self, engine: str) -> None:
        """Let go of the model of the named engine."""
        del self.trainings[engine]


def measure(
    scenario: Scenario,
    engines: Sequence[Engine],
    place: Place,
    *,
    rounds: int,
    seconds: float,
    take_apart: TakeApart = whole_fits,
    warm_up: int = 0,
    on_progress: Callable[[str], None] = lambda _: None,
) -> Costs:
    """Measure a scenario under engines: the first fits, then interleaved rounds of whole fits.

    Args:
        scenario: What to train.
        engines: Under what; `MODEL_FIT` among them.
        place: Where they train.
        rounds: Rounds at most.
        seconds: Time after which no further round starts.
        take_apart: What else to find out about each engine when the rounds are over.
        warm_up: Steps that every engine trains before the rounds, in `MOST_WARM_UPS` fits at most:
            `loop.fit` builds larger programs when enough steps have run to pay for them.
        on_progress: Called with what is being done.

    Raises:
        ScenarioError: `model.fit` cannot train it.
        CandidateError: An engine failed after its first fits.
    """
    first, failed = _begun(scenario, engines, place, on_progress)

    def call(name: str, work: Callable[..., T], *about: Any) -> T:
        try:
            return place.call(name, work, *about)
        except Exception as error:  # an engine may raise anything
            raise CandidateError(f"{scenario.name}: {name} raised {_reason(error)}") from error

    fits = min(MOST_WARM_UPS, -(-warm_up // max(1, first[MODEL_FIT.name].steps)))
    for name in first:
        on_progress(f"{name}: warming up")
        for _ in range(fits):
            call(name, Training.seconds)
    on_progress("whole fits in turn")
    timed = {name: partial(call, name, Training.seconds) for name in first}
    taken = interleaved(timed, rounds, seconds)
    states = {name: call(name, _state) for name in first}
    found = {}
    for name in first:
        on_progress(f"{name}: taken apart")
        cost = call(name, take_apart, first[name], taken[name])
        found[name] = replace(cost, exactness=_class(scenario, name, states))
    again = taken[AGAIN.name] if found.pop(AGAIN.name, None) else []
    return Costs(scenario.name, first[MODEL_FIT.name].steps, found, again, failed)


def measure_cold(scenario: Scenario, engines: Sequence[Engine], place: Place, rounds: int) -> Costs:
    """Measure first fits only: every round has a new model for every engine, tracing included.

    Args:
        scenario: What to train.
        engines: Under what; `MODEL_FIT` among them.
        place: Where they train. In `compare.execution.ladder.OwnProcesses` every first fit is also
            the first of its process.
        rounds: How many rounds.

    Returns:
        The costs. Their `seconds` are those of first fits, `traces` those of the last round.

    Raises:
        ScenarioError: `model.fit` cannot train it.
        CandidateError: An engine cannot train it.
    """
    firsts: dict[str, First] = {}
    states: dict[str, State] = {}

    def first_fit(engine: Engine) -> float:
        begun, failed = _begun(scenario, [engine], place, lambda _: None)
        if failed:
            raise CandidateError(f"{scenario.name}: {engine.name} raised {failed[engine.name]}")
        firsts.update(begun)
        states[engine.name] = place.call(engine.name, _state)
        place.end(engine.name)
        return firsts[engine.name].seconds

    taken = interleaved({engine.name: partial(first_fit, engine) for engine in engines}, rounds)
    found = {
        name: Cost(
            median(seconds),
            seconds,
            traces=firsts[name].traces,
            exactness=_class(scenario, name, states),
        )
        for name, seconds in taken.items()
    }
    return Costs(scenario.name, firsts[MODEL_FIT.name].steps, found)


def _begun(
    scenario: Scenario,
    engines: Sequence[Engine],
    place: Place,
    on_progress: Callable[[str], None],
) -> tuple[dict[str, First], dict[str, str]]:
    """Return the first fits of every engine, and why some engines have none."""
    first: dict[str, First] = {}
    failed: dict[str, str] = {}
    for engine in engines:
        on_progress(f"{engine.name}: first fit")
        try:
            first[engine.name] = place.begin(scenario, engine)
        except Exception as error:  # an engine may raise anything; the table says what
            if engine in (MODEL_FIT, AGAIN):
                what = f"{scenario.name}: {engine.name} raised {_reason(error)}"
                raise ScenarioError(what) from error
            failed[engine.name] = _reason(error)
    return first, failed


def _state(training: Training) -> State:
    return state_of(training.model, training.returned)


def _class(scenario: Scenario, name: str, states: dict[str, State]) -> str:
    """Return the class of an engine; that of `model.fit` says whether it repeats itself."""
    if name == BARE_STEP.name:
        return "-"  # it trains on one batch
    trained = states.get(AGAIN.name, states[name]) if name == MODEL_FIT.name else states[name]
    return class_of(trained, states[MODEL_FIT.name], states.get(JIT.name), scenario.exactness)


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
