"""Run scenarios in worker processes: proofs in parallel, then timings one after the other.

A worker keeps the models of its proofs, with their traced graphs. Timing starts when all proofs are
done: each scenario is timed in the worker that proved it, while the other workers wait.
"""

import contextlib
import io
import os
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, TypeVar

import keras

import loop
from compare.errors import CannotCompareError, CrashError, Outcome
from compare.execution.workers import Worker, workers
from compare.proof import Parity, prove
from compare.recording.recorder import empty_folder
from compare.recording.trials import Trainings
from compare.scenario import Fit, Scenario
from compare.timing.device import use
from compare.timing.throughput import Throughput, throughput

T = TypeVar("T")


OnProgress = Callable[[Literal["proved", "timed"], "Row"], None]
"""Called with each row after its proof and after its timing, by one thread at a time."""


@dataclass(frozen=True)
class Failure:
    """Why there is no verdict.

    Attributes:
        text: The reason.
        outcome: The exit status.
    """

    text: str
    outcome: Outcome = Outcome.CANDIDATE_FAILED

    def __str__(self) -> str:
        return self.text


@dataclass
class Row:
    """The results for one scenario: a verdict, times, or why there are none."""

    scenario: Scenario
    parity: Parity | None = None
    throughput: Throughput | None = None
    error: Failure | None = None

    @property
    def outcome(self) -> Outcome:
        """How the comparison ended."""
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
    device: str | None = None,
    on_progress: OnProgress = lambda _step, _row: None,
) -> list[Row]:
    """Prove and time scenarios.

    Args:
        scenarios: What to train, in worker processes.
        candidate: The engine to compare.
        reference: The engine to compare it with.
        proofs: Whether to compare bits.
        times: Whether to time.
        device: "cpu" or "gpu"; None is what TensorFlow chooses.
        on_progress: See `OnProgress`.

    Returns:
        A row for each scenario, in their order.
    """
    rows = _new_rows(scenarios)
    fits = candidate, reference
    ready = workers(min(len(scenarios), os.cpu_count() or 1) if proofs else 1)
    try:
        if device:
            for worker in ready:
                worker.ask(use, device)
        proved_by = _prove_all(rows, fits, ready, on_progress) if proofs else {}
        for row in rows if times else ():
            if row.error is None:
                worker = proved_by.get(row.scenario.name, ready[0])
                row.throughput, row.error = _result_of(worker, _time, row.scenario, fits)
            on_progress("timed", row)
    finally:
        for worker in ready:
            worker.close()
    return rows


def _new_rows(scenarios: Sequence[Scenario]) -> list[Row]:
    if len({scenario.name for scenario in scenarios}) < len(scenarios):
        raise ValueError("every scenario needs a name of its own")
    return [Row(scenario) for scenario in scenarios]


def _prove_all(
    rows: list[Row], fits: tuple[Fit, Fit], ready: list[Worker], on_progress: OnProgress
) -> dict[str, Worker]:
    """Prove all rows, each worker taking the next one; return which worker proved which."""
    proved_by: dict[str, Worker] = {}
    waiting: queue.SimpleQueue[Row] = queue.SimpleQueue()
    for row in rows:
        waiting.put(row)
    one_at_a_time = threading.Lock()

    def prove_next(worker: Worker) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                row = waiting.get_nowait()
                proved_by[row.scenario.name] = worker
                row.parity, row.error = _result_of(worker, _prove, row.scenario, fits)
                with one_at_a_time:
                    on_progress("proved", row)

    with ThreadPoolExecutor(len(ready)) as threads:
        list(threads.map(prove_next, ready))
    return proved_by


def _result_of(
    worker: Worker,
    work: Callable[[Scenario, Fit, Fit], T],
    scenario: Scenario,
    fits: tuple[Fit, Fit],
) -> tuple[T | None, Failure | None]:
    """Return what a worker returns, or why it failed."""
    try:
        return worker.ask(work, scenario, *fits), None
    except CrashError as error:
        return None, Failure(f"{scenario.name}: {error}")
    except CannotCompareError as error:
        return None, Failure(str(error), error.outcome)
    except Exception as error:  # an engine may raise anything; the table must show it
        return None, Failure(f"{scenario.name}: {type(error).__name__}: {error}")


_trained: dict[str, tuple[keras.Model, keras.Model]] = {}  # in a worker: models of its proofs


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
