"""How much of a fit's time is spent in kernels, and in which: the ops that do the mathematics.

What is left is all that surrounds them: Python, the executor that starts an op when its inputs are
ready, the hand-over from thread to thread, waiting for data.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from compare.recording.recorder import empty_folder, steps_taken
from compare.timing.clock import microseconds
from compare.timing.split import FIT, Event, profiled
from compare.timing.training import Training

SURROUNDS = {
    *("While", "StatelessWhile", "If", "StatelessIf", "Case"),
    *("PartitionedCall", "StatefulPartitionedCall"),
    *("IteratorGetNext", "IteratorGetNextAsOptional"),
}
"""Ops that run other ops, or wait for them."""


@dataclass(frozen=True)
class Kernels:
    """The kernels of a warm fit.

    Attributes:
        engine: Who trained.
        steps: Training steps of the fit.
        plain: Seconds of the quickest of three fits without the profiler.
        profiled: Seconds of the quickest of three with it, which `busy` and `ops` belong to.
        busy: Seconds of that fit in which at least one kernel ran, on any thread.
        ops: Seconds by type of op, added up over calls and threads; the longest first.
    """

    engine: str
    steps: int
    plain: float
    profiled: float
    busy: float
    ops: dict[str, float]

    @property
    def outside(self) -> float:
        """The share of the profiled fit in which no kernel ran: column "outside"."""
        return 1 - self.busy / self.profiled

    @property
    def at_once(self) -> float:
        """Kernels that ran at the same time, on average while any ran: column "at once"."""
        return sum(self.ops.values()) / self.busy

    def microseconds(self, seconds: float) -> float:
        """Return microseconds a step."""
        return microseconds([seconds], self.steps)


def kernels(training: Training) -> Kernels:
    """Profile more fits of a training that is warm: the quickest of three, and so without."""
    before = steps_taken(training.model)
    plain = min(training.seconds() for _ in range(3))
    steps = (steps_taken(training.model) - before) // 3
    quickest = min((_profile(training) for _ in range(3)), key=lambda found: found[0])
    return Kernels(training.engine.name, steps, plain, *quickest)


def _profile(training: Training) -> tuple[float, float, dict[str, float]]:
    """Return `profiled`, `busy` and `ops` of one more fit, see `Kernels`."""
    arguments = {"verbose": 0, **training.scenario.data()}
    with empty_folder():
        threads = profiled(lambda: training.engine.fit(training.model, **arguments))
    (whole,) = (event for thread in threads for event in thread if event.name == FIT)
    running = [
        event
        for thread in threads
        for event in thread
        if op_of(event.name) and whole.begin <= event.begin < whole.end
    ]
    return 1e-12 * (whole.end - whole.begin), 1e-12 * covered(running), _by_op(running)


def op_of(name: str) -> str | None:
    """Return the type of the op whose kernel an event is named for; None for other events.

    Args:
        name: As the profiler writes it: `node/name:Type` for a kernel.
    """
    found = re.fullmatch(r"[^: ]+:(\w+)", name)
    return found[1] if found and found[1] not in SURROUNDS else None


def _by_op(events: Iterable[Event]) -> dict[str, float]:
    seconds: dict[str, float] = {}
    for event in events:
        op = op_of(event.name) or ""
        seconds[op] = seconds.get(op, 0) + 1e-12 * (event.end - event.begin)
    return dict(sorted(seconds.items(), key=lambda item: -item[1]))


def covered(events: Iterable[Event]) -> int:
    """Return the picoseconds in which at least one of some events went on."""
    total = reached = 0
    for event in sorted(events):
        total += max(0, event.end - max(event.begin, reached))
        reached = max(reached, event.end)
    return total
