"""Count what fits leave in a process: `make leaks` does 1,000 fits under each engine.

    python tests/support/leaks.py [FITS]

Three kinds of fit: one model again and again, on arrays, on a dataset and on a generator in turn;
a new model for each fit; a new model that is compiled anew. Each is warmed up first, and builds its
larger programs then, so that what is counted is what grows with the number of fits.
"""

import ctypes
import gc
import sys
import threading
import weakref
from collections.abc import Callable
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from unittest import mock

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.data.ops.iterator_ops import OwnedIterator
from tensorflow.python.eager.polymorphic_function.concrete_function import ConcreteFunction

import loop
from loop.engine.climb import SingleSteps

X = np.random.default_rng(0).normal(size=(32, 4)).astype("float32")
Y = X[:, :1]
WARM_UP = 6
"""Fits before the first count: a multiple of three, the kinds of data."""

Fit = Callable[..., object]


@dataclass
class Left:
    """What is alive in the process (Linux, glibc) after a garbage collection.

    Attributes:
        functions: Live TensorFlow functions that were traced.
        models: Live models.
        iterators: Live iterators of tf.data.
        threads: Threads that Python started.
        native: Threads of the process, those of TensorFlow included.
        memory: Bytes of the process in memory.
    """

    functions: int
    models: int
    iterators: int
    threads: int
    native: int
    memory: int

    def since(self, before: "Left") -> "Left":
        """Return how much more there is than there was."""
        pairs = zip(astuple(self), astuple(before), strict=True)
        return Left(*(now - then for now, then in pairs))


_models: weakref.WeakSet = weakref.WeakSet()


def new_model() -> keras.Model:
    """Return a compiled model of one layer."""
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    _models.add(model)
    return model


def data(place: int) -> dict:
    """Return the data of a fit, by its number: arrays, a dataset or a generator."""
    if place % 3 == 0:
        return {"x": X, "y": Y, "batch_size": 8, "validation_data": (X, Y)}
    if place % 3 == 1:
        dataset = tf.data.Dataset.from_tensor_slices((X, Y)).batch(8)
        return {"x": dataset, "shuffle": False}
    batches = ((X[at : at + 8], Y[at : at + 8]) for at in range(0, 32, 8))
    return {"x": batches, "steps_per_epoch": 3, "shuffle": False}


def same_model(fit: Fit) -> Callable[[int], None]:
    """Return a function that fits one model again."""
    model = new_model()

    def again(place: int) -> None:
        fit(model, **data(place), epochs=1, verbose=0)

    return again


def new_models(fit: Fit) -> Callable[[int], None]:
    """Return a function that fits a new model."""

    def anew(place: int) -> None:
        keras.backend.clear_session(free_memory=False)
        fit(new_model(), **data(place), epochs=1, verbose=0)

    return anew


def compiled_anew(fit: Fit) -> Callable[[int], None]:
    """Return a function that compiles a model again and fits it."""
    model = new_model()

    def anew(place: int) -> None:
        model.compile("sgd", "mse")
        fit(model, **data(place), epochs=1, verbose=0)

    return anew


KINDS = (same_model, new_models, compiled_anew)


def left() -> Left:
    """Collect garbage, give freed memory back to the system, and count what is left."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # else memory is what was freed, too
    kinds = [type(found) for found in gc.get_objects()]
    status = Path("/proc/self/status")
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return Left(
        functions=sum(issubclass(kind, ConcreteFunction) for kind in kinds),
        models=len(_models),
        iterators=sum(issubclass(kind, OwnedIterator) for kind in kinds),
        threads=threading.active_count(),
        native=int(lines["Threads"]),
        memory=1024 * int(lines["VmRSS"].split()[0]),
    )


def grown(kind: Callable[[Fit], Callable[[int], None]], fit: Fit, fits: int) -> Left:
    """Return what is left by a number of fits that come after `WARM_UP` others."""
    once_more = kind(fit)
    # Else a larger program is built once it pays: after a number of fits that clocks decide.
    with mock.patch.object(SingleSteps, "pays", return_value=True):
        for place in range(WARM_UP):
            once_more(place)
        before = left()
        for place in range(fits):
            once_more(place)
        return left().since(before)


def main() -> None:
    """Print what fits leave under both engines, and fail if ours leave more than Keras's."""
    tf.get_logger().setLevel("ERROR")  # Keras's generators are traced again for each fit
    fits = int(sys.argv[1]) if sys.argv[1:] else 1000
    names = [field.name for field in fields(Left)]
    print(f"{fits} fits leave".ljust(28), *(f"{name:>11}" for name in names))
    worse = []
    for kind in KINDS:
        by_engine = {}
        for engine, fit in (("model.fit", keras.Model.fit), ("loop.fit", loop.fit)):
            found = by_engine[engine] = grown(kind, fit, fits)
            title = f"{kind.__name__.replace('_', ' ')}, {engine}"
            print(title.ljust(28), *(f"{value:>11,}" for value in astuple(found)), flush=True)
        theirs, ours = by_engine["model.fit"], by_engine["loop.fit"]
        allowed = max(theirs.memory, 0) * 1.2 + fits * 2048  # 2 KB a fit: what allocators keep
        if ours.memory > allowed or any(a > max(b, 2) for a, b in _counts(ours, theirs)):
            worse.append(kind.__name__)
    if worse:
        sys.exit(f"loop.fit leaves more than model.fit: {', '.join(worse)}")


def _counts(ours: Left, theirs: Left) -> list[tuple[int, int]]:
    return list(zip(astuple(ours)[:-1], astuple(theirs)[:-1], strict=True))


if __name__ == "__main__":
    main()
