"""What a person reads at the end, and the JSON for machines."""

import json
import os
import platform
import statistics
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import tensorflow as tf
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from compare.runner import Row
from compare.timing import figure


def print_report(console: Console, rows: Sequence[Row]) -> None:
    """Prints a row for each scenario, then every difference found, then the verdict."""
    console.print(_table(rows))
    for row in rows:
        if row.error:
            console.print(
                f"[bold red]{row.scenario.name}[/] failed: {escape(row.error)}", highlight=False
            )
        elif row.parity and not row.parity.identical:
            console.print(f"[bold red]{escape(str(row.parity))}[/]", highlight=False)
            for one in (row.parity.unrepeatable or row.parity.differences)[1:5]:
                console.print(f"    {escape(str(one))}", highlight=False)
    for row in rows:
        if row.parity and row.parity.one_by_one:
            console.print(
                f"{row.scenario.name} ran step by step: {row.parity.one_by_one}", markup=False
            )
    console.print(_verdict(rows), highlight=False)


def new_table(title: str, *names: str) -> Table:
    """A table in the one style that all of ours have, begun with columns of names."""
    table = Table(
        title=title,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for name in names:
        table.add_column(name, no_wrap=True)
    return table


def _table(rows: Sequence[Row]) -> Table:
    table = new_table(
        "model.fit and loop.fit from the same seeds"
        + ("; times are of whole fits, per step" if any(row.throughput for row in rows) else ""),
        "scenario",
        "class",
    )
    for column in ("values", "diff", "fit us", "loop us", "speed", "95%"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            row.scenario.name,
            _class(row),
            *(f"[{'green' if row.holds else 'red'}]{cell}[/]" for cell in _proof_cells(row)),
            *_time_cells(row),
        )
    return table


def _class(row: Row) -> str:
    """The class of exactness that was proved, not the one that was claimed."""
    return row.scenario.exactness if row.parity and row.parity.identical else "-"


def _proof_cells(row: Row) -> tuple[str, str]:
    if row.parity is None:
        return "-", "failed" if row.error else "-"
    if row.parity.unrepeatable:
        return f"{row.parity.compared:,}", "fit itself"
    return f"{row.parity.compared:,}", f"{len(row.parity.differences):,}"


def _time_cells(row: Row) -> tuple[str, str, str, str]:
    times = row.throughput
    if times is None:
        return "-", "-", "-", "-"
    speed = times.ratio
    return (
        f"{statistics.median(times.reference):,.0f}",
        f"{statistics.median(times.candidate):,.0f}",
        f"{figure(speed.median)}x",
        f"{figure(speed.low)}-{figure(speed.high)}",
    )


def _verdict(rows: Sequence[Row]) -> str:
    proved = [row.parity for row in rows if row.parity]
    good = sum(one.identical for one in proved)
    parts = []
    if proved or any(row.error for row in rows):
        colour = "green" if all(row.holds for row in rows) else "red"
        compared = sum(one.compared for one in proved)
        differing = sum(len(one.differences) for one in proved)
        parts.append(
            f"[bold {colour}]{good} of {len(rows)} scenarios identical[/]: "
            f"{compared:,} values compared, {differing:,} differ"
        )
    if ratios := [row.throughput.ratio.median for row in rows if row.throughput]:
        parts.append(f"loop.fit is {statistics.median(ratios):.1f}x as fast (median)")
    return "; ".join(parts)


def write_json(path: Path, rows: Sequence[Row]) -> None:
    """Writes verdicts, raw time samples in microseconds per step, and the environment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {"environment": environment(), "scenarios": [_as_json(row) for row in rows]}
    path.write_text(json.dumps(document, indent=2) + "\n")


def write_markdown(path: Path, rows: Sequence[Row]) -> None:
    """Writes the table of proof: what was compared, what differs, what each scenario shows."""
    lines = ["| scenario | class | values | differ | what it shows |", "|---|---|---:|---:|---|"]
    for row in rows:
        compared, differing = _proof_cells(row)
        lines.append(
            f"| `{row.scenario.name}` | {_class(row)} | {compared} | {differing} "
            f"| {row.scenario.shows} |"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def _as_json(row: Row) -> dict[str, Any]:
    record: dict[str, Any] = {"scenario": row.scenario.name, "shows": row.scenario.shows}
    if row.error:
        record["error"] = row.error
    if row.parity:
        record["parity"] = {
            "class": row.scenario.exactness,
            "identical": row.parity.identical,
            "one_by_one": row.parity.one_by_one,
            "compared": row.parity.compared,
            "differences": [str(one) for one in row.parity.differences[:100]],
            "differing": len(row.parity.differences),
            "reference_against_itself": [str(one) for one in row.parity.unrepeatable[:100]],
        }
    if row.throughput:
        record["throughput"] = {
            "steps": row.throughput.steps,
            "reference_us_per_step": row.throughput.reference,
            "candidate_us_per_step": row.throughput.candidate,
            **vars(row.throughput.ratio),
        }
    return record


def environment() -> dict[str, Any]:
    """What the figures depend on: versions, processor, threads and flags."""
    flags = ("TF_ENABLE_ONEDNN_OPTS", "XLA_FLAGS", "TF_XLA_FLAGS", "TF_DETERMINISTIC_OPS")
    return {
        "packages": {name: version(name) for name in ("glassfit", "keras", "tensorflow", "numpy")},
        "python": platform.python_version(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "devices": [device.name for device in tf.config.list_physical_devices()],
        "intra_op_threads": tf.config.threading.get_intra_op_parallelism_threads(),
        "inter_op_threads": tf.config.threading.get_inter_op_parallelism_threads(),
        "flags": {name: os.environ[name] for name in flags if name in os.environ},
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
