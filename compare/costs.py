"""Where the time of a fit goes, engine by engine, and how a step's time grows.

Each engine has a process of its own, with its own models, graphs and memory; the processes are
asked in turn, and while one works the others wait.
"""

import dataclasses
import itertools
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import keras

import loop
from compare.engine import Cost, Engine, First, again, begin, grown, taken_apart
from compare.errors import CandidateError, ScenarioError
from compare.execution.workers import Worker, workers
from compare.resized import Size
from compare.scenario import Scenario
from compare.timing import Ratio, interleaved, ratio

T = TypeVar("T")

ROUNDS = 9

CANDIDATE = "candidate"
"""How tables call a loop of the user's."""

KERAS = Engine("model.fit", keras.Model.fit)
LADDER = (
    Engine("model.fit, eager", keras.Model.fit, eagerly=True),
    KERAS,
    Engine("step", partial(loop.fit, plan="step")),
    Engine("auto", partial(loop.fit, plan="auto")),
    Engine("xla", partial(loop.fit, plan="xla")),
)
"""From one op at a time to one call for all: what each rung saves."""


@dataclass(frozen=True)
class Costs:
    """What a scenario takes under every engine.

    Attributes:
        scenario: Its name.
        steps: Training steps in a fit.
        engines: What each one takes, by name.
        again: Seconds of warm fits of Keras in a second process: how far it is from itself.
        failed: Why an engine has no figures, by name.
        scaling: Microseconds a step, by what grows ("batch", "steps", "width"), engine and factor.
    """

    scenario: str
    steps: int
    engines: dict[str, Cost]
    again: list[float]
    failed: dict[str, str] = field(default_factory=dict)
    scaling: dict[str, dict[str, dict[float, float]]] = field(default_factory=dict)

    def speed(self, engine: str) -> Ratio:
        """How many times as fast as `model.fit` an engine is."""
        return ratio(self.engines[KERAS.name].seconds, self.engines[engine].seconds)

    @property
    def noise(self) -> Ratio:
        """Keras against itself."""
        return ratio(self.engines[KERAS.name].seconds, self.again)

    def shown(self, engine: str) -> tuple[str, str]:
        """The speed and its interval; where it is within the noise, the noise and no ratio."""
        speed = self.speed(engine)
        if engine != KERAS.name and speed.is_within(self.noise):
            return "noise", self.noise.interval
        return speed.speed, speed.interval

    def in_words(self, engine: str) -> str:
        """How fast an engine is, in a sentence."""
        if engine in self.failed:
            return f"{self.scenario}: {engine} failed"
        speed, interval = self.shown(engine)
        if speed == "noise":
            return f"{self.scenario}: {engine} cannot be told from model.fit ({interval} is noise)"
        return f"{self.scenario}: {engine} is {speed} ({interval}) as fast as model.fit"

    def microseconds(self, engine: str) -> float:
        """Microseconds a step, with its share of everything else."""
        return 1e6 * statistics.median(self.engines[engine].seconds) / max(self.steps, 1)


@dataclass(frozen=True)
class _Homes:
    """The process of each engine."""

    scenario: Scenario
    workers: dict[str, Worker]

    def ask(self, name: str, work: Callable[..., T], *about: Any) -> T:
        """Has a function called in the process of an engine.

        Raises:
            CandidateError: It raised, or the process ended.
        """
        try:
            return self.workers[name].ask(work, *about)
        except Exception as error:  # an engine may raise anything
            what = f"{type(error).__name__}: {error}".splitlines()[0]
            raise CandidateError(f"{self.scenario.name}: {name} raised {what}") from None


def costs(
    scenario: Scenario,
    another: Engine | None = None,
    *,
    device: str = "cpu",
    on_progress: Callable[[str], None] = lambda _: None,
) -> Costs:
    """Takes a scenario's fits apart, under every rung of the ladder and another engine.

    Args:
        scenario: What to train; each engine does so in a process of its own.
        another: One more engine, where the ladder has none of its name.
        device: "cpu" or "gpu".
        on_progress: Told what is being done.

    Raises:
        ScenarioError: model.fit cannot train it.
        CandidateError: An engine failed after its first fit.
    """
    twin = dataclasses.replace(KERAS, name="model.fit again")
    engines = {one.name: one for one in (*LADDER, *([another] if another else []), twin)}
    homes = _Homes(scenario, dict(zip(engines, workers(len(engines)), strict=True)))
    try:
        first, failed = _first_fits(homes, engines, device, on_progress)
        on_progress("whole fits in turn")
        timed = {name: partial(homes.ask, name, again) for name in first}
        seconds = interleaved(timed, ROUNDS, 20)
        found = {}
        for name in first:
            on_progress(f"{name}: taken apart")
            found[name] = homes.ask(name, taken_apart, first[name], seconds[name])
        found.pop(twin.name)
        scaling = _scaling(homes, list(found), on_progress)
    finally:
        for worker in homes.workers.values():
            worker.close()
    steps = first[KERAS.name].steps
    return Costs(scenario.name, steps, found, seconds[twin.name], failed, scaling)


def _first_fits(
    homes: _Homes, engines: dict[str, Engine], device: str, on_progress: Callable[[str], None]
) -> tuple[dict[str, First], dict[str, str]]:
    """The first fit of each engine, and why some of them have none."""
    first: dict[str, First] = {}
    failed: dict[str, str] = {}
    for name, engine in engines.items():
        on_progress(f"{name}: first fit")
        try:
            first[name] = homes.ask(name, begin, homes.scenario, engine, device)
        except CandidateError as error:
            if engine.fit is KERAS.fit and not engine.eagerly:
                raise ScenarioError(str(error)) from None
            failed[name] = str(error)
    return first, failed


GROWS = {"batch": "samples in a batch", "steps": "steps in an epoch", "width": "units in a layer"}
"""What grows."""

FACTORS = (1, 4, 16)
"""By how much."""


def _scaling(
    homes: _Homes, names: list[str], on_progress: Callable[[str], None]
) -> dict[str, dict[str, dict[float, float]]]:
    """Microseconds a step, by what grows, engine and factor; by the steps that Keras takes."""
    found: dict[str, dict[str, dict[float, float]]] = {}
    names.sort(key=lambda name: name != KERAS.name)
    names = [name for name in names if "eager" not in name]  # grows as the others, an op at a time
    for what, factor in itertools.product(GROWS, FACTORS):
        steps = 0
        for name in names:
            on_progress(f"{name}: {factor} times the {GROWS[what]}")
            if grew := homes.ask(name, grown, Size(**{what: factor}, epochs=2)):
                steps = steps or max(grew[1], 1)
                by_engine = found.setdefault(what, {})
                by_engine.setdefault(name, {})[factor] = 1e6 * grew[0] / steps
    return found
