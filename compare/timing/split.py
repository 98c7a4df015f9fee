"""Where the time of a fit goes: data, compute, reads, callbacks, dispatch.

TensorFlow's profiler records what runs when, inside and outside of graphs. Trace annotations of
ours mark callbacks and reads; whatever runs within an annotation counts as that part.
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
"""The parts of a fit's time, in percent of it. Data: creating iterators, waiting for batches,
deleting iterators. Compute: compiled calls and single ops. Reads: tensors converted to NumPy, logs
mostly. Callbacks: their hooks. Dispatch: all other Python, a generator's batches included."""

FIT = "glassfit fit"
MARKS = {"glassfit reads": "reads", "glassfit callbacks": "callbacks"}
_DATA = ("MakeIterator", "TFE_DeleteTensorHandle", "IteratorGetNext", "Iterator::")
_COMPUTE = ("EagerKernelExecute", "KernelAndDeviceFunc::Run")
_WAITS_IN_GRAPH = "IteratorGetNextOp::DoCompute"


class Event(NamedTuple):
    """An interval on a thread, in picoseconds since the profiler was started."""

    begin: int
    end: int
    name: str


def shares(train: Callable[[], object]) -> dict[str, float]:
    """Return the share of each of `PARTS` in the time of a training; they add up to 1.

    Args:
        train: Trains once; warm, or tracing counts as dispatch.
    """
    threads = profiled(train)
    (main,) = (thread for thread in threads if any(event.name == FIT for event in thread))
    (whole,) = (event for event in main if event.name == FIT)
    total = whole.end - whole.begin
    parts = by_part([event for event in main if event is not whole])
    # Other threads run the graphs' ops: while they wait for a batch, the compiled call waits too.
    others = [event for thread in threads if thread is not main for event in thread]
    waiting = sum(event.end - event.begin for event in others if event.name == _WAITS_IN_GRAPH)
    waiting = min(waiting, parts["compute"])
    parts["data"] += waiting
    parts["compute"] -= waiting
    parts["dispatch"] = total - sum(parts[part] for part in PARTS[:-1])
    return {part: parts[part] / total for part in PARTS}


def by_part(events: list[Event]) -> dict[str, int]:
    """Add up the picoseconds of one thread by part, each event without the events within it."""
    parts = dict.fromkeys(PARTS, 0)
    around: list[tuple[int, str]] = []  # ends and parts of the events that are not over
    for event in sorted(events, key=lambda event: (event.begin, -event.end)):
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


def profiled(train: Callable[[], object]) -> list[list[Event]]:
    """Return the events of each thread during a training."""
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
            Event(event.offset_ps, event.offset_ps + event.duration_ps, names[event.metadata_id])
            for event in line.events
        ]
        for plane in found.planes
        for names in [{key: of.name.split("#")[0] for key, of in plane.event_metadata.items()}]
        for line in plane.lines
    ]


@contextlib.contextmanager
def _marks() -> Iterator[None]:
    """Annotate the hooks of all callbacks, and the conversion of tensors to NumPy."""
    with contextlib.ExitStack() as stack:

        def mark(owner: type, name: str, annotation: str) -> None:
            original = vars(owner)[name]

            @functools.wraps(original)
            def marked(*args: Any, **arguments: Any) -> Any:
                with tf.profiler.experimental.Trace(annotation):
                    return original(*args, **arguments)

            stack.enter_context(mock.patch.object(owner, name, marked))

        tensor = type(tf.constant(0))
        converts = next(base for base in tensor.__mro__ if "_numpy" in vars(base))
        mark(converts, "_numpy", "glassfit reads")
        for owner in subclasses(keras.callbacks.Callback):  # those of Callback itself do nothing
            for hook in [name for name in vars(owner) if name.startswith("on_")]:
                mark(owner, hook, "glassfit callbacks")
        yield


def subclasses(base: type) -> set[type]:
    """Return all subclasses of a class, direct and indirect, without the class itself."""
    direct: list[type] = base.__subclasses__()
    return {found for child in direct for found in (child, *subclasses(child))}
