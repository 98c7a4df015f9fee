"""Rounds in which every engine trains once, and the record of each engine."""

import random
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bench.peers.peers import Peer
from bench.peers.process import Settings, Worker, WorkerError
from compare.timing.clock import Ratio, microseconds, ratio

SEED = 7


@dataclass
class Result:
    """What was measured of a peer.

    Attributes:
        peer: The engine.
        failed: Why it stopped early; None where it did not.
        versions: The versions of its packages.
        import_seconds: Seconds to import the framework: column "import s".
        first_seconds: Seconds from there to the end of the first fit: column "first s".
        seconds: Seconds of a warm fit, a value for each round.
        losses: The loss of the last epoch of each round; the last of them is column "loss".
        peak_bytes: The most memory that its process held, in bytes: column "MB" in 1e6 bytes.
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
        """Return the column "us/step", see `compare.timing.clock.microseconds`."""
        return microseconds(self.seconds, steps)

    def ratio(self, reference: "Result") -> Ratio:
        """Return the columns "speed" and "95%", from pairs of the same round."""
        return ratio(reference.seconds, self.seconds)

    def away(self, reference: "Result") -> float:
        """Return the largest distance of its loss from the reference's, over all rounds."""
        pairs = zip(self.losses, reference.losses, strict=True)
        return max(abs(mine - theirs) for mine, theirs in pairs)


def measure(
    peers: Sequence[Peer],
    settings: Settings,
    rounds: int,
    logs: Path,
    on_progress: Callable[[str], None],
) -> list[Result]:
    """Start every peer, one after the other, then time one fit of each in every round.

    Only one process works at a time; all others wait for a line on their standard input. The order
    is shuffled in each round, so that no engine always runs after the same engine.

    Args:
        peers: Which engines take part.
        settings: What is the same for all of them.
        rounds: How many fits of each are timed.
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
    """Run a peer's first fit; return None, with the reason in the result, where it fails."""
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
