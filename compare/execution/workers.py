"""Processes that train: a model is found again where it was trained, and a crash ends only one."""

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

import cloudpickle

from compare.errors import CrashError
from compare.execution.quiet import quietly

T = TypeVar("T")


class Worker:
    """A process of its own; after a crash, a new one."""

    def __init__(self) -> None:
        self._pool = _new_pool()

    def greet(self) -> Future:
        """Begins the process."""
        return self._pool.submit(os.getpid)

    def ask(self, work: Callable[..., T], *arguments: Any) -> T:
        """Has a function called there; lambdas may go along.

        Raises:
            CrashError: The process ended.
            Exception: Whatever the function raised.
        """
        packed = cloudpickle.dumps((work, arguments))
        try:
            return self._pool.submit(_unpacked, packed).result()  # type: ignore[return-value]
        except BrokenProcessPool:
            self._pool.shutdown()
            self._pool = _new_pool()
            raise CrashError(
                "the process that trained it ended: a crash in native code, or no memory left"
            ) from None

    def close(self) -> None:
        """Ends the process."""
        self._pool.shutdown()


def workers(count: int) -> list[Worker]:
    """So many, begun already."""
    begun = [Worker() for _ in range(max(count, 1))]
    with quietly():  # they inherit this standard error; what they raise comes back as exceptions
        for greeting in [worker.greet() for worker in begun]:
            greeting.result()
    return begun


def _new_pool() -> ProcessPoolExecutor:
    spawn = multiprocessing.get_context("spawn")  # TensorFlow does not survive a fork
    return ProcessPoolExecutor(1, mp_context=spawn)


def _unpacked(packed: bytes) -> object:
    work, arguments = cloudpickle.loads(packed)
    return work(*arguments)
