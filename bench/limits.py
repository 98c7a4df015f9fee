"""What must not grow: the time of a step with the length of an epoch, memory beyond the data."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from bench.workloads import find
from compare.execution.ladder import peak_memory_of
from compare.scenario import Scenario
from compare.timing.clock import microseconds
from compare.timing.engines import AUTO, MODEL_FIT
from compare.timing.growth import grown
from compare.timing.resize import Size
from compare.timing.training import new_training

SAMPLES, FEATURES = 400_000, 100


@dataclass(frozen=True)
class Limits:
    """How the time of a step and memory grow.

    Attributes:
        microseconds: Microseconds a step of `mlp` under `auto`, by steps in an epoch: the quickest
            of three warm fits, divided by its steps.
        peak: The peak memory of a process that trains, in bytes, by engine; see `peak_memory`.
        data: Bytes of the data those processes trained on.
    """

    microseconds: dict[int, float]
    peak: dict[str, int | None]
    data: int


def limits(epochs_of: Sequence[int], device: str) -> Limits:
    """Measure both; the time of a step in epochs of so many steps each."""
    (mlp,) = find(["mlp"])
    training = new_training(mlp.scenario, AUTO)
    as_it_is = len(mlp.scenario.data()["x"]) // mlp.scenario.data()["batch_size"]
    found = {}
    for steps in epochs_of:
        timed = grown(training, Size(steps / as_it_is, epochs=max(1, 1000 // steps)))
        assert timed, "arrays can be resized"
        found[steps] = microseconds([timed[0]], timed[1])
    peak = {engine.name: peak_memory_of(LARGE, engine, device) for engine in (MODEL_FIT, AUTO)}
    return Limits(found, peak, SAMPLES * (FEATURES + 1) * 4)


def _model() -> keras.Model:
    model = keras.Sequential([keras.Input((FEATURES,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


def _data() -> dict[str, Any]:
    x, y = np.ones((SAMPLES, FEATURES), "float32"), np.ones(SAMPLES, "float32")
    return {"x": x, "y": y, "batch_size": 1000, "epochs": 2}


LARGE = Scenario("large", "the memory of a training is that of its data", _model, _data)
