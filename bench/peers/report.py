"""The table for the terminal, sorted by speed, and the JSON with every value."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench.peers.measure import Result
from bench.peers.process import Settings
from compare.timing.clock import figure
from compare.timing.tables import new_table

FURTHEST = 1e-2
"""Losses further apart than this do not come from the same training."""


def print_report(console: Console, results: Sequence[Result], settings: Settings) -> None:
    """Print a row for each peer, the fastest first, their versions, and what went wrong."""
    console.print(_table(results, settings))
    console.print(_versions(results), highlight=False)
    reference = results[0]
    for result in results:
        name = f"[bold]{result.peer.title}[/]"
        if result.failed is not None:
            reason = " ".join(result.failed.split())
            console.print(f"{name} did not run: {escape(reason)}", highlight=False)
        elif reference.failed is None and (away := result.away(reference)) > FURTHEST:
            console.print(f"{name} trains something else: loss {away:.3f} away", highlight=False)


def _table(results: Sequence[Result], settings: Settings) -> Table:
    table = new_table(
        f"{settings.steps:,} steps of {settings.batch_size} samples in "
        f"{settings.epochs} epochs, {settings.threads} threads",
        "engine",
        figures=["us/step", "speed", "95%", "first s", "import s", "MB", "loss"],
    )
    ran = [result for result in results if result.failed is None]
    for result in sorted(ran, key=lambda result: result.microseconds(settings.steps)):
        table.add_row(result.peer.title, *_cells(result, results[0], settings))
    for result in results:
        if result.failed is not None:
            table.add_row(result.peer.title, "failed")
    return table


def _cells(result: Result, reference: Result, settings: Settings) -> tuple[str, ...]:
    speed, spread = "-", "-"
    if result is reference:
        speed = "1.00x"
    elif reference.failed is None:
        speed, spread = result.ratio(reference).cells()
    return (
        figure(result.microseconds(settings.steps)),
        speed,
        spread,
        f"{result.first_seconds:.1f}",
        f"{result.import_seconds:.1f}",
        f"{result.peak_bytes / 1e6:,.0f}",
        f"{result.losses[-1]:.4f}",
    )


def _versions(results: Sequence[Result]) -> str:
    """Return the first package of every peer that ran, with its version."""
    ran = [result for result in results if result.failed is None]
    first = [(result.peer.packages[0], result.versions) for result in ran]
    found = [f"{package} {versions[package].split('+')[0]}" for package, versions in first]
    return "versions: " + ", ".join(dict.fromkeys(found))


def write_json(
    path: Path, results: Sequence[Result], settings: Settings, environment: dict[str, Any]
) -> None:
    """Write every value, in seconds a fit, and what the figures depend on."""
    document = {
        "environment": environment,
        "settings": {**asdict(settings), "steps": settings.steps, "variables": settings.variables},
        "peers": [_as_json(result, results[0], settings) for result in results],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2) + "\n")


def _as_json(result: Result, reference: Result, settings: Settings) -> dict[str, Any]:
    record: dict[str, Any] = {
        "name": result.peer.name,
        "engine": result.peer.engine,
        "variables": result.peer.variables,
        "versions": result.versions,
    }
    if result.failed is not None:
        return {**record, "failed": result.failed}
    record |= {
        "import_seconds": result.import_seconds,
        "first_seconds": result.first_seconds,
        "peak_bytes": result.peak_bytes,
        "seconds": result.seconds,
        "losses": result.losses,
        "median_us_per_step": result.microseconds(settings.steps),
    }
    if reference.failed is None:
        record |= {
            **vars(result.ratio(reference)),
            "furthest_loss": result.away(reference),
        }
    return record
