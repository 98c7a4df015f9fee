"""What each of `loop.callbacks` adds to a step and to a fit, on the small MLP."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import keras

import loop
from bench.workloads import BATCH, Workload, mlp, mlp_data, workload
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

STEPS = 4000
"""Steps of a fit; so many that a step's time stands out beside that of tracing it."""


def _workload(name: str, new: NewCallback) -> Workload:
    made = workload(name, "on the small MLP", mlp, mlp_data, STEPS, 1, {})
    return replace(made, methods=(loop.fit, _with(new)), batches=STEPS)


WITH_CALLBACKS = tuple(_workload(name, new) for name, new in CALLBACKS.items())
