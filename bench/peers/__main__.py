"""`python -m bench.peers`: the same small training through every engine, timed in turns."""

from compare.execution.quiet import import_tensorflow_quietly

import_tensorflow_quietly()  # before anything else imports TensorFlow

# isort: split
import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench.peers.measure import measure
from bench.peers.peers import find
from bench.peers.process import Settings
from bench.peers.report import print_report, write_json
from compare.release.environment import environment
from compare.timing.tables import WIDTH

BATCH_SIZE = 32
BUSY = 0.5
"""The load average above which times mean little: other processes slow engines down unequally."""

Rounds = Annotated[int, typer.Option(min=2, help="Fits that each engine is timed on.")]
Samples = Annotated[int, typer.Option(min=BATCH_SIZE, help="Whole batches of 32.")]
Epochs = Annotated[int, typer.Option(min=1, help="Epochs in one fit.")]
Threads = Annotated[int | None, typer.Option(min=1, help="For each engine; all cores by default.")]
Only = Annotated[list[str] | None, typer.Option(help="A peer; may be repeated. All by default.")]
Json = Annotated[Path, typer.Option(help="The file for every sample.")]


def main(
    rounds: Rounds = 9,
    samples: Samples = 32_000,
    epochs: Epochs = 2,
    threads: Threads = None,
    only: Only = None,
    json: Json = Path("build/bench/peers.json"),
) -> None:
    """Time one fit of the same small model under every engine, relative to keras fit."""
    if samples % BATCH_SIZE:
        raise typer.BadParameter(f"--samples: expected a multiple of {BATCH_SIZE}, got {samples}")
    try:
        peers = find(only or [])
    except KeyError as error:
        raise typer.BadParameter(f"--only: {error.args[0]}") from None
    settings = Settings(samples, epochs, BATCH_SIZE, threads or _cores())
    load = os.getloadavg()[0]
    with Console(stderr=True).status("starting") as status:
        results = measure(peers, settings, rounds, json.parent / "peers", status.update)
    console = Console(width=WIDTH)
    print_report(console, results, settings)
    if load > BUSY:
        console.print(
            f"Other processes were running (load {load:.1f}): repeat this on an idle machine"
        )
    write_json(json, results, settings, {**environment(), "load_before": load})
    console.print(f"Written to {json}", highlight=False)
    raise typer.Exit(1 if results[0].failed else 0)


def _cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


if __name__ == "__main__":
    typer.run(main)
