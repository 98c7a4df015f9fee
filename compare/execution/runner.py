"""Runs scenarios in worker processes: proofs side by side, times one after the other.

A worker keeps the models it has proved, traced and warm. When no proof runs any more, each is timed
where it lives, and nothing else runs meanwhile.
"""

import contextlib
import io
import os
import queue
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import keras

import loop
from compare.errors import CannotCompareError, CrashError, Outcome
from compare.execution.workers import Worker, workers
from compare.proof import Parity, prove
from compare.recording.recorder import empty_folder
from compare.recording.trials import Trainings
from compare.scenario import Fit, Scenario
from compare.timing.throughput import Throughput, throughput

T = TypeVar("T")


@dataclass(frozen=True)
class Failure:
    """Why there is no verdict, as text, and the exit status it stands for."""

    text: str
    outcome: Outcome = Outcome.CANDIDATE_FAILED

    def __str__(self) -> str:
        return self.text


@dataclass
class Row:
    """What was found out about one scenario: a verdict, times, or what went wrong."""

    scenario: Scenario
    parity: Parity | None = None
    throughput: Throughput | None = None
    error: Failure | None = None

    @property
    def outcome(self) -> Outcome:
        """How it ended."""
        if self.error:
            return self.error.outcome
        return self.parity.outcome if self.parity else Outcome.IDENTICAL

    @property
    def holds(self) -> bool:
        """Whether nothing failed and nothing differs."""
        return self.outcome is Outcome.IDENTICAL


def run(
    scenarios: Sequence[Scenario],
    candidate: Fit,
    reference: Fit = keras.Model.fit,
    *,
    proofs: bool = True,
    times: bool = True,
    on_progress: Callable[[str], None] = lambda _: None,
) -> list[Row]:
    """Proves and times scenarios.

    Args:
        scenarios: What to train, in processes of their own.
        candidate: The engine to compare.
        reference: The engine to compare it with.
        proofs: Whether to compare bits.
        times: Whether to time.
        on_progress: Told what was finished, once for each proof and for each timing.

    Returns:
        A row for each scenario, in their order.
    """
    rows = _by_name(scenarios)
    homes: dict[str, Worker] = {}
    ready = workers(min(len(scenarios), os.cpu_count() or 1) if proofs else 1)
    waiting: queue.SimpleQueue[Scenario] = queue.SimpleQueue()
    for scenario in scenarios if proofs else ():
        waiting.put(scenario)

    def prove_next(worker: Worker) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                scenario = waiting.get_nowait()
                homes[scenario.name] = worker
                row = rows[scenario.name]
                row.parity, row.error = _asked(worker, _prove, scenario, (candidate, reference))
                on_progress(f"proved {scenario.name}")

    try:
        with ThreadPoolExecutor(len(ready)) as threads:
            list(threads.map(prove_next, ready))
        for row in rows.values() if times else ():
            if row.error is None:
                home = homes.get(row.scenario.name, ready[0])
                row.throughput, row.error = _asked(
                    home, _time, row.scenario, (candidate, reference)
                )
            on_progress(f"timed {row.scenario.name}")
    finally:
        for worker in ready:
            worker.close()
    return list(rows.values())


def _by_name(scenarios: Sequence[Scenario]) -> dict[str, Row]:
    rows = {scenario.name: Row(scenario) for scenario in scenarios}
    if len(rows) < len(scenarios):
        raise ValueError("every scenario needs a name of its own")
    return rows


def _asked(
    worker: Worker,
    work: Callable[[Scenario, Fit, Fit], T],
    scenario: Scenario,
    fits: tuple[Fit, Fit],
) -> tuple[T | None, Failure | None]:
    try:
        return worker.ask(work, scenario, *fits), None
    except CrashError as error:
        return None, Failure(f"{scenario.name}: {error}")
    except CannotCompareError as error:
        return None, Failure(str(error), error.outcome)
    except Exception as error:  # an engine may raise anything; the table must show it
        return None, Failure(f"{scenario.name}: {type(error).__name__}: {error}")


_trained: dict[str, tuple[keras.Model, keras.Model]] = {}  # in a worker: what it has proved


def _prove(scenario: Scenario, candidate: Fit, reference: Fit) -> Parity:
    with contextlib.redirect_stdout(io.StringIO()):
        trainings = Trainings(scenario, candidate, reference)
        verdict = prove(trainings)
        models = trainings.by_reference("nothing").model, trainings.by_candidate("nothing").model
        _trained[scenario.name] = models
        if isinstance(candidate, partial) and candidate.func is loop.fit:
            reason = _why_one_by_one(scenario, models[1], candidate.keywords["plan"])
            verdict = replace(verdict, one_by_one=reason)
    return verdict


def _why_one_by_one(scenario: Scenario, model: keras.Model, plan: str) -> str | None:
    with empty_folder():
        found = loop.explain(model, **{**scenario.data(), "plan": plan})
    return found.reason if found.plan == "step" else None


def _time(scenario: Scenario, candidate: Fit, reference: Fit) -> Throughput | None:
    with contextlib.redirect_stdout(io.StringIO()):
        trained = _trained.pop(scenario.name, None)
        return throughput(scenario, candidate, reference, trained=trained)
