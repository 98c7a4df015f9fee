"""What a scenario costs on every rung of the ladder, each engine in a process of its own.

With models, graphs and memory of their own, engines cannot disturb each other's figures. The
processes are asked in turn: while one works, the others wait.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Self, TypeVar

from compare.execution.workers import Worker, workers
from compare.scenario import Scenario
from compare.timing.apart import in_full
from compare.timing.costs import Costs
from compare.timing.device import use
from compare.timing.engines import AGAIN, EAGER, LADDER, MODEL_FIT, Engine
from compare.timing.growth import grown, scaling
from compare.timing.measure import measure
from compare.timing.memory import peak_memory
from compare.timing.training import First, Training, first_fits, new_training

T = TypeVar("T")

ROUNDS = 9
SECONDS = 20


class OwnProcesses:
    """Every engine trains in a process of its own, which has trained nothing before it begins.

    Attributes:
        together: How many processes to start at once, when none is left: while they import
            TensorFlow, nothing is timed.
        device: "cpu" or "gpu".
    """

    def __init__(self, together: int, device: str = "cpu") -> None:
        self.together, self.device = together, device
        self._fresh: list[Worker] = []
        self._workers: dict[str, Worker] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End all processes."""
        for worker in (*self._fresh, *self._workers.values()):
            worker.close()

    def begin(self, scenario: Scenario, engine: Engine) -> First:
        """Build a new model in a new process, and train it twice."""
        if not self._fresh:
            self._fresh = workers(self.together)
        worker = self._workers[engine.name] = self._fresh.pop()
        return worker.ask(_begin, scenario, engine, self.device)

    def call(self, engine: str, work: Callable[..., T], *about: Any) -> T:
        """Call `work(training, *about)` in the engine's process."""
        return self._workers[engine].ask(_call, work, *about)

    def end(self, engine: str) -> None:
        """End the engine's process."""
        self._workers.pop(engine).close()


def costs(
    scenario: Scenario,
    another: Engine | None = None,
    *,
    device: str = "cpu",
    on_progress: Callable[[str], None] = lambda _: None,
) -> Costs:
    """Measure a scenario under every rung of the ladder and one more engine.

    Args:
        scenario: What to train.
        another: One more engine; it takes the place of a rung of its name.
        device: "cpu" or "gpu".
        on_progress: Called with what is being done.

    Raises:
        ScenarioError: `model.fit` cannot train it.
        CandidateError: An engine failed after its first fits.
    """
    by_name = {engine.name: engine for engine in LADDER}
    engines = [*(by_name | ({another.name: another} if another else {})).values(), AGAIN]
    with OwnProcesses(len(engines), device) as place:
        found = measure(
            scenario,
            engines,
            place,
            rounds=ROUNDS,
            seconds=SECONDS,
            take_apart=in_full,
            on_progress=on_progress,
        )
        names = [name for name in found.engines if name != EAGER.name]  # grows as model.fit does
        names.sort(key=lambda name: name != MODEL_FIT.name)
        by_size = scaling(names, lambda name, size: place.call(name, grown, size), on_progress)
        return replace(found, scaling=by_size)


def peak_memory_of(scenario: Scenario, engine: Engine, device: str = "cpu") -> int | None:
    """Return the peak memory, in bytes, of a new process that trains a scenario once."""
    (worker,) = workers(1)
    try:
        return worker.ask(_peak_of_one_fit, scenario, engine, device)
    finally:
        worker.close()


def _peak_of_one_fit(scenario: Scenario, engine: Engine, device: str) -> int | None:
    use(device)
    new_training(scenario, engine).seconds()
    return peak_memory()


_here: list[Training] = []  # in a worker: what it trains


def _begin(scenario: Scenario, engine: Engine, device: str) -> First:
    use(device)
    _here[:] = [new_training(scenario, engine)]
    return first_fits(_here[0])


def _call(work: Callable[..., T], *about: Any) -> T:
    return work(_here[0], *about)
