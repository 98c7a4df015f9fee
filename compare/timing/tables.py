"""The tables of costs for the terminal. At 80 columns nothing in them is cut or left out."""

from collections.abc import Iterable

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from compare.timing.costs import Cost, Costs
from compare.timing.growth import GROWS
from compare.timing.split import PARTS

WIDTH = 80
"""Columns of the narrowest terminal that has room for every table; as wide as a pipe gets them."""


def new_table(title: str, *text: str, figures: Iterable[str] = ()) -> Table:
    """Return an empty table. Cells that are too long are folded, never cut.

    Args:
        title: What stands above it.
        text: The heads of columns of words.
        figures: The heads of columns of numbers, to the right of those.
    """
    table = Table(
        title=escape(title),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for head in text:
        table.add_column(head, overflow="fold")
    for head in figures:
        table.add_column(head, justify="right", overflow="fold")
    return table


def print_costs(console: Console, found: Costs) -> None:
    """Print what each engine takes, where its time goes, and how the time of a step grows."""
    console.print(_whole_fits(found))
    if any(cost.per_step is not None or cost.shares for cost in found.engines.values()):
        console.print(_taken_apart(found))
    for name, reason in found.failed.items():
        console.print(f"[red]{escape(f'{name}: {reason}')}[/]", highlight=False)
    if found.noise:
        console.print(f"model.fit against itself: {found.noise}", highlight=False)
    for what, by_engine in found.scaling.items():
        factors = list(next(iter(by_engine.values())))
        title = f"us a step by {GROWS[what]}"
        table = new_table(title, "engine", figures=[f"{factor:g}x" for factor in factors])
        for name, taken in by_engine.items():
            table.add_row(name, *(f"{taken[factor]:,.0f}" for factor in factors))
        console.print(table)


def _whole_fits(found: Costs) -> Table:
    heads = ["first s", "us/step", "speed", "95%", "class", "traces"]
    with_memory = any(cost.peak is not None for cost in found.engines.values())
    table = new_table(
        f"{found.scenario}: whole fits of {found.steps:,} steps",
        "engine",
        figures=[*heads, "MiB"] if with_memory else heads,
    )
    for name, cost in found.engines.items():
        memory = ["-" if cost.peak is None else f"{cost.peak / 2**20:,.0f}"] * with_memory
        table.add_row(
            name,
            f"{cost.first:.1f}",
            f"{found.microseconds(name):,.0f}",
            *found.shown(name),
            cost.exactness,
            str(cost.traces),
            *memory,
        )
    return table


def _taken_apart(found: Costs) -> Table:
    bare = any(found.over_bare_step(name) for name in found.engines)
    profiled = any(cost.shares for cost in found.engines.values())
    heads = ["epoch ms", "step us", *["x bare"] * bare, *PARTS * profiled]
    table = new_table(
        f"{found.scenario}: an epoch and a step, apart"
        + ("; the share of each part in a fit" if profiled else ""),
        "engine",
        figures=heads,
    )
    for name, cost in found.engines.items():
        over = found.over_bare_step(name)
        table.add_row(
            name,
            *_epoch_and_step(cost),
            *["-" if over is None else f"{over:.2f}x"] * bare,
            *(f"{cost.shares[part]:.0%}" for part in PARTS * profiled),
        )
    return table


def _epoch_and_step(cost: Cost) -> tuple[str, str]:
    return (
        "-" if cost.per_epoch is None else f"{1e3 * cost.per_epoch:.1f}",
        "-" if cost.per_step is None else f"{1e6 * cost.per_step:,.0f}",
    )
