"""One workload under several engines, as `python -m bench` shows it."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from bench.engines import Fit, ready, seconds_of
from bench.workloads import Workload
from compare.timing import Ratio, interleaved, ratio


@dataclass
class Result:
    """What one workload took.

    Attributes:
        workload: Which.
        seconds: Seconds of a whole warm fit, a sample a round, by engine.
        first: Seconds of the first fit of a new model, by engine.
        classes: What the bits came to in the very fits that were timed, by engine.
        costs: Seconds per epoch and per step, by engine, where they were told apart.
        traces: How often Python ran the model to trace it, by engine.
        failed: Why an engine has no figures, by engine.
    """

    workload: Workload
    seconds: dict[str, list[float]] = field(default_factory=dict)
    first: dict[str, float] = field(default_factory=dict)
    classes: dict[str, str] = field(default_factory=dict)
    costs: dict[str, tuple[float, float]] = field(default_factory=dict)
    traces: dict[str, int] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        """Training steps in one fit."""
        return self.workload.steps * self.workload.epochs

    def ratio(self, engine: str) -> Ratio:
        """How many times as fast as `model.fit` an engine was."""
        return ratio(self.seconds["keras"], self.seconds[engine])

    def microseconds(self, engine: str) -> float:
        """Microseconds a step, with its share of everything else."""
        return 1e6 * statistics.median(self.seconds[engine]) / self.steps


def measure(
    workload: Workload, engines: Sequence[str], rounds: int, seconds: float, told_apart: bool
) -> Result:
    """Times a workload: the first fit of each engine, one more to warm up, then rounds.

    Args:
        workload: What to train.
        engines: Under what, "keras" first.
        rounds: Rounds at most.
        seconds: Time after which no further round starts.
        told_apart: Whether to tell seconds per epoch and per step apart as well.
    """
    result = Result(workload)
    if workload.cold:
        fits = {engine: lambda engine=engine: _cold(workload, engine) for engine in engines}
        result.seconds = interleaved(fits, rounds=3)
        return result
    running: dict[str, tuple[keras.Model, Fit]] = {}
    for engine in engines:
        try:
            running[engine] = _warm(workload, engine, result)
        except Exception as error:  # an engine may fail as it likes; the table says how
            result.failed[engine] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
    timed = {
        engine: lambda fit=fit, model=model: seconds_of(fit, model, workload.fit_arguments())
        for engine, (model, fit) in running.items()
    }
    result.seconds = interleaved(timed, rounds, seconds)
    for engine, (model, _) in running.items():
        jitted = running.get("keras jit", (None,))[0]
        result.classes[engine] = _class_of(model, running["keras"][0], jitted)
    if told_apart:
        for engine, (model, fit) in running.items():
            result.costs[engine] = _costs(workload, model, fit)
    return result


def _cold(workload: Workload, engine: str) -> float:
    model, fit = ready(engine, workload)
    return seconds_of(fit, model, workload.fit_arguments())


def _warm(workload: Workload, engine: str, result: Result) -> tuple[keras.Model, Fit]:
    """Two fits before the clock counts. Counts how often the last layer is called in Python."""
    model, fit = ready(engine, workload)
    layer, traces = model.layers[-1], []
    honest = layer.call

    def counted(*inputs: Any, **arguments: Any) -> Any:
        traces.append(1)
        return honest(*inputs, **arguments)

    layer.call = counted
    result.first[engine] = seconds_of(fit, model, workload.fit_arguments())
    seconds_of(fit, model, workload.fit_arguments())
    layer.call = honest
    result.traces[engine] = len(traces)
    return model, fit


def _class_of(model: keras.Model, reference: keras.Model, jitted: keras.Model | None) -> str:
    """Whose bits a model has that was trained alike: Keras's, Keras's with XLA, or how close."""
    if _same_bits(model, reference):
        return "exact"
    if jitted is not None and _same_bits(model, jitted):
        return "exact-xla"
    if int(model.optimizer.iterations) != int(reference.optimizer.iterations):
        return "-"  # trained for other steps
    return f"close, {_distance(model, reference):.0e}"


def _same_bits(model: keras.Model, other: keras.Model) -> bool:
    pairs = zip(model.variables, other.variables, strict=True)
    return all(a.numpy().tobytes() == b.numpy().tobytes() for a, b in pairs)


def _distance(model: keras.Model, reference: keras.Model) -> float:
    """Relative L2 distance of all weights."""
    ours, theirs = (
        np.concatenate([w.ravel() for w in one.get_weights() if w.dtype.kind == "f"])
        for one in (model, reference)
    )
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))


def _costs(workload: Workload, model: keras.Model, fit: Fit) -> tuple[float, float]:
    """Seconds per epoch and per step, from fits of three sizes."""
    few, many, epochs = max(1, workload.steps // 4), workload.steps, 2

    def taken(steps: int, epochs: int) -> float:
        arguments = workload.fit_arguments(steps, epochs)
        # The quickest: whatever disturbs a fit makes it longer, and differences are taken here.
        return min(seconds_of(fit, model, arguments) for _ in range(3))

    for steps in (few, many):
        seconds_of(fit, model, workload.fit_arguments(steps, 2))  # other shapes may be compiled
    small, large, once = taken(few, epochs), taken(many, epochs), taken(few, 1)
    step = (large - small) / (epochs * (many - few))
    return (small - once) / (epochs - 1) - few * step, step
