"""What a scenario costs under every engine: one record for `throughput --detail` and for bench."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from compare.timing.clock import Ratio, microseconds, ratio
from compare.timing.engines import BARE_STEP, MODEL_FIT
from compare.timing.growth import Scaling


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


def median_and_lowest(measured: Sequence[Costs], engine: str) -> tuple[float, Costs]:
    """Return the median of an engine's speeds over scenarios, and the scenario of the lowest one.

    Args:
        measured: At least one scenario that the engine trained.
        engine: The name of the engine.
    """
    lowest = min(measured, key=lambda found: found.speed(engine).median)
    return median(found.speed(engine).median for found in measured), lowest
