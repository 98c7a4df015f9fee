"""How fast calls of many steps run: a call must return while somebody still waits for it."""

import time

import tensorflow as tf

from loop.types import Logs


class Pace:
    """How long a step takes in calls of many."""

    def __init__(self) -> None:
        self.seconds_per_step: float | None = None
        self._is_warm = False

    @property
    def is_quick(self) -> bool:
        """Whether a step takes so little that calling it is what costs."""
        return self.seconds_per_step is not None and self.seconds_per_step < 0.01

    def steps_within(self, seconds: float) -> int:
        """About how many steps take so long, at least one."""
        return max(1, int(seconds / self.seconds_per_step)) if self.seconds_per_step else 1

    def measure(self, steps: int, started: float, logs: Logs) -> None:
        """Notes the time since `started`, a reading of `time.perf_counter`.

        The first call compiles as well, and tells nothing.
        """
        for value in tf.nest.flatten(logs)[:1]:
            value.numpy()  # waits for the device: once a call, not once a step
        if self._is_warm:
            self.seconds_per_step = (time.perf_counter() - started) / steps
        self._is_warm = True
