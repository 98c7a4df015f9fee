"""What each of `loop.callbacks` adds to a step and to a fit: `loop.fit` without it and with it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import keras

import loop
from bench.workloads import BATCH, Arguments, Workload, mlp, mlp_data, mnist_mlp, random_arrays
from bench.workloads import workload as new_workload
from compare.scenario import Fit
from loop.callbacks import (
    BatchHistory,
    EvaluateEvery,
    GradientNorms,
    LearningRateFinder,
    NanHunter,
    Throughput,
    UpdateRatios,
)

NewCallback = Callable[[Any, Any], keras.callbacks.Callback]
"""Called with the inputs and targets of a fit."""


def _with(new: NewCallback) -> Fit:
    def fit(model: keras.Model, x: Any, y: Any, **more: Any) -> keras.callbacks.History:
        return loop.fit(model, x, y, **more, callbacks=[new(x, y)])

    return fit


def _evaluating(x: Any, y: Any) -> EvaluateEvery:
    return EvaluateEvery(x[: 10 * BATCH], y[: 10 * BATCH], every=100)


CALLBACKS: dict[str, NewCallback] = {
    "BatchHistory": lambda *_: BatchHistory(),
    "Throughput": lambda *_: Throughput(),
    "GradientNorms": lambda *_: GradientNorms(),
    "UpdateRatios": lambda *_: UpdateRatios(),
    "NanHunter": lambda *_: NanHunter(),
    # Rates for more steps than a fit has: after the last one it would stop.
    "LearningRateFinder": lambda x, _: LearningRateFinder(steps=len(x)),
    "EvaluateEvery": _evaluating,
}

_MODELS: tuple[tuple[str, Callable[[], keras.Model], Arguments, int], ...] = (
    ("mlp", mlp, mlp_data, 4000),
    ("mnist_mlp", mnist_mlp, random_arrays((784,), 10), 1000),
)


def _workload(
    callback: str, model: str, build: Callable[[], keras.Model], arguments: Arguments, steps: int
) -> Workload:
    made = new_workload(f"{callback}/{model}", model, build, arguments, steps, 1, {})
    return replace(made, methods=(loop.fit, _with(CALLBACKS[callback])), batches=steps)


WITH_CALLBACKS = tuple(_workload(callback, *model) for callback in CALLBACKS for model in _MODELS)
