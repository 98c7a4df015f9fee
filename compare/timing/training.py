"""One new model that an engine trains: seconds of a fit, of the first fit, traces and steps."""

import contextlib
import functools
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from unittest import mock

import keras

from compare.recording.recorder import empty_folder, steps_taken, wait_for_device
from compare.scenario import Fit, FitArguments, Scenario
from compare.timing.engines import Engine
from compare.timing.resize import AS_IT_IS, Size, resized, wider


def seconds_of(fit: Fit, model: keras.Model, arguments: FitArguments) -> float:
    """Return the seconds of one fit, see `timed`."""
    return timed(fit, model, arguments)[0]


def timed(fit: Fit, model: keras.Model, arguments: FitArguments) -> tuple[float, Any]:
    """Time one fit, until the device is done.

    The fit runs in an empty folder, at `verbose=0` unless `arguments` say otherwise. Where it has
    a progress bar, standard output and standard error go to the null device.

    Args:
        fit: Called as `fit(model, **arguments)`; need not train: `keras.Model.predict` will do.
        model: The model.
        arguments: The arguments.

    Returns:
        Seconds, and what `fit` returned.
    """
    arguments = {"verbose": 0, **arguments}
    with empty_folder(), _silence(arguments["verbose"] != 0):
        begun = time.perf_counter()
        returned = fit(model, **arguments)
        wait_for_device(model)
        return time.perf_counter() - begun, returned


@contextlib.contextmanager
def _silence(bars: bool) -> Iterator[None]:
    """Send what is printed to the null device; with `bars`, standard error too."""
    with contextlib.ExitStack() as stack:
        null = stack.enter_context(open(os.devnull, "w"))
        stack.enter_context(contextlib.redirect_stdout(null))
        if bars:
            stack.enter_context(contextlib.redirect_stderr(null))
        yield


@dataclass
class Training:
    """A model, and the engine that trains it in this process.

    Attributes:
        scenario: What is trained.
        engine: How.
        model: The model; each fit goes on where the last one ended.
        returned: What the last call of `seconds` returned.
    """

    scenario: Scenario
    engine: Engine
    model: keras.Model
    returned: Any = None

    def seconds(self, size: Size = AS_IT_IS) -> float:
        """Return the seconds of one more fit; making its data is off the clock.

        Raises:
            FixedSizeError: The training cannot be resized.
        """
        arguments = resized(self.scenario.data(), size)
        taken, self.returned = timed(self.engine.fit, self.model, arguments)
        return taken

    def quickest(self, size: Size) -> tuple[float, int]:
        """Return seconds of the quickest of three fits after one more, and the steps of a fit.

        The quickest, because whatever disturbs a fit makes it longer.

        Raises:
            FixedSizeError: The training cannot be resized.
        """
        before = steps_taken(self.model)
        self.seconds(size)
        steps = steps_taken(self.model) - before
        return min(self.seconds(size) for _ in range(3)), steps

    def wider(self, factor: float) -> "Training":
        """Return the training of a new model whose layers have `factor` times the units.

        Raises:
            FixedSizeError: Its layers cannot be made wider.
        """
        model = wider(self.engine.build(self.scenario), factor)
        return Training(self.scenario, self.engine, model)


def new_training(scenario: Scenario, engine: Engine) -> Training:
    """Build a new model for an engine.

    Raises:
        ScenarioError: It cannot be built.
    """
    return Training(scenario, engine, engine.build(scenario))


@dataclass(frozen=True)
class First:
    """The first fits of a new model.

    Attributes:
        seconds: Seconds of the first fit: column "first s". Traced, compiled and trained.
        traces: How often Python ran the model's `call` in the first two fits: column "traces".
            A graph runs it once, when it is traced; an eager step every time.
        steps: Training steps in a fit, as the optimizer counts them.
    """

    seconds: float
    traces: int
    steps: int


def first_fits(training: Training) -> First:
    """Train a new model twice; the third fit is the first warm one."""
    traces: list[None] = []
    call = training.model.call

    @functools.wraps(call)
    def counted(*inputs: Any, **more: Any) -> Any:
        traces.append(None)
        return call(*inputs, **more)

    with mock.patch.object(training.model, "call", counted):
        seconds = training.seconds()
        before = steps_taken(training.model)
        training.seconds()
    return First(seconds, len(traces), steps_taken(training.model) - before)
