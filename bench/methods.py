"""What else people call in a loop: methods on batches, evaluate and predict, on the small MLP."""

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np

import loop
from bench.workloads import BATCH, Workload, mlp, mlp_data
from compare.scenario import Fit, Scenario

BATCHES, PREDICTIONS = 100, 10


def each_batch(
    call: Callable[..., Any],
    model: keras.Model,
    x: np.ndarray,
    y: np.ndarray | None = None,
    batch_size: int = BATCH,
    verbose: int = 0,  # noqa: ARG001 - methods on batches print nothing
) -> list[Any]:
    """Call a method of a model on every batch in turn.

    Args:
        call: Called as `call(model, x, y)`, or `call(model, x)` without targets.
        model: The model.
        x: Inputs `[samples, ...]`.
        y: Targets `[samples, ...]`.
        batch_size: Samples in a batch.
        verbose: For the signature of fit.

    Returns:
        What the calls returned.
    """
    data = [x] if y is None else [x, y]
    starts = range(0, len(x), batch_size)
    return [call(model, *(array[at : at + batch_size] for array in data)) for at in starts]


def _labelled() -> dict[str, Any]:
    return {**mlp_data(BATCHES), "batch_size": BATCH}


def _inputs() -> dict[str, Any]:
    return {"x": mlp_data(BATCHES)["x"], "batch_size": BATCH}


def _samples() -> dict[str, Any]:
    return {"x": mlp_data(1)["x"][:PREDICTIONS], "batch_size": 1}


def _method(
    name: str,
    shows: str,
    data: Callable[[], dict[str, Any]],
    methods: tuple[Fit, Fit],
    goal: float,
    batches: int = BATCHES,
) -> Workload:
    scenario = Scenario(name, shows, mlp, data)
    return Workload(scenario, {"auto": goal}, methods=methods, batches=batches)


def _on_each_batch(keras_method: Fit, ours: Fit) -> tuple[Fit, Fit]:
    return partial(each_batch, keras_method), partial(each_batch, ours)


_TRAIN = _on_each_batch(keras.Model.train_on_batch, loop.train_on_batch)
_TEST = _on_each_batch(keras.Model.test_on_batch, loop.test_on_batch)
_PREDICT = _on_each_batch(keras.Model.predict_on_batch, loop.predict_on_batch)
_PREDICT_ONE = _on_each_batch(
    partial(keras.Model.predict, verbose=0), partial(loop.predict, verbose=0)
)

METHODS = (
    _method("train_on_batch", "each of 100 batches", _labelled, _TRAIN, 1.3),
    _method("test_on_batch", "each of 100 batches", _labelled, _TEST, 1.0),
    _method("predict_on_batch", "each of 100 batches", _inputs, _PREDICT, 1.3),
    _method("evaluate", "100 batches", _labelled, (keras.Model.evaluate, loop.evaluate), 10.0),
    _method("predict", "100 batches", _inputs, (keras.Model.predict, loop.predict), 4.0),
    _method("predict_one", "of one sample", _samples, _PREDICT_ONE, 10.0, PREDICTIONS),
)
