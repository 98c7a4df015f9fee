"""Runs scenarios in worker processes: proofs side by side, times one after the other.

A worker keeps the models it has proved, traced and warm. When no proof runs any more, each is timed
where it lives, and nothing else runs meanwhile.
"""

import contextlib
import io
import multiprocessing
import os
import queue
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import keras

import loop
from compare._quiet import quietly
from compare.parity import Parity, prove
from compare.recorder import empty_folder
from compare.scenario import Fit, Scenario
from compare.throughput import Throughput, throughput

T = TypeVar("T")


@dataclass
class Row:
    """What was found out about one scenario: a verdict, times, or what went wrong."""

    scenario: Scenario
    parity: Parity | None = None
    throughput: Throughput | None = None
    error: str | None = None

    @property
    def holds(self) -> bool:
        """Whether nothing failed and nothing differs."""
        return self.error is None and (self.parity is None or self.parity.identical)


def run(
    scenarios: Sequence[Scenario],
    candidate: Fit,
    *,
    proofs: bool = True,
    times: bool = True,
    on_progress: Callable[[str], None] = lambda _: None,
) -> list[Row]:
    """Proves and times scenarios.

    Args:
        scenarios: What to train; importable, as the workers are processes of their own.
        candidate: The engine to compare with `model.fit`.
        proofs: Whether to compare bits.
        times: Whether to time.
        on_progress: Told what was finished, once for each proof and for each timing.

    Returns:
        A row for each scenario, in their order.
    """
    rows = {scenario.name: Row(scenario) for scenario in scenarios}
    homes: dict[str, ProcessPoolExecutor] = {}
    workers = _workers(min(len(scenarios), os.cpu_count() or 1) if proofs else 1)
    waiting: queue.SimpleQueue[Scenario] = queue.SimpleQueue()
    for scenario in scenarios if proofs else ():
        waiting.put(scenario)

    def prove_next(worker: ProcessPoolExecutor) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                scenario = waiting.get_nowait()
                homes[scenario.name] = worker
                row = rows[scenario.name]
                row.parity, row.error = _asked(worker, _prove, scenario, candidate)
                on_progress(f"proved {scenario.name}")

    try:
        with ThreadPoolExecutor(len(workers)) as threads:
            list(threads.map(prove_next, workers))
        for row in rows.values() if times else ():
            if row.error is None:
                home = homes.get(row.scenario.name, workers[0])
                row.throughput, row.error = _asked(home, _time, row.scenario, candidate)
            on_progress(f"timed {row.scenario.name}")
    finally:
        for worker in workers:
            worker.shutdown()
    return list(rows.values())


def _asked(
    worker: ProcessPoolExecutor,
    work: Callable[[Scenario, Fit], tuple[T | None, str | None]],
    scenario: Scenario,
    candidate: Fit,
) -> tuple[T | None, str | None]:
    try:
        return worker.submit(work, scenario, candidate).result()
    except BrokenProcessPool:
        return None, "the process that trained it ended: a crash in native code, or no memory left"


def _workers(count: int) -> list[ProcessPoolExecutor]:
    """Processes of one worker each, so that a model is found again where it was trained."""
    spawn = multiprocessing.get_context("spawn")  # TensorFlow does not survive a fork
    workers = [ProcessPoolExecutor(1, mp_context=spawn) for _ in range(max(count, 1))]
    with quietly():  # they inherit this standard error; what they raise comes back as exceptions
        for greeting in [worker.submit(os.getpid) for worker in workers]:
            greeting.result()
    return workers


_trained: dict[str, tuple[keras.Model, keras.Model]] = {}  # in a worker: what it has proved


def _prove(scenario: Scenario, candidate: Fit) -> tuple[Parity | None, str | None]:
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            verdict, models = prove(scenario, candidate, keras.Model.fit)
            _trained[scenario.name] = models
            if isinstance(candidate, partial) and candidate.func is loop.fit:
                reason = _why_one_by_one(scenario, models[1], candidate.keywords["plan"])
                verdict = replace(verdict, one_by_one=reason)
    except Exception as error:  # an engine may raise anything; the table must show it
        return None, f"{type(error).__name__}: {error}"
    return verdict, None


def _why_one_by_one(scenario: Scenario, model: keras.Model, plan: str) -> str | None:
    with empty_folder():
        found = loop.explain(model, **{**scenario.data(), "plan": plan})
    return found.reason if found.plan == "step" else None


def _time(scenario: Scenario, candidate: Fit) -> tuple[Throughput | None, str | None]:
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            trained = _trained.pop(scenario.name, None)
            return throughput(scenario, candidate, trained=trained), None
    except Exception as error:  # as above
        return None, f"{type(error).__name__}: {error}"
