"""Runs a script under one engine, and writes down every fit, evaluate and predict it calls.

python -m compare.script_worker keras|loop OUT SCRIPT [arguments]
"""

import copy
import functools
import inspect
import os
import pickle
import runpy
import sys
import time
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

import loop
from compare.execution.script import ScriptCall
from compare.recording.recorder import SEED, as_array, steps_taken, variables_of, wait_for_device

METHODS = ("fit", "evaluate", "predict", "train_on_batch", "test_on_batch", "predict_on_batch")


class Notebook:
    """The calls of a script, in order.

    Attributes:
        calls: Those that are over.
    """

    def __init__(self, script: str):
        self.calls: list[ScriptCall] = []
        self._script = os.path.realpath(script)
        self._inside = False  # fit calls evaluate, an override calls super(): one call of the user

    def note_all(self) -> None:
        """Wraps every method, whoever's it is now."""
        for method in METHODS:
            owner = next(one for one in keras.Model.__mro__ if method in vars(one))
            setattr(owner, method, self._noted(method, vars(owner)[method]))

    def _noted(self, method: str, call: Any) -> Any:
        @functools.wraps(call)
        def noted(model: keras.Model, *args: Any, **arguments: Any) -> Any:
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

        return noted

    def _place(self, frame: Any) -> str:
        """The line of the script that is being run."""
        while frame and os.path.realpath(frame.f_code.co_filename) != self._script:
            frame = frame.f_back
        return f"{Path(self._script).name}:{frame.f_lineno if frame else '?'}"


def as_plain(returned: Any) -> dict[str, Any]:
    """What a method returned, as values and arrays that compare bit for bit.

    They are copies: a script may change what it was given, and so hide a difference.
    """
    if isinstance(returned, keras.callbacks.History):
        kept = {"history": returned.history, "epoch": returned.epoch, "params": returned.params}
        return copy.deepcopy(kept)
    return {"returned": copy.deepcopy(keras.tree.map_structure(_leaf, returned))}


def _leaf(value: Any) -> Any:
    if isinstance(value, tf.RaggedTensor):
        return [as_array(value.flat_values), *(as_array(one) for one in value.nested_row_splits)]
    return as_array(value) if tf.is_tensor(value) else value


def main() -> None:
    """Runs the script as Python would."""
    engine, out, script = sys.argv[1:4]
    sys.argv = sys.argv[3:]  # as the script would see it
    sys.path.insert(0, os.path.dirname(os.path.realpath(script)))  # run with -P: nothing is there
    keras.utils.set_random_seed(SEED)
    if engine == "loop":
        loop.install()
    notebook = Notebook(script)
    notebook.note_all()
    try:
        runpy.run_path(script, run_name="__main__")
    finally:
        Path(out).write_bytes(pickle.dumps(notebook.calls))


if __name__ == "__main__":
    main()
