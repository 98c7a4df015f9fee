"""The instrument: the same callback, seeds and snapshot for every engine."""

import contextlib
import copy
import os
import random
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from compare.errors import NoHistoryError, ScenarioError
from compare.recording.trace import Event, Trace
from compare.scenario import Fit, FitArguments, Scenario

SEED = 20_240_229


WATCHED = ("batches", "epochs", "nothing")
"""Which hooks are recorded while it trains. An engine may run together what nobody watches, so its
bits must hold with every hook recorded, with those of epochs only, and with none at all."""


class EpochRecorder(keras.callbacks.Callback):
    """Records every hook but those of batches, with a copy of its logs."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[Event] = []

    def record(self, hook: str, index: int | None, logs: Any) -> None:
        """Notes the call of a hook."""
        self.events.append(Event(hook, index, copy.deepcopy(dict(logs or {}))))

    def on_train_begin(self, logs: Any = None) -> None:  # noqa: D102 - hooks are named by Keras
        self.record("on_train_begin", None, logs)

    def on_train_end(self, logs: Any = None) -> None:  # noqa: D102
        self.record("on_train_end", None, logs)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: D102
        self.record("on_epoch_begin", epoch, logs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:  # noqa: D102
        self.record("on_epoch_end", epoch, logs)

    def on_test_begin(self, logs: Any = None) -> None:  # noqa: D102
        self.record("on_test_begin", None, logs)

    def on_test_end(self, logs: Any = None) -> None:  # noqa: D102
        self.record("on_test_end", None, logs)


class Recorder(EpochRecorder):
    """Records every hook with a copy of its logs. Give it to any fit, last among the callbacks."""

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:  # noqa: D102
        self.record("on_train_batch_begin", batch, logs)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: D102
        self.record("on_train_batch_end", batch, logs)

    def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:  # noqa: D102
        self.record("on_test_batch_begin", batch, logs)

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: D102
        self.record("on_test_batch_end", batch, logs)


def prepare(scenario: Scenario) -> tuple[keras.Model, FitArguments]:
    """Builds a scenario's model and arguments from fresh names and the one seed.

    Raises:
        ScenarioError: It cannot be built.
    """
    keras.backend.clear_session(free_memory=False)  # Python does so in its own time
    keras.utils.set_random_seed(SEED)
    try:
        model, arguments = scenario.build(), scenario.data()
    except Exception as error:  # a user's function may raise anything
        what = f"{type(error).__name__}: {error}"
        raise ScenarioError(f"{scenario.name} cannot be built: {what}") from error
    if not isinstance(model, keras.Model):
        raise ScenarioError(f"{scenario.name}: build() has to return a keras.Model, got {model!r}")
    if not isinstance(arguments, dict):
        what = f"data() has to return the arguments of fit as a dict, got {type(arguments)}"
        raise ScenarioError(f"{scenario.name}: {what}")
    return model, dict(arguments)


def record(scenario: Scenario, fit: Fit, watched: str = "batches") -> tuple[Trace, keras.Model]:
    """Runs a scenario through an engine and records all that it leaves behind.

    Args:
        scenario: What to train.
        fit: Called as `fit(model, **arguments)`; returns a History, or a dict of lists.
        watched: Which hooks are recorded, one of `WATCHED`.

    Returns:
        The trace, and the trained model.

    Raises:
        ScenarioError: It cannot be built.
        NoHistoryError: `fit` returned something else.
        Exception: Whatever `fit` raised.
    """
    model, arguments = prepare(scenario)
    recorder = Recorder() if watched == "batches" else EpochRecorder()
    callbacks = [*arguments.pop("callbacks", [])]  # type: ignore[attr-defined]
    if watched != "nothing":
        callbacks.append(recorder)
    with empty_folder() as folder, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        returned = fit(model, **{"verbose": 0, **arguments, "callbacks": callbacks})
        files = {str(path.relative_to(folder)): path.read_bytes() for path in _files_below(folder)}
    history = getattr(returned, "history", returned)
    if not isinstance(history, dict) or not all(isinstance(log, list) for log in history.values()):
        raise NoHistoryError(
            f"{scenario.name}: a fit returns a History or a dict of lists, got {returned!r}"
        )
    trace = Trace(
        history=dict(history),
        epochs=list(getattr(returned, "epoch", [])),
        params=dict(getattr(returned, "params", None) or {}),
        events=recorder.events,
        variables=variables_of(model),
        seen=_seen(model),
        files=files,
        warnings=[(one.category.__name__, str(one.message)) for one in warned],
    )
    return (trace.as_plain() if returned is history else trace), model


def variables_of(model: keras.Model) -> dict[str, np.ndarray]:
    """Copies of all that a model holds, by kind, place and path."""
    return {name: as_array(variable) for name, variable in variables_by_name(model).items()}


def variables_by_name(model: keras.Model) -> dict[str, keras.Variable]:
    """All variables of a model, by kind, place and path."""
    optimizer = getattr(model, "optimizer", None)
    kinds = {
        "weights": model.variables,  # trainable or not, with the states of seed generators
        "optimizer": optimizer.variables if optimizer else [],
        "metrics": model.metrics_variables,
    }
    return {
        f"{kind}/{place}/{variable.path}": variable
        for kind, variables in kinds.items()
        for place, variable in enumerate(variables)
    }


def _seen(model: keras.Model) -> dict[str, Any]:
    try:
        results = keras.tree.map_structure(as_array, model.get_metrics_result())
    except ValueError:  # Keras refuses where nothing was trained: no batch has built the metrics
        results = {}
    return {"metrics": results, "stop_training": model.stop_training, "random": _next_draws()}


def _next_draws() -> list[Any]:
    """What Python, NumPy and TensorFlow draw next: whether as much was drawn before."""
    return [random.random(), float(np.random.random()), float(tf.random.uniform([]))]


@contextlib.contextmanager
def empty_folder() -> Iterator[Path]:
    """Runs in an empty folder: callbacks that write to relative paths write there."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="glassfit-") as folder:
        os.chdir(folder)
        try:
            yield Path(folder)
        finally:
            os.chdir(before)


def _files_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def wait_for_device(model: keras.Model) -> None:
    """Reads a weight that the last update wrote: a clock stopped after it has timed the work."""
    if model.weights:
        as_array(model.weights[-1])


def steps_taken(model: keras.Model) -> int:
    """How often its optimizer was asked to update it, of all times."""
    optimizer = getattr(model, "optimizer", None)
    return int(optimizer.iterations) if optimizer is not None else 0


def as_array(value: Any) -> np.ndarray:
    """A copy of a variable or tensor, its dtype and shape unchanged."""
    return np.array(keras.ops.convert_to_numpy(value))
