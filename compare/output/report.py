"""Verdicts as tables: in the terminal and as Markdown."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from compare.diagnosis.answer import Diagnosis
from compare.execution.runner import Row
from compare.execution.script import ScriptVerdict
from compare.timing.clock import figure
from compare.timing.tables import new_table

SHOWN = 4
"""The most logs in the table of effects, which fits 80 columns."""


def print_report(console: Console, rows: Sequence[Row]) -> None:
    """Print a row for each scenario, the first differences of each, and the verdict."""
    console.print(_table(rows))
    for row in rows:
        if row.error:
            console.print(f"[bold red]{escape(str(row.error))}[/]", highlight=False)
        elif row.parity and not row.parity.identical:
            console.print(f"[bold red]{escape(str(row.parity))}[/]", highlight=False)
            for difference in (row.parity.unrepeatable or row.parity.differences)[1:5]:
                console.print(f"    {escape(str(difference))}", highlight=False)
    for row in rows:
        if row.parity and row.parity.identical and row.parity.plain:
            console.print(str(row.parity), markup=False, highlight=False)
        if row.parity and row.parity.one_by_one:
            console.print(
                f"{row.scenario.name} ran step by step: {row.parity.one_by_one}", markup=False
            )
    colour = "green" if all(row.holds for row in rows) else "red"
    console.print(f"[bold {colour}]{verdict(rows)}[/]", highlight=False)


def _table(rows: Sequence[Row]) -> Table:
    timed = any(row.throughput for row in rows)
    heads = ["values", "diff", *(["fit us", "loop us", "speed", "95%"] if timed else [])]
    about_times = "; microseconds a step, in whole fits" if timed else ""
    title = f"same seeds{about_times}"  # no wider than the narrowest table
    table = new_table(title, "scenario", figures=heads)
    for row in rows:
        name = row.scenario.name + " (XLA)" * row.scenario.xla
        colour = "green" if row.holds else "red"
        proof = [f"[{colour}]{cell}[/]" for cell in _proof_cells(row)]
        table.add_row(name, *proof, *(_time_cells(row) if timed else ()))
    return table


def _class(row: Row) -> str:
    """Return the class of exactness if it was proved, else a dash."""
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
    before, after = times.medians
    return f"{before:,.0f}", f"{after:,.0f}", *times.shown


def verdict(rows: Sequence[Row]) -> str:
    """Return a sentence about all rows."""
    proved = [row.parity for row in rows if row.parity]
    identical = sum(parity.identical for parity in proved)
    parts = []
    if proved or any(row.error for row in rows):
        compared = sum(parity.compared for parity in proved)
        differing = sum(len(parity.differences) for parity in proved)
        parts.append(
            f"{identical} of {len(rows)} scenarios identical: {compared:,} values compared, "
            f"{differing:,} differ"
        )
    if ratios := [row.throughput.ratio.median for row in rows if row.throughput]:
        parts.append(f"{statistics.median(ratios):.1f}x as fast (median of all)")
    return "; ".join(parts)


def print_script(console: Console, found: ScriptVerdict) -> None:
    """Print a row for each call of a script, and the verdict."""
    table = new_table(
        f"{found.script} under Keras and under glassfit, call by call",
        "call",
        "line",
        figures=("steps", "values", "differ", "Keras s", "ours s", "speed"),
    )
    table.columns[0].no_wrap = True
    for call in found.calls:
        table.add_row(
            call.reference.method,
            call.reference.place,
            str(call.reference.steps),
            f"{call.compared:,}",
            f"[{'red' if call.differences else 'green'}]{len(call.differences):,}[/]",
            f"{call.reference.seconds:.2f}",
            f"{call.candidate.seconds:.2f}",
            f"{figure(call.speed)}x",
        )
    console.print(table)
    colour = "red" if found.outcome else "green"
    console.print(f"[bold {colour}]{escape(str(found))}[/]", highlight=False)


def print_effects(console: Console, found: Diagnosis) -> None:
    """Print what the logs of the last epoch are with the causes of a difference mended."""
    logs = found.shared_logs[:SHOWN]
    table = new_table("what the last epoch logs", "", figures=logs)
    for label, values in found.effects():
        cells = [f"{values[name]:.6g}" if name in values else "-" for name in logs]
        table.add_row(label, *cells)
    if logs:
        console.print(table)


def write_markdown(path: Path, rows: Sequence[Row]) -> None:
    """Write a Markdown table: how many values were compared and differ, what a scenario shows."""
    lines = ["| scenario | class | values | differ | what it shows |", "|---|---|---:|---:|---|"]
    for row in rows:
        compared, differing = _proof_cells(row)
        lines.append(
            f"| `{row.scenario.name}` | {_class(row)} | {compared} | {differing} "
            f"| {row.scenario.shows} |"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
