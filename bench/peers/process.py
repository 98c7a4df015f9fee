"""Start a worker process, send it orders, read its answers and the reason for a failure."""

import json
import os
import select
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench.peers.peers import ROOT, Peer

PATIENCE = 900
"""Seconds after which a worker that does not answer counts as failed."""


@dataclass(frozen=True)
class Settings:
    """What is the same for every peer.

    Attributes:
        samples: Samples in the data, whole batches of them.
        epochs: Epochs in one fit.
        batch_size: Samples in a batch.
        threads: Threads within and between operations, and cores to run on.
    """

    samples: int
    epochs: int
    batch_size: int
    threads: int

    @property
    def steps(self) -> int:
        """Steps in one fit."""
        return self.epochs * (self.samples // self.batch_size)

    @property
    def variables(self) -> dict[str, str]:
        """Environment variables of every worker: the number of threads for each framework."""
        threads = str(self.threads)
        return {
            "TF_NUM_INTRAOP_THREADS": threads,
            "TF_NUM_INTEROP_THREADS": threads,
            "OMP_NUM_THREADS": threads,
            # By default PyTorch's threads spin while they wait: with another process on a core,
            # its steps take up to eighty times as long. Threads that sleep cost little.
            "OMP_WAIT_POLICY": "PASSIVE",
            "MKL_NUM_THREADS": threads,
            "OPENBLAS_NUM_THREADS": threads,
            "NPROC": threads,  # the size of XLA's own thread pool
            "XLA_FLAGS": f"--xla_cpu_multi_thread_eigen={str(self.threads > 1).lower()}",
            "CUDA_VISIBLE_DEVICES": "-1",
            "JAX_PLATFORMS": "cpu",
            "TF_CPP_MIN_LOG_LEVEL": "3",
        }


class WorkerError(Exception):
    """Raised where a worker cannot go on; the message says why, in a line."""


class Worker:
    """The process of a peer, as a context manager that kills the process at the end."""

    def __init__(self, peer: Peer, settings: Settings, logs: Path) -> None:
        """Start the process; what its framework prints goes to a file in `logs`.

        Raises:
            WorkerError: The environment of the peer does not exist.
        """
        if not peer.python.exists():
            folder = peer.python.parents[1].relative_to(ROOT)
            raise WorkerError(
                f"{folder} is missing: run `make bench-peers`, or see requirements.txt"
            )
        logs.mkdir(parents=True, exist_ok=True)
        self.log = logs / f"{peer.name}.log"
        sizes = (settings.samples, settings.epochs, settings.batch_size, settings.threads)
        command = [peer.python, "-m", "bench.peers.worker", peer.engine, *sizes, *peer.packages]
        with self.log.open("w") as log:
            self._process = subprocess.Popen(
                [str(part) for part in command],
                cwd=ROOT,
                env={**os.environ, **settings.variables, **peer.variables},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                bufsize=0,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()

    def order(self, what: str) -> dict[str, Any]:
        """Send an order, `go` or `quit`, and return the answer.

        Raises:
            WorkerError: The worker reports a failure, has ended, or does not answer in time.
        """
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # the process ended: its last answer is read below
            self._process.stdin.write(f"{what}\n".encode())
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """Return the next answer.

        Raises:
            WorkerError: The worker reports a failure, has ended, or does not answer in time.
        """
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], PATIENCE)
        if not ready:
            raise WorkerError(f"no answer within {PATIENCE} seconds")
        line = self._process.stdout.readline()
        if not line:
            raise WorkerError(f"ended with status {self._process.wait()}, see {self.log}")
        answer = json.loads(line)
        if "failed" in answer:
            raise WorkerError(answer["failed"])
        return answer
