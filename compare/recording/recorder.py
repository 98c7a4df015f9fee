"""Record a training: the same callback, seeds and snapshot for every engine."""

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

from compare.errors import CannotCompareError, NoHistoryError, ScenarioError
from compare.recording.trace import Event, Trace
from compare.scenario import Fit, FitArguments, Scenario

SEED = 20_240_229


WATCHED = ("batches", "epochs", "nothing")
"""Which hooks are recorded during training: all, those of epochs, or none.

    traces = [record(scenario, loop.fit, watched) for watched in WATCHED]

An engine may run many steps in one call if no callback has hooks of batches, so its bits are
compared in all three cases."""


class EpochRecorder(keras.callbacks.Callback):
    """Record every hook except those of batches, with a copy of its logs."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[Event] = []

    def record(self, hook: str, index: int | None, logs: Any) -> None:
        """Record the call of a hook."""
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
    """Record every hook with a copy of its logs.

        recorder = Recorder()
        model.fit(x, y, callbacks=[recorder])
        print(recorder.events[0])

    Pass it as the last callback: then it records what other callbacks add to the logs.
    """

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:  # noqa: D102
        self.record("on_train_batch_begin", batch, logs)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: D102
        self.record("on_train_batch_end", batch, logs)

    def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:  # noqa: D102
        self.record("on_test_batch_begin", batch, logs)

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: D102
        self.record("on_test_batch_end", batch, logs)


def prepare(scenario: Scenario) -> tuple[keras.Model, FitArguments]:
    """Build a scenario's model and arguments, with fresh layer names and the seed `SEED`.

    Raises:
        ScenarioError: The scenario cannot be built.
    """
    keras.backend.clear_session(free_memory=False)  # without a full garbage collection
    keras.utils.set_random_seed(SEED)
    try:
        model, arguments = scenario.build(), scenario.data()
    except CannotCompareError:
        raise
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
    """Train a scenario with an engine and record all that the training leaves behind.

        trace, model = record(scenario, loop.fit)

    Args:
        scenario: What to train.
        fit: Called as `fit(model, **arguments)`; returns a History, or a dict of lists.
        watched: Which hooks are recorded, one of `WATCHED`.

    Returns:
        The trace, and the trained model.

    Raises:
        ScenarioError: The scenario cannot be built.
        NoHistoryError: `fit` returned something else.
        Exception: Whatever `fit` raised.
    """
    model, arguments = prepare(scenario)
    recorder = Recorder() if watched == "batches" else EpochRecorder()
    callbacks = [*arguments.pop("callbacks", [])]  # type: ignore[attr-defined]
    if watched != "nothing":
        callbacks.append(recorder)
    with folder_of(scenario) as empty, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        returned = fit(model, **{"verbose": 0, **arguments, "callbacks": callbacks})
        files = _files_below(empty) if empty else {}
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
        warnings=[(warning.category.__name__, str(warning.message)) for warning in warned],
    )
    return (trace.as_plain() if returned is history else trace), model


def variables_of(model: keras.Model) -> dict[str, np.ndarray]:
    """Return copies of all variables of a model, by kind, place and path."""
    return {name: as_array(variable) for name, variable in variables_by_name(model).items()}


def variables_by_name(model: keras.Model) -> dict[str, keras.Variable]:
    """Return all variables of a model, by kind, place and path."""
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
    except ValueError:  # nothing was trained: no batch has built the metrics
        results = {}
    return {"metrics": results, "stop_training": model.stop_training, "random": _next_draws()}


def _next_draws() -> list[Any]:
    """Return the next random numbers: they differ if the trainings drew different amounts."""
    return [random.random(), float(np.random.random()), float(tf.random.uniform([]))]


@contextlib.contextmanager
def folder_of(scenario: Scenario) -> Iterator[Path | None]:
    """Change to the folder of a scenario, or to a new empty one, and yield that."""
    if scenario.folder is None:
        with empty_folder() as folder:
            yield folder
    else:
        with contextlib.chdir(scenario.folder):
            yield None


@contextlib.contextmanager
def empty_folder() -> Iterator[Path]:
    """Change to a new empty folder while the context lasts, for callbacks that write files."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="glassfit-") as folder:
        os.chdir(folder)
        try:
            yield Path(folder)
        finally:
            os.chdir(before)


def _files_below(folder: Path) -> dict[str, bytes]:
    """Return the contents of all files below a folder, by path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def wait_for_device(model: keras.Model) -> None:
    """Read a weight that the last update wrote, so that all work is done before a clock stops."""
    if model.weights:
        as_array(model.weights[-1])
    if tf.config.list_logical_devices("GPU"):  # other streams may still be at work
        tf.test.experimental.sync_devices()


def steps_taken(model: keras.Model) -> int:
    """Return the iterations of a model's optimizer; 0 without an optimizer."""
    optimizer = getattr(model, "optimizer", None)
    return int(optimizer.iterations) if optimizer is not None else 0


def as_array(value: Any) -> np.ndarray:
    """Return a copy of a variable or tensor with its dtype and shape."""
    return np.array(keras.ops.convert_to_numpy(value))
