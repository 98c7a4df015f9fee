"""Make calls in a second process before they are asked for: the last ones, while this one works.

    with second_process() as ahead:
        ahead.trust_if(partial(train, 0), lambda loss: loss == known)
        ahead.expect({at: partial(train, at) for at in range(4)})   # 3, 2, ... are begun there
        losses = [ahead.result(at, partial(train, at)) for at in range(4)]

Another process may differ: in what is set in this one, or in the order of a set of strings that
data are made of. So it is used only once it has returned the right result of a call that is known.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import threading
from collections.abc import Callable, Hashable, Iterator, Mapping
from concurrent.futures import Future
from typing import Any, TypeVar

import tensorflow as tf

from compare.execution.quiet import quietly
from compare.execution.workers import Packed, Worker, packed

LARGEST = 2**22
"""The most bytes of a call, with its arguments, that is passed to the second process."""

T = TypeVar("T")


class Ahead:
    """A second process, the calls that it is to make, and the one that it makes now."""

    def __init__(self) -> None:
        self._worker = Worker()
        self._waiting: dict[Hashable, Packed] = {}
        self._begun: dict[Hashable, Future[Any]] = {}
        self._is_trusted = False
        self._lock = threading.RLock()
        others = {*multiprocessing.active_children()}
        with quietly():  # the process inherits this standard error; its errors are exceptions here
            self._worker.greet()
        self._processes = {*multiprocessing.active_children()} - others

    def trust_if(self, call: Callable[[], T], is_right: Callable[[T], bool]) -> None:
        """Make a call in the second process, and use that process only if the result is right.

        Until it has returned, all calls are made in this process.

        Args:
            call: The call.
            is_right: Whether a result of it is right; called in another thread.
        """

        def judge(done: Future[T]) -> None:
            with contextlib.suppress(Exception):  # a call that fails there is not right
                self._is_trusted = is_right(done.result())
            self._begin_next()

        self._is_trusted = False
        if (known := _packed(call)) is not None:
            with contextlib.suppress(RuntimeError):  # the process has ended
                self._worker.begin(known).add_done_callback(judge)

    def expect(self, calls: Mapping[Hashable, Callable[[], Any]]) -> None:
        """Begin with calls that are asked for next, the last one first; forget those before.

        Args:
            calls: The calls by a name, in the order in which they will be asked for. The first one
                is left to this process, as is what cannot be pickled.
        """
        found = {name: _packed(calls[name]) for name in [*calls][1:]}
        with self._lock:
            self._waiting = {name: call for name, call in found.items() if call is not None}
            is_idle = all(future.done() for future in self._begun.values())
            self._begun = {name: it for name, it in self._begun.items() if not it.done()}
        if is_idle:
            self._begin_next()

    def result(self, name: Hashable, call: Callable[[], T]) -> T:
        """Return what a call returns: the second process's result where it has begun with it.

        Raises:
            Exception: Whatever the call raises in this process, if it fails in the second one.
        """
        with self._lock:
            self._waiting.pop(name, None)
            future = self._begun.pop(name, None)
        if future is not None:
            with contextlib.suppress(Exception):  # this process calls it, too, and says why
                return future.result()
        return call()

    def close(self) -> None:
        """End the second process at once, whatever it does; TensorFlow takes seconds to tidy up."""
        with self._lock:
            self._waiting = {}
        for process in self._processes:
            process.terminate()
        self._worker.close()

    def _begin_next(self, _: Future[Any] | None = None) -> None:
        """Begin with the last of the calls that wait, now that the second process is idle."""
        with self._lock:
            if not (self._is_trusted and self._waiting):
                return
            name, call = self._waiting.popitem()
            with contextlib.suppress(RuntimeError):  # the process has ended
                self._begun[name] = future = self._worker.begin(call)
                future.add_done_callback(self._begin_next)


def _packed(call: Callable[[], Any]) -> Packed | None:
    """Return a call as bytes; None if it cannot be pickled, or is too large."""
    with contextlib.suppress(Exception):
        found = packed(call)
        return found if len(found) <= LARGEST else None
    return None


@contextlib.contextmanager
def second_process(is_wanted: bool = True) -> Iterator[Ahead | None]:
    """Yield a second process while the context lasts, if it is wanted.

    None on a single core, where it would save nothing, and beside a GPU, whose memory the first
    process takes as a whole.
    """
    if not is_wanted or (os.cpu_count() or 1) < 2 or tf.config.list_physical_devices("GPU"):
        yield None
        return
    ahead = Ahead()
    try:
        yield ahead
    finally:
        ahead.close()
