"""Where the time of a fit goes, engine by engine, and how a step's time grows.

Each engine has a process of its own, with its own models, graphs and memory; the processes are
asked in turn, and while one works the others wait.
"""

import dataclasses
import statistics
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import keras

import loop
from compare.engine import Cost, Engine, First, again, begin, grown, taken_apart
from compare.outcome import ScenarioError
from compare.resized import Size
from compare.runner import workers
from compare.scenario import Fit, Scenario
from compare.timing import Ratio, interleaved, ratio

ROUNDS = 9


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

    def microseconds(self, engine: str) -> float:
        """Microseconds a step, with its share of everything else."""
        return 1e6 * statistics.median(self.engines[engine].seconds) / max(self.steps, 1)


def costs(
    scenario: Scenario,
    candidate: Fit | None = None,
    *,
    device: str = "cpu",
    on_progress: Callable[[str], None] = lambda _: None,
) -> Costs:
    """Takes a scenario's fits apart, under every rung of the ladder and a candidate.

    Args:
        scenario: What to train; importable, as each engine has a process of its own.
        candidate: One more engine, called as `candidate(model, **fit_arguments)`.
        device: "cpu" or "gpu".
        on_progress: Told what is being done.

    Raises:
        ScenarioError: model.fit cannot train it.
    """
    twin = dataclasses.replace(KERAS, name="model.fit again")
    engines = [*LADDER, *([Engine("candidate", candidate)] if candidate else []), twin]
    homes = dict(zip((one.name for one in engines), workers(len(engines)), strict=True))
    first: dict[str, First] = {}
    failed: dict[str, str] = {}
    try:
        for engine in engines:
            on_progress(f"{engine.name}: first fit")
            try:
                first[engine.name] = (
                    homes[engine.name].submit(begin, scenario, engine, device).result()
                )
            except Exception as error:  # an engine may raise anything; the table says what
                failed[engine.name] = f"{type(error).__name__}: {error}".splitlines()[0]
        for needed in (KERAS, twin):
            if needed.name in failed:
                why = failed[needed.name]
                raise ScenarioError(f"{scenario.name}: the reference raised {why}")
        on_progress("whole fits in turn")
        seconds = interleaved({name: partial(_asked, homes[name]) for name in first}, ROUNDS, 20)
        found = {}
        for name in first:
            on_progress(f"{name}: taken apart")
            found[name] = homes[name].submit(taken_apart, first[name], seconds[name]).result()
        scaling = _scaling({name: homes[name] for name in first if name != twin.name}, on_progress)
    finally:
        for home in homes.values():
            home.shutdown()
    found.pop(twin.name)
    steps = first[KERAS.name].steps
    return Costs(scenario.name, steps, found, seconds[twin.name], failed, scaling)


GROWS = {"batch": "samples in a batch", "steps": "steps in an epoch", "width": "units in a layer"}
"""What grows."""

FACTORS = (1, 4, 16)
"""By how much."""


def _scaling(
    homes: dict[str, ProcessPoolExecutor], on_progress: Callable[[str], None]
) -> dict[str, dict[str, dict[float, float]]]:
    found: dict[str, dict[str, dict[float, float]]] = {}
    for what in GROWS:
        for name, home in homes.items():
            if "eager" in name:  # its steps grow as those of the others, an op at a time
                continue
            on_progress(f"{name}: {what}")
            for factor in FACTORS:
                micro = home.submit(grown, Size(**{what: factor}, epochs=2)).result()
                if micro is not None:
                    found.setdefault(what, {}).setdefault(name, {})[factor] = micro
    return found


def _asked(home: ProcessPoolExecutor) -> float:
    return home.submit(again).result()
