"""Record every call of `fit`, `evaluate`, `predict` and `*_on_batch` that a script makes.

Imported in the process that runs the script, right after the script has imported Keras: see
`glassfit.record`.
"""

import copy
import functools
import inspect
import os
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

import loop
from compare.execution.script import ScriptCall
from compare.location.taps import optimizers_with_apply
from compare.recording.recorder import SEED, as_array, steps_taken, variables_of, wait_for_device

METHODS = ("fit", "evaluate", "predict", "train_on_batch", "test_on_batch", "predict_on_batch")


class CallRecorder:
    """Records the calls of a script, in their order, and counts the steps that it trains outside.

    A call inside another call (`fit` evaluates, an override calls `super().fit`) is part of the
    outer one.

    Args:
        script: The path of the script, to find the line that makes a call.

    Attributes:
        calls: The calls that have returned.
    """

    def __init__(self, script: str):
        self.calls: list[ScriptCall] = []
        self._outside: dict[str, tf.Variable] = {}  # steps outside of all calls, by line
        self._script = os.path.realpath(script)
        self._inside = False  # whether a call is running

    def wrap_methods(self) -> None:
        """Wrap the methods of `keras.Model` as they are now, Keras's or ours."""
        for method in METHODS:
            owner = next(base for base in keras.Model.__mro__ if method in vars(base))
            setattr(owner, method, self._recorded(method, vars(owner)[method]))

    @property
    def outside(self) -> dict[str, int]:
        """How many steps optimizers took outside of all calls, by the line that makes them."""
        return {place: int(steps.numpy()) for place, steps in self._outside.items()}

    def count_outside(self) -> None:
        """Wrap the method `apply` of Keras's optimizers, to count the steps outside of all calls.

        Where a graph is traced, its steps are counted in the graph.
        """
        for kind in optimizers_with_apply():
            kind.apply = self._counted(kind.apply)

    def _counted(self, apply: Any) -> Any:
        @functools.wraps(apply)
        def counted(optimizer: Any, *args: Any, **arguments: Any) -> Any:
            if self._inside:
                return apply(optimizer, *args, **arguments)
            place = self._place(inspect.currentframe())
            if place not in self._outside:
                with tf.init_scope():
                    self._outside[place] = tf.Variable(0, dtype=tf.int64)
            self._outside[place].assign_add(1)
            self._inside = True  # an optimizer may apply another
            try:
                return apply(optimizer, *args, **arguments)
            finally:
                self._inside = False

        return counted

    def _recorded(self, method: str, call: Any) -> Any:
        @functools.wraps(call)
        def recorded(model: keras.Model, *args: Any, **arguments: Any) -> Any:
            if self._inside:
                return call(model, *args, **arguments)
            self._inside = True
            before, begun = steps_taken(model), time.perf_counter()
            try:
                returned = call(model, *args, **arguments)
                wait_for_device(model)
            finally:
                self._inside = False
            seconds = time.perf_counter() - begun
            steps = steps_taken(model) - before
            variables = variables_of(model) if method in ("fit", "train_on_batch") else {}
            result = as_plain(returned)
            place = self._place(inspect.currentframe())
            self.calls.append(ScriptCall(method, place, seconds, steps, result, variables))
            return returned

        return recorded

    def _place(self, frame: Any) -> str:
        """Return file and line in the script from which `frame` was called."""
        while frame and os.path.realpath(frame.f_code.co_filename) != self._script:
            frame = frame.f_back
        return f"{Path(self._script).name}:{frame.f_lineno if frame else '?'}"


def as_plain(returned: Any) -> dict[str, Any]:
    """Return the result of a method as values and arrays that compare bit for bit.

    The values are copied, since the script may change what it got.
    """
    if isinstance(returned, keras.callbacks.History):
        parts = {"history": returned.history, "epoch": returned.epoch, "params": returned.params}
        return copy.deepcopy(parts)
    return {"returned": copy.deepcopy(keras.tree.map_structure(_leaf, returned))}


def _leaf(value: Any) -> Any:
    if isinstance(value, tf.RaggedTensor):
        return [
            as_array(value.flat_values),
            *(as_array(splits) for splits in value.nested_row_splits),
        ]
    return as_array(value) if tf.is_tensor(value) else value


def begin(engine: str, out: str, script: str) -> Callable[[], None]:
    """Seed TensorFlow and Keras, install the engine, and start recording.

    Args:
        engine: "keras" or "loop".
        out: The file for the recorded calls, pickled.
        script: The path of the script.

    Returns:
        A function that writes the calls recorded so far.
    """
    keras.utils.set_random_seed(SEED)
    if engine == "loop":
        loop.install()
    recorder = CallRecorder(script)
    recorder.wrap_methods()
    recorder.count_outside()

    def write() -> None:
        Path(out).write_bytes(pickle.dumps((recorder.calls, recorder.outside)))

    return write
