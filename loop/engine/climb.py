"""When plan "auto" builds a larger program: as soon as the steps ahead pay for building it.

All exact programs give the same bits, so the choice may change between any two steps. Training
begins with the program that takes the least time to build, a step in a call of its own. These calls
show what a larger program would save; the first of them shows about what it would cost:

    (steps left + steps that ran alone) * seconds saved per step  >  seconds to build

Steps that ran alone count because many fits of few steps deserve a larger program, too, and because
the number of steps left may be unknown.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

from loop.types import Logs, Segment, SegmentResult, Structure


class Larger(NamedTuple):
    """What a larger program costs and saves, compared with a step in a call of its own.

    The figures were measured on 2 cores; docs/costs.md says how.
    """

    build: float
    """Seconds to build it, as a multiple of the first call of a step."""

    around: float
    """The share that it saves of the seconds around a call, in which a batch is drawn."""

    within: float
    """The seconds that it saves within a call."""


STEP = Larger(build=1.0, around=0.5, within=0.0)
"""A step whose batch is drawn in the graph."""

STEPS = Larger(build=2.0, around=1.0, within=250e-6)
"""Many steps."""

EPOCHS = Larger(build=2.5, around=1.0, within=250e-6)
"""Whole epochs, with their validation."""

STEPS_OF_A_BOUNDARY = 10
"""Between two epochs, reading and resetting metrics takes about as long as is saved in 10 steps."""


class SingleSteps:
    """Runs a compiled step in calls of its own, and measures them.

    Attributes:
        ran: The steps that ran alone so far, in all fits.
        first: Seconds of the first call, in which TensorFlow optimizes the graph; None before it.
        around: The least seconds around a later call; None before the second call.
    """

    def __init__(self) -> None:
        self.ran = 0
        self.first: float | None = None
        self.around: float | None = None

    def pays(self, program: Larger, left: float) -> bool:
        """Return whether a larger program pays for itself.

        Args:
            program: The program.
            left: The steps left to run; 0 if unknown.
        """
        return left + self.ran > self.steps_that_pay(program)

    def steps_that_pay(self, program: Larger) -> float:
        """Return from how many steps on a larger program pays; infinity before two steps ran."""
        if self.first is None or self.around is None:
            return float("inf")
        return program.build * self.first / (program.around * self.around + program.within)

    def run(
        self,
        segment: Segment,
        draw: Callable[[int], Structure],
        call: Callable[[Structure], Logs],
        per_execution: int,
        is_over: Callable[[int], bool],
    ) -> SegmentResult:
        """Run the steps of a segment, each in a call of its own, as Keras does.

        Args:
            segment: The steps.
            draw: Returns the argument of `call` for a place of the pass.
            call: Runs a step.
            per_execution: The model's `steps_per_execution`; an execution is not divided.
            is_over: Whether to return control after so many steps; asked after each execution.

        Raises:
            StopIteration, OutOfRangeError: The pass has no more batches.
        """
        _, place, _, count, horizon = segment
        deadline = time.perf_counter() + horizon.seconds
        recorded: list[Logs] = []
        for ran in range(1, count + 1):
            started = time.perf_counter()
            try:
                argument = draw(place + ran - 1)
            except StopIteration:
                if not recorded:
                    raise
                return SegmentResult(count, recorded)  # the last execution may exceed the pass
            called = time.perf_counter()
            logs = call(argument)
            self._measure(started, called)
            recorded = [*recorded, logs] if horizon.record else [logs]
            if ran % per_execution == 0 and (time.perf_counter() > deadline or is_over(ran)):
                break
        return SegmentResult(ran, recorded)

    def _measure(self, started: float, called: float) -> None:
        """Count the step that has just ended; its batch was drawn from `started` to `called`."""
        self.ran += 1
        if self.first is None:
            self.first = time.perf_counter() - called
        else:
            self.around = min(called - started, self.around or float("inf"))
