"""What a fit does with its time: waits for data, computes, reads, calls back, or runs Python.

TensorFlow's profiler says what ran when, from inside and outside of graphs. Marks of ours say where
callbacks and reads begin and end; what happens within a mark belongs to it.
"""

import contextlib
import functools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import keras
import tensorflow as tf

PARTS = ("data", "compute", "reads", "callbacks", "dispatch")
"""The parts of a fit's time. Data: iterators made, waited for and torn down. Compute: compiled
calls and single ops. Reads: tensors that Python reads, logs mostly. Callbacks: their hooks.
Dispatch: all other Python, a generator's batches included."""

FIT = "glassfit fit"
MARKS = {"glassfit reads": "reads", "glassfit callbacks": "callbacks"}
_DATA = ("MakeIterator", "TFE_DeleteTensorHandle", "IteratorGetNext", "Iterator::")
_COMPUTE = ("EagerKernelExecute", "KernelAndDeviceFunc::Run")
_WAITS_IN_GRAPH = "IteratorGetNextOp::DoCompute"


class Event(NamedTuple):
    """Something that ran on a thread, in picoseconds from the profiler's start."""

    begin: int
    end: int
    name: str


def shares(train: Callable[[], object]) -> dict[str, float]:
    """Which share of a training each of `PARTS` has; they add up to 1.

    Args:
        train: Trains once, warm.
    """
    threads = _profiled(train)
    (main,) = (one for one in threads if any(event.name == FIT for event in one))
    (whole,) = (event for event in main if event.name == FIT)
    total = whole.end - whole.begin
    parts = by_part([event for event in main if event is not whole])
    # Other threads run the graphs' ops: while they wait for a batch, the compiled call waits too.
    others = [event for one in threads if one is not main for event in one]
    waiting = sum(one.end - one.begin for one in others if one.name == _WAITS_IN_GRAPH)
    waiting = min(waiting, parts["compute"])
    parts["data"] += waiting
    parts["compute"] -= waiting
    parts["dispatch"] = total - sum(parts[part] for part in PARTS[:-1])
    return {part: parts[part] / total for part in PARTS}


def by_part(events: list[Event]) -> dict[str, int]:
    """Adds up the events of one thread, each without those within it."""
    parts = dict.fromkeys(PARTS, 0)
    around: list[tuple[int, str]] = []  # ends and parts of the events that are not over
    for event in sorted(events, key=lambda one: (one.begin, -one.end)):
        while around and around[-1][0] <= event.begin:
            around.pop()
        outer = around[-1][1] if around else "dispatch"
        part = _part(event.name, outer)
        parts[part] += event.end - event.begin
        parts[outer] -= event.end - event.begin if around else 0
        around.append((event.end, part))
    return parts


def _part(name: str, outer: str) -> str:
    if name in MARKS:
        return MARKS[name]
    if outer in ("reads", "callbacks"):
        return outer
    if name.startswith(_DATA):
        return "data"
    return "compute" if name.startswith(_COMPUTE) else outer


def _profiled(train: Callable[[], object]) -> list[list[Event]]:
    """The events of each thread while it trains."""
    # There is no public name for the format that the profiler writes.
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    options = tf.profiler.experimental.ProfilerOptions(
        host_tracer_level=2, python_tracer_level=0, device_tracer_level=0
    )
    with tempfile.TemporaryDirectory(prefix="glassfit-") as folder, _marks():
        tf.profiler.experimental.start(folder, options)
        try:
            with tf.profiler.experimental.Trace(FIT):
                train()
        finally:
            tf.profiler.experimental.stop()
        (path,) = Path(folder).rglob("*.xplane.pb")
        found = xplane_pb2.XSpace.FromString(path.read_bytes())
    return [
        [
            Event(one.offset_ps, one.offset_ps + one.duration_ps, names[one.metadata_id])
            for one in line.events
        ]
        for plane in found.planes
        for names in [{key: it.name.split("#")[0] for key, it in plane.event_metadata.items()}]
        for line in plane.lines
    ]


@contextlib.contextmanager
def _marks() -> Iterator[None]:
    """Marks the hooks of all callbacks, and the reads of all tensors."""
    with contextlib.ExitStack() as stack:

        def mark(owner: type, name: str, as_what: str) -> None:
            honest = vars(owner)[name]

            @functools.wraps(honest)
            def marked(*args: Any, **arguments: Any) -> Any:
                with tf.profiler.experimental.Trace(as_what):
                    return honest(*args, **arguments)

            stack.enter_context(mock.patch.object(owner, name, marked))

        tensor = type(tf.constant(0))
        mark(
            next(one for one in tensor.__mro__ if "_numpy" in vars(one)), "_numpy", "glassfit reads"
        )
        for owner in subclasses(keras.callbacks.Callback):  # the hooks of itself do nothing
            for hook in [name for name in vars(owner) if name.startswith("on_")]:
                mark(owner, hook, "glassfit callbacks")
        yield


def subclasses(base: type) -> set[type]:
    """Its subclasses, and theirs, but not itself."""
    below: list[type] = base.__subclasses__()
    return {one for sub in below for one in (sub, *subclasses(sub))}
