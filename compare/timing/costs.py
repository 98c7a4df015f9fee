"""What a scenario costs under every engine: one record for `throughput --detail` and for bench."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from statistics import median
from typing import Any, Protocol, TypeVar

from compare.errors import CandidateError, ScenarioError
from compare.recording.recorder import empty_folder
from compare.scenario import Scenario
from compare.timing.clock import Ratio, interleaved, microseconds, ratio
from compare.timing.closeness import State, class_of, state_of
from compare.timing.engines import AGAIN, BARE_STEP, EAGER, JIT, MODEL_FIT, Engine
from compare.timing.growth import Scaling
from compare.timing.memory import peak_memory
from compare.timing.resize import FixedSizeError, Size
from compare.timing.split import shares
from compare.timing.training import First, Training, first_fits, new_training

T = TypeVar("T")

LONG_EPOCH = 50
"""Steps in an epoch from which on the short fits of `per_epoch_and_step` have a quarter of them."""


@dataclass(frozen=True)
class Cost:
    """What one engine takes.

    Attributes:
        first: Seconds of the first fit of a new model, see `First`: column "first s".
        seconds: Seconds of whole warm fits, a value for each round.
        per_epoch: Seconds an epoch takes beside its steps, see `per_epoch_and_step`: column
            "epoch ms". None where it was not measured or is within the noise.
        per_step: Seconds a step takes: column "step us". None likewise.
        shares: The share of each of `compare.timing.split.PARTS` in a warm fit; empty where no
            profile was taken.
        peak: The most memory that the engine's own process held, in bytes: column "MiB". None
            where engines share a process.
        traces: See `First`: column "traces".
        exactness: See `class_of`: column "class".
    """

    first: float
    seconds: list[float]
    per_epoch: float | None = None
    per_step: float | None = None
    shares: dict[str, float] = field(default_factory=dict)
    peak: int | None = None
    traces: int = 0
    exactness: str = "-"


@dataclass(frozen=True)
class Costs:
    """What a scenario takes under every engine.

    Attributes:
        scenario: Its name.
        steps: Training steps in a fit.
        engines: What each engine takes, by its name.
        again: Seconds of warm fits of `model.fit` a second time, in the same rounds; may be empty.
        failed: Why an engine has no figures, by its name.
        scaling: Microseconds a step, by what grows ("batch", "steps", "width"), engine and factor.
    """

    scenario: str
    steps: int
    engines: dict[str, Cost]
    again: list[float] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    scaling: Scaling = field(default_factory=dict)

    def speed(self, engine: str, reference: str = MODEL_FIT.name) -> Ratio:
        """Return how many times as fast as `model.fit`, or another reference, an engine is."""
        return ratio(self.engines[reference].seconds, self.engines[engine].seconds)

    @property
    def noise(self) -> Ratio | None:
        """`model.fit` against itself; None where it was timed once a round."""
        return ratio(self.engines[MODEL_FIT.name].seconds, self.again) if self.again else None

    def shown(self, engine: str) -> tuple[str, str]:
        """Return the columns "speed" and "95%", see `Ratio.cells`."""
        return self.speed(engine).cells(self.noise if engine != MODEL_FIT.name else None)

    def in_words(self, engine: str) -> str:
        """Return a sentence that says how fast an engine is."""
        if engine in self.failed:
            return f"{self.scenario}: {engine} failed"
        speed, interval = self.shown(engine)
        if speed == "noise":
            return f"{self.scenario}: {engine} cannot be told from model.fit ({interval} is noise)"
        return f"{self.scenario}: {engine} is {speed} ({interval}) as fast as model.fit"

    def microseconds(self, engine: str) -> float:
        """Return the column "us/step": microseconds a step of whole warm fits."""
        return microseconds(self.engines[engine].seconds, self.steps)

    def over_bare_step(self, engine: str) -> float | None:
        """Return the column "x bare": "step us" of an engine divided by that of the bare step."""
        bare = self.engines.get(BARE_STEP.name)
        ours = self.engines[engine].per_step
        return ours / bare.per_step if ours and bare and bare.per_step else None


class Place(Protocol):
    """Where engines train: all in this process, or each in a process of its own."""

    def begin(self, scenario: Scenario, engine: Engine) -> First:
        """Build a new model for an engine, and train it twice."""

    def call(self, engine: str, work: Callable[..., T], *about: Any) -> T:
        """Call `work(training, *about)` where the named engine trains."""


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


TakeApart = Callable[[Training, First, list[float]], Cost]
"""Makes the record of an engine from its training, its first fits and the seconds of its rounds."""


def whole_fits(_: Training, first: First, seconds: list[float]) -> Cost:
    """Return the times of whole fits, the first and the warm ones, and the number of traces."""
    return Cost(first.seconds, seconds, traces=first.traces)


def with_epoch_and_step(training: Training, first: First, seconds: list[float]) -> Cost:
    """Return the times of whole fits, of an epoch and of a step."""
    per_epoch, per_step = _epoch_and_step_of(training, first)
    return Cost(first.seconds, seconds, per_epoch, per_step, traces=first.traces)


def in_full(training: Training, first: First, seconds: list[float]) -> Cost:
    """Return all of it: times, the memory of this process, and where the time of a fit goes."""
    peak = peak_memory()  # of whole fits: what follows trains longer epochs than the scenario has
    per_epoch, per_step = _epoch_and_step_of(training, first)
    arguments = {"verbose": 0, **training.scenario.data()}
    with empty_folder():
        parts = shares(lambda: training.engine.fit(training.model, **arguments))
    return Cost(first.seconds, seconds, per_epoch, per_step, parts, peak, first.traces)


def _epoch_and_step_of(training: Training, first: First) -> tuple[float | None, float | None]:
    """Return seconds per epoch and per step; (None, None) for an eager model."""
    if training.engine.name == EAGER.name:
        return None, None  # its steps take so long that "us/step" is all there is to know
    epochs = int(training.scenario.data().get("epochs", 1))
    long = first.steps / epochs >= LONG_EPOCH
    return per_epoch_and_step(training.quickest, shorter=1 / 4 if long else 1)


def per_epoch_and_step(
    quickest: Callable[[Size], tuple[float, int]], shorter: float = 1
) -> tuple[float | None, float | None]:
    """Return the seconds per epoch and per step, solved from the times of fits of three lengths.

    With T(e, n) the seconds of a fit of e epochs and n steps in all, m the steps of the short
    epoch and M = 4 m:

        per step  = (T(3, 3 M) - T(3, 3 m)) / (3 M - 3 m)
        per epoch = (T(3, 3 m) - T(1, m)) / 2 - m * per step

    Args:
        quickest: Returns seconds and steps of a fit of a size, see `Training.quickest`.
        shorter: The length of the short epoch, in epochs of the scenario.

    Returns:
        Seconds an epoch takes beside its steps, and seconds a step takes. None in place of a
        figure that is not positive, so within the noise; both None where the training cannot be
        resized, or counts no steps.
    """
    try:
        once, _ = quickest(Size(shorter, epochs=1))
        thrice, steps = quickest(Size(shorter, epochs=3))
        longer, more = quickest(Size(4 * shorter, epochs=3))
    except FixedSizeError:
        return None, None
    if more == steps:
        return None, None
    per_step = (longer - thrice) / (more - steps)
    per_epoch = (thrice - once) / 2 - steps / 3 * per_step
    return per_epoch if per_epoch > 0 else None, per_step if per_step > 0 else None


def measure(
    scenario: Scenario,
    engines: Sequence[Engine],
    place: Place,
    *,
    rounds: int,
    seconds: float,
    take_apart: TakeApart = whole_fits,
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


def measure_cold(scenario: Scenario, engines: Sequence[Engine], rounds: int) -> Costs:
    """Measure first fits only: every round has a new model for every engine, tracing included.

    Args:
        scenario: What to train.
        engines: Under what; `MODEL_FIT` among them.
        rounds: How many rounds.
    """
    states: dict[str, State] = {}

    def first_fit(engine: Engine) -> float:
        training = new_training(scenario, engine)
        taken = training.seconds()
        states[engine.name] = _state(training)
        return taken

    taken = interleaved({engine.name: partial(first_fit, engine) for engine in engines}, rounds)
    found = {
        name: Cost(median(seconds), seconds, exactness=_class(scenario, name, states))
        for name, seconds in taken.items()
    }
    return Costs(scenario.name, states[MODEL_FIT.name].steps, found)


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
    return state_of(training.model)


def _class(scenario: Scenario, name: str, states: dict[str, State]) -> str:
    """Return the class of an engine; that of `model.fit` says whether it repeats itself."""
    if name == BARE_STEP.name:
        return "-"  # it trains on one batch
    trained = states.get(AGAIN.name, states[name]) if name == MODEL_FIT.name else states[name]
    return class_of(trained, states[MODEL_FIT.name], states.get(JIT.name), scenario.exactness)


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
