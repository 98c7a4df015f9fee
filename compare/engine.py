"""One engine in a process of its own: its first fit, one more, and what a fit is made of."""

import contextlib
import functools
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import keras
import tensorflow as tf

from compare.recording.recorder import empty_folder, prepare, steps_taken
from compare.resized import FixedSizeError, Size, resized, wider
from compare.scenario import Fit, Scenario
from compare.split import shares
from compare.throughput import seconds_of


@dataclass(frozen=True)
class Engine:
    """A way to train.

    Attributes:
        name: How tables call it.
        fit: Called as `fit(model, **arguments)`; importable.
        eagerly: Whether the model runs without graphs.
    """

    name: str
    fit: Fit
    eagerly: bool = False


@dataclass(frozen=True)
class Cost:
    """What one engine takes.

    Attributes:
        first: Seconds of the first fit of a new model: traced, compiled and trained.
        seconds: Seconds of whole warm fits, a sample a round.
        per_epoch: Seconds an epoch takes beside its steps; None where it was not told apart.
        per_step: Seconds a step takes; None likewise.
        shares: Which share of a warm fit goes to each of `compare.split.PARTS`.
        peak: The most memory that the process held, in bytes; None where nobody says.
        traces: How often Python ran the model in the first two fits.
    """

    first: float
    seconds: list[float]
    per_epoch: float | None
    per_step: float | None
    shares: dict[str, float]
    peak: int | None
    traces: int


@dataclass(frozen=True)
class First:
    """The first fit of a new model: seconds, traces of it and of the next, steps of one."""

    seconds: float
    traces: int
    steps: int


@dataclass
class _Here:
    """What this process trains."""

    scenario: Scenario
    engine: Engine
    model: keras.Model


_here: list[_Here] = []


def begin(scenario: Scenario, engine: Engine, device: str) -> First:
    """The first two fits of a new model."""
    if device == "cpu":
        tf.config.set_visible_devices([], "GPU")
    model = _new(scenario, engine)
    _here[:] = [_Here(scenario, engine, model)]
    traces: list[None] = []
    call = model.call

    @functools.wraps(call)
    def counted(*inputs: Any, **more: Any) -> Any:
        traces.append(None)
        return call(*inputs, **more)

    with mock.patch.object(model, "call", counted):
        first = again()
        steps = _steps(AS_IT_IS, model)
    return First(first, len(traces), steps)


def _new(scenario: Scenario, engine: Engine) -> keras.Model:
    model = prepare(scenario)[0]
    if engine.eagerly:
        model.run_eagerly = True
    return model


AS_IT_IS = Size()


def again(size: Size = AS_IT_IS, model: keras.Model | None = None) -> float:
    """Seconds of one more fit; making the data is off the clock."""
    here = _here[0]
    arguments = resized(here.scenario.data(), size)
    with contextlib.redirect_stdout(io.StringIO()):
        return seconds_of(here.engine.fit, model or here.model, arguments)


def taken_apart(first: First, seconds: list[float]) -> Cost:
    """What this engine takes, with the seconds of its rounds."""
    here = _here[0]
    peak = _peak()  # of whole fits: what follows trains more at once than anybody asked for
    # An eager step takes so long that nothing else counts: its whole fits tell enough.
    told_apart = (None, None) if here.engine.eagerly else _per_epoch_and_step(here.model)
    arguments = {"verbose": 0, **here.scenario.data()}
    with empty_folder(), contextlib.redirect_stdout(io.StringIO()):
        parts = shares(lambda: here.engine.fit(here.model, **arguments))
    return Cost(first.seconds, seconds, *told_apart, parts, peak, first.traces)


def _per_epoch_and_step(model: keras.Model) -> tuple[float | None, float | None]:
    """From fits of one and of three epochs, and of four times the steps; None within the noise."""
    try:
        once, thrice, longer = (
            _least(size, model) for size in (Size(epochs=1), Size(epochs=3), Size(4, epochs=3))
        )
    except FixedSizeError:
        return None, None
    steps, more = _steps(Size(epochs=3), model), _steps(Size(4, epochs=3), model)
    if more == steps:  # a loop that does not count them
        return None, None
    per_step = (longer - thrice) / (more - steps)
    per_epoch = (thrice - once) / 2 - steps / 3 * per_step
    return per_epoch if per_epoch > 0 else None, per_step if per_step > 0 else None


def _least(size: Size, model: keras.Model) -> float:
    """The quickest of three fits, after one more: whatever disturbs a fit makes it longer."""
    again(size, model)
    return min(again(size, model) for _ in range(3))


def _steps(size: Size, model: keras.Model) -> int:
    before = steps_taken(model)
    again(size, model)
    return steps_taken(model) - before


def grown(size: Size) -> tuple[float, int] | None:
    """Seconds and steps of a fit of another size; None where the training has but one size."""
    try:
        model = wider(_new(_here[0].scenario, _here[0].engine), size.width)
        return _least(size, model), _steps(size, model)
    except FixedSizeError:
        return None


def _peak() -> int | None:
    """The most memory this process held; Linux alone says so for the process itself."""
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return 1024 * int(found[1]) if found else None
