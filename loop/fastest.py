"""Plan `fastest`: a few steps of this very model on the clock, and the quickest way wins.

The steps run on the model itself, whose state is put back bit by bit: training is not disturbed.
What was measured is kept as long as the graphs are.
"""

import time
from typing import NamedTuple

import tensorflow as tf

from loop.compiled import kept
from loop.fused import WAYS, Fused, built_in

SECONDS = 0.1
"""On the clock, for each way and reading."""

READINGS = 3


class Measured(NamedTuple):
    """What `fastest` has measured.

    Attributes:
        way: The winner, one of `loop.fused.WAYS`.
        seconds: Seconds per step, by way.
        left_out: Why a way was not tried, or failed, by way.
    """

    way: str
    seconds: dict[str, float]
    left_out: dict[str, str]

    def __str__(self) -> str:
        times = [f"{way} {1e6 * seconds:,.1f} us" for way, seconds in self.seconds.items()]
        others = [f"{way}: {reason}" for way, reason in self.left_out.items()]
        return f"{self.way} (a step: {', '.join(times)}){'; '.join(['', *others])}"


def fastest_way(fused: Fused) -> str:
    """The way in which steps of this model run fastest, measured where nobody knows it yet."""
    return measured(fused).way


def measured(fused: Fused) -> Measured:
    """What was measured for these steps; measures where nothing was."""
    graphs = fused.graphs

    def make() -> Measured:
        found = _measure(fused)
        fused.say(f"fastest for {graphs.kind.function}: {found}")
        return found

    return kept(graphs.owner, ("fastest", graphs.compiled().on_batch), make)


def _measure(fused: Fused) -> Measured:
    ways, left_out = fused.ways()
    if built_in(fused.source) is None:
        reason = "measuring would draw from the dataset"
        return Measured(WAYS[0], {}, {**left_out, **dict.fromkeys(WAYS[1:], reason)})
    if len(ways) == 1:
        return Measured(ways[0], {}, left_out)
    variables = fused.graphs.compiled().on_batch.variables
    before = [variable.numpy() for variable in variables]
    seconds: dict[str, float] = {}
    for way in ways:
        try:
            seconds[way] = _seconds_per_step(fused, way)
        except (tf.errors.OpError, ValueError, NotImplementedError) as error:
            # XLA does not know every op: such a way cannot win, and its failing is what is said.
            left_out[way] = str(error).splitlines()[0]
        finally:
            for variable, value in zip(variables, before, strict=True):
                variable.assign(value)
    quickest = min(seconds, key=lambda way: seconds[way], default=WAYS[0])
    return Measured(quickest, seconds, left_out)


def _seconds_per_step(fused: Fused, way: str) -> float:
    """The quickest of some readings: whatever disturbs a reading makes it longer."""
    program = fused.program(way)
    inputs, batches = fused.source.new_pass().inputs, fused.source.num_batches or 1

    def seconds(steps: int) -> float:
        started = time.perf_counter()
        logs, _ = program(inputs, tf.constant(0, tf.int64), tf.constant(steps, tf.int64))
        for log in logs.values():
            log.numpy()  # waits for the device
        return (time.perf_counter() - started) / steps

    seconds(1)  # compiles
    steps = max(1, min(batches, int(SECONDS / seconds(min(batches, 3)))))
    return min(seconds(steps) for _ in range(READINGS))
