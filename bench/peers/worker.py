"""One engine in a process of its own: it trains when it is told to, and says how long it took.

python -m bench.peers.worker ENGINE SAMPLES EPOCHS BATCH_SIZE THREADS [PACKAGE ...]

Standard input has a line for each order, `go` or `quit`. Standard output has a line of JSON for
each answer and nothing else: what frameworks print goes to standard error.
"""

import json
import os
import pkgutil
import resource
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any

from bench.peers.workload import Prepare, Train


def main(engine: str, samples: int, epochs: int, batch_size: int, threads: int) -> None:
    """Trains once cold and once more to warm up, then on orders until there are no more."""
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
        except Exception as error:  # whatever it is, it is this engine's line in the report
            _answer(answers, failed=f"{type(error).__name__}: {error}")
            raise


def _keep_to(cores: int) -> None:
    """Leaves this process that many cores, so that no framework can have more than another."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])


def _answers() -> IO[str]:
    """The real standard output, out of reach of everyone who prints."""
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
    if "torch" in sys.modules:  # the others read their environment, see process.py
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
    _answer(answers, peak_bytes=_peak_bytes())


def _peak_bytes() -> int:
    """The most memory that this process ever held.

    From /proc where there is one: what getrusage says may still be the peak of our parent, whose
    memory we shared until we became ourselves.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


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
