"""Tables for the terminal: calls of a script, what the doctor found."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from compare.cli.doctor import Finding
from compare.execution.script import ScriptVerdict
from compare.timing.clock import figure


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


def print_script(console: Console, found: ScriptVerdict) -> None:
    """Prints a row for each call, and the verdict."""
    table = new_table(
        f"{found.script} under Keras and under glassfit, call by call", "call", "line"
    )
    for column in ("steps", "values", "differ", "Keras s", "glassfit s", "speed"):
        table.add_column(column, justify="right", no_wrap=True)
    for one in found.calls:
        table.add_row(
            one.reference.method,
            one.reference.place,
            str(one.reference.steps),
            f"{one.compared:,}",
            f"[{'red' if one.differences else 'green'}]{len(one.differences):,}[/]",
            f"{one.reference.seconds:.3f}",
            f"{one.candidate.seconds:.3f}",
            f"{figure(one.speed)}x",
        )
    console.print(table)
    colour = "red" if found.outcome else "green"
    console.print(f"[bold {colour}]{escape(str(found))}[/]", highlight=False)


def print_findings(console: Console, findings: Sequence[Finding]) -> None:
    """Prints what the doctor found."""
    table = new_table("what bits and times depend on", "what", "here")
    table.add_column("advice", style="yellow")
    for one in findings:
        table.add_row(one.what, escape(one.found), escape(one.advice))
    console.print(table)
