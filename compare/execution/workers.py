"""Worker processes for training: each keeps its models, and a crash ends only one of them."""

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

import cloudpickle

from compare.errors import CrashError
from compare.execution.quiet import import_tensorflow_quietly, quietly

T = TypeVar("T")

Packed = bytes
"""A call of a function, with its arguments, for another process."""


class Worker:
    """A worker process; after a crash it is replaced by a new one."""

    def __init__(self) -> None:
        self._pool = _new_pool()

    def greet(self) -> Future[int]:
        """Start the process."""
        return self._pool.submit(os.getpid)

    def ask(self, work: Callable[..., T], *arguments: Any) -> T:
        """Call a function in the process and return its result; lambdas can be passed.

        Raises:
            CrashError: The process ended.
            Exception: Whatever the function raised.
        """
        try:
            return self.begin(packed(work, *arguments)).result()
        except BrokenProcessPool:
            self._pool.shutdown()
            self._pool = _new_pool()
            raise CrashError(
                "the process that trained it ended: a crash in native code, or no memory left"
            ) from None

    def begin(self, call: Packed) -> Future[Any]:
        """Begin to make a call in the process, after what was begun before.

        Raises:
            RuntimeError: The process has ended.
        """
        return self._pool.submit(_unpacked, call)

    def close(self) -> None:
        """End the process."""
        self._pool.shutdown()


def workers(count: int) -> list[Worker]:
    """Start `count` workers, at least one."""
    begun = [Worker() for _ in range(max(count, 1))]
    with quietly():  # workers inherit this standard error for good; errors come back as exceptions
        for greeting in [worker.greet() for worker in begun]:
            greeting.result()
    return begun


def _new_pool() -> ProcessPoolExecutor:
    spawn = multiprocessing.get_context("spawn")  # TensorFlow does not survive a fork
    return ProcessPoolExecutor(1, mp_context=spawn, initializer=import_tensorflow_quietly)


def packed(work: Callable[..., Any], *arguments: Any) -> Packed:
    """Return a call as bytes; functions that are not in a module are part of them."""
    return cloudpickle.dumps((work, arguments))


def _unpacked(call: Packed) -> Any:
    work, arguments = cloudpickle.loads(call)
    return work(*arguments)
