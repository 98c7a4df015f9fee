"""Rounds in which every engine trains once, and what they amount to."""

import random
import statistics
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bench.peers.peers import Peer
from bench.peers.process import Settings, Worker, WorkerError
from compare.timing import Ratio, ratio

SEED = 7


@dataclass
class Result:
    """What became of a peer.

    Attributes:
        peer: Who.
        failed: Why it could not go on; None if it could.
        versions: Of its packages.
        import_seconds: What importing the framework took.
        first_seconds: From nothing but the import to the end of the first fit.
        seconds: Of each round's fit.
        losses: Of each round's last epoch.
        peak_bytes: The most memory it held.
    """

    peer: Peer
    failed: str | None = None
    versions: dict[str, str] = field(default_factory=dict)
    import_seconds: float = 0.0
    first_seconds: float = 0.0
    seconds: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    peak_bytes: int = 0

    def microseconds(self, steps: int) -> float:
        """The median fit's microseconds per step."""
        return 1e6 * statistics.median(self.seconds) / steps

    def ratio(self, reference: "Result") -> Ratio:
        """How many times as fast as the reference it was, round by round."""
        return ratio(reference.seconds, self.seconds)

    def away(self, reference: "Result") -> float:
        """The furthest that its loss was from the reference's after as many fits."""
        pairs = zip(self.losses, reference.losses, strict=True)
        return max(abs(mine - theirs) for mine, theirs in pairs)


def measure(
    peers: Sequence[Peer],
    settings: Settings,
    rounds: int,
    logs: Path,
    on_progress: Callable[[str], None],
) -> list[Result]:
    """Starts every peer, one after the other, then has them take turns.

    Only one works at a time; the others wait for a line on their standard input. The order is
    another one in each round, so that nobody always follows the same neighbour.

    Args:
        peers: Who takes part.
        settings: What is the same for all.
        rounds: How many fits each is timed on.
        logs: The folder for what the frameworks print.
        on_progress: Called with what is being done.

    Returns:
        A result for each peer, in their order.
    """
    results = [Result(peer) for peer in peers]
    with ExitStack() as stack:
        running = []
        for result in results:
            on_progress(f"{result.peer.title}: first fit")
            if worker := _start(result, settings, logs, stack):
                running.append((result, worker))
        for place in range(rounds):
            turns = [pair for pair in running if pair[0].failed is None]
            random.Random(SEED + place).shuffle(turns)
            for result, worker in turns:
                on_progress(f"round {place + 1} of {rounds}: {result.peer.title}")
                _take_turn(result, worker)
        for result, worker in running:
            if result.failed is None:
                _end(result, worker)
    return results


def _start(result: Result, settings: Settings, logs: Path, stack: ExitStack) -> Worker | None:
    """Runs a peer's first fit; None, and the reason in the result, if it cannot."""
    try:
        worker = stack.enter_context(Worker(result.peer, settings, logs))
        answer = worker.answer()
    except WorkerError as failure:
        result.failed = str(failure)
        return None
    result.versions = answer["versions"]
    result.import_seconds = answer["import_seconds"]
    result.first_seconds = answer["first_seconds"]
    return worker


def _take_turn(result: Result, worker: Worker) -> None:
    try:
        answer = worker.order("go")
    except WorkerError as failure:
        result.failed = str(failure)
        return
    result.seconds.append(answer["seconds"])
    result.losses.append(answer["loss"])


def _end(result: Result, worker: Worker) -> None:
    try:
        result.peak_bytes = worker.order("quit")["peak_bytes"]
    except WorkerError as failure:
        result.failed = str(failure)
