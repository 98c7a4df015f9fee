"""Train one engine in a process of its own, and answer how long each fit took.

python -m bench.peers.worker ENGINE SAMPLES EPOCHS BATCH_SIZE THREADS [PACKAGE ...]

Standard input has a line for each order, `go` or `quit`. Standard output has a line of JSON for
each answer and nothing else: what frameworks print goes to standard error.
"""

import json
import os
import pkgutil
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from typing import IO, Any

from bench.peers.workload import Prepare, Train
from compare.timing.memory import peak_memory


def main(engine: str, samples: int, epochs: int, batch_size: int, threads: int) -> None:
    """Train once cold, once more to warm up, then once for each order until the last."""
    _keep_to(threads)
    with _answers() as answers:
        try:
            prepare, import_seconds = _import_engine(engine, threads)
            start = time.perf_counter()
            train = prepare(samples, epochs, batch_size)
            first_loss = train()
            first_seconds = time.perf_counter() - start
            train()
            versions = _versions(sys.argv[6:])
            seconds = {"import_seconds": import_seconds, "first_seconds": first_seconds}
            _answer(answers, **seconds, first_loss=first_loss, versions=versions)
            _obey(answers, train)
        except Exception as error:  # shown in the row of this engine
            _answer(answers, failed=f"{type(error).__name__}: {error}")
            raise


def _keep_to(cores: int) -> None:
    """Limit this process to so many cores: all frameworks get equally many."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])


def _answers() -> IO[str]:
    """Return a copy of standard output; what frameworks print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answers


def _answer(answers: IO[str], **values: Any) -> None:
    answers.write(json.dumps(values) + "\n")
    answers.flush()


def _import_engine(engine: str, threads: int) -> tuple[Prepare, float]:
    start = time.perf_counter()
    prepare = pkgutil.resolve_name(f"bench.peers.engines.{engine}")
    seconds = time.perf_counter() - start
    if "torch" in sys.modules:  # other frameworks read environment variables, see process.py
        import torch

        torch.set_num_threads(threads)
        torch.set_num_interop_threads(threads)
    return prepare, seconds


def _obey(answers: IO[str], train: Train) -> None:
    for order in sys.stdin:
        if order.strip() == "quit":
            break
        start = time.perf_counter()
        loss = train()
        _answer(answers, seconds=time.perf_counter() - start, loss=loss)
    _answer(answers, peak_bytes=peak_memory() or 0)


def _versions(packages: list[str]) -> dict[str, str]:
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "-"
    return found


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:6]))
