"""The tables of costs for the terminal. At 80 columns nothing in them is cut or left out."""

from collections.abc import Iterable

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from compare.timing.costs import Costs
from compare.timing.growth import GROWS
from compare.timing.split import PARTS

WIDTH = 80
"""Columns of the narrowest terminal that has room for every table; as wide as a pipe gets them."""


def new_table(title: str, *text: str, figures: Iterable[str] = ()) -> Table:
    """Return an empty table. Cells that are too long are folded, never cut.

    Args:
        title: What stands above it, after a blank line; may be empty.
        text: The heads of columns of words.
        figures: The heads of columns of numbers, to the right of those.
    """
    table = Table(
        title=f"\n{escape(title)}" if title else None,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
    )
    for head in text:
        table.add_column(head, overflow="fold")
    for head in figures:
        table.add_column(head, justify="right", overflow="fold")
    return table


def print_costs(console: Console, found: Costs) -> None:
    """Print what each engine takes, where its time goes, and how the time of a step grows."""
    console.print(_whole_fits(found))
    console.print(_epochs_and_steps(found))
    if any(cost.shares for cost in found.engines.values()):
        console.print(_shares(found))
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
    table = new_table(
        f"{found.scenario}: whole fits of {found.steps:,} steps",
        "engine",
        figures=["first s", "us/step", "speed", "95%", "class"],
    )
    for name, cost in found.engines.items():
        first, per_step = f"{cost.first:.1f}", f"{found.microseconds(name):,.0f}"
        table.add_row(name, first, per_step, *found.shown(name), cost.exactness)
    return table


def _epochs_and_steps(found: Costs) -> Table:
    with_bare_step = any(found.over_bare_step(name) for name in found.engines)
    with_memory = any(cost.peak is not None for cost in found.engines.values())
    heads = ["epoch ms", "step us", *["x bare"] * with_bare_step, "traces", *["MiB"] * with_memory]
    table = new_table("an epoch and a step, each without the other", "engine", figures=heads)
    for name, cost in found.engines.items():
        table.add_row(
            name,
            _cell("{:.1f}", cost.per_epoch, 1e3),
            _cell("{:,.0f}", cost.per_step, 1e6),
            *[_cell("{:.2f}x", found.over_bare_step(name))] * with_bare_step,
            str(cost.traces),
            *[_cell("{:,.0f}", cost.peak, 2**-20)] * with_memory,
        )
    return table


def _shares(found: Costs) -> Table:
    table = new_table("the share of each part in the time of a fit", "engine", figures=PARTS)
    for name, cost in found.engines.items():
        table.add_row(name, *(f"{cost.shares[part]:.0%}" for part in PARTS))
    return table


def _cell(form: str, value: float | None, factor: float = 1) -> str:
    return "-" if value is None else form.format(value * factor)
