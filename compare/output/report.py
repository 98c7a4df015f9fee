"""The table of scenarios: on the terminal, and as Markdown."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from compare.execution.runner import Row
from compare.output.tables import new_table


def print_report(console: Console, rows: Sequence[Row]) -> None:
    """Prints a row for each scenario, then the first differences of each, then the verdict."""
    console.print(_table(rows))
    for row in rows:
        if row.error:
            console.print(f"[bold red]{escape(str(row.error))}[/]", highlight=False)
        elif row.parity and not row.parity.identical:
            console.print(f"[bold red]{escape(str(row.parity))}[/]", highlight=False)
            for one in (row.parity.unrepeatable or row.parity.differences)[1:5]:
                console.print(f"    {escape(str(one))}", highlight=False)
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
    times = "; times are of whole fits, per step; noise: model.fit against itself"
    table = new_table(
        "the reference and the candidate from the same seeds"
        + (times if any(row.throughput for row in rows) else ""),
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
    before, after = times.medians
    return f"{before:,.0f}", f"{after:,.0f}", *times.shown


def verdict(rows: Sequence[Row]) -> str:
    """All rows in a sentence."""
    proved = [row.parity for row in rows if row.parity]
    good = sum(one.identical for one in proved)
    parts = []
    if proved or any(row.error for row in rows):
        compared = sum(one.compared for one in proved)
        differing = sum(len(one.differences) for one in proved)
        parts.append(
            f"{good} of {len(rows)} scenarios identical: {compared:,} values compared, "
            f"{differing:,} differ"
        )
    if ratios := [row.throughput.ratio.median for row in rows if row.throughput]:
        parts.append(f"{statistics.median(ratios):.1f}x as fast (median of all)")
    return "; ".join(parts)


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
