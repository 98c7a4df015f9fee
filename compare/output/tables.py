"""Tables for the terminal: calls of a script, costs, what the doctor found."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from compare.cli.doctor import Finding
from compare.costs import GROWS, Cost, Costs
from compare.execution.script import ScriptVerdict
from compare.split import PARTS
from compare.timing import figure


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


def print_costs(console: Console, found: Costs) -> None:
    """Prints what each engine takes, what it does with the time, and how a step's time grows."""
    table = new_table(f"{found.scenario}: {found.steps} steps a fit", "engine")
    columns = ("first s", "us a step", "speed", "95%", "epoch ms", "step us", "peak MiB", "traces")
    for column in (*columns, *PARTS):
        table.add_column(column, justify="right", no_wrap=True)
    for name, cost in found.engines.items():
        table.add_row(
            name,
            f"{cost.first:.1f}",
            f"{found.microseconds(name):,.0f}",
            *found.shown(name),
            *_told_apart(cost),
            str(cost.traces),
            *(f"{cost.shares[part]:.0%}" for part in PARTS),
        )
    console.print(table)
    for name, reason in found.failed.items():
        console.print(f"[red]{escape(f'{name}: {reason}')}[/]", highlight=False)
    console.print(f"model.fit against itself: {found.noise}", highlight=False)
    for what, by_engine in found.scaling.items():
        factors = list(next(iter(by_engine.values())))
        grown = new_table(f"us a step by {GROWS[what]}", "engine")
        for factor in factors:
            grown.add_column(f"{factor:g}x", justify="right")
        for name, taken in by_engine.items():
            grown.add_row(name, *(f"{taken[factor]:,.0f}" for factor in factors))
        console.print(grown)


def _told_apart(cost: Cost) -> tuple[str, str, str]:
    return (
        "-" if cost.per_epoch is None else f"{1e3 * cost.per_epoch:.1f}",
        "-" if cost.per_step is None else f"{1e6 * cost.per_step:,.0f}",
        "-" if cost.peak is None else f"{cost.peak / 2**20:,.0f}",
    )


def print_findings(console: Console, findings: Sequence[Finding]) -> None:
    """Prints what the doctor found."""
    table = new_table("what bits and times depend on", "what", "here")
    table.add_column("advice", style="yellow")
    for one in findings:
        table.add_row(one.what, escape(one.found), escape(one.advice))
    console.print(table)
