"""The tables of `python -m bench`; the figures are those of `compare.timing`."""

from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console

from bench.limits import Limits
from bench.workloads import Workload
from compare.timing.clock import figure
from compare.timing.costs import Costs, median_and_lowest
from compare.timing.engines import AUTO, BARE_STEP, MODEL_FIT
from compare.timing.kernels import Kernels
from compare.timing.tables import new_table, print_costs

Measured = Sequence[tuple[Workload, Costs]]

LONGEST = 12
"""How many kernels are shown."""


def print_speeds(
    console: Console, measured: Measured, title: str, plans: Sequence[str], cold: bool = False
) -> None:
    """Print how many times as fast as Keras each plan is, beside its goal; then what failed.

    Args:
        console: Where to print.
        measured: Workloads and what they cost.
        title: What stands above the table.
        plans: The plans to show, where they were measured.
        cold: Whether first fits were timed: the times are then those of whole fits in
            milliseconds, and traces are shown in place of the goal.
    """
    figures = ["fit ms", "loop ms"] if cold else ["fit us", "loop us"]
    figures += ["speed", "95%", "traces" if cold else "goal", "class"]
    table = new_table(title, "workload", "plan", figures=figures)
    for workload, found in measured:
        for plan in plans:
            if plan in found.engines:
                table.add_row(workload.name, plan, *_cells(workload, found, plan, cold))
    console.print(table)
    for workload, found in measured:
        for engine, reason in found.failed.items():
            console.print(f"{workload.name} under {engine} failed: {reason}", markup=False)


def _cells(workload: Workload, found: Costs, plan: str, cold: bool) -> list[str]:
    speed, interval = found.shown(plan)
    goal = workload.goals.get(plan)
    colour = "red" if goal and found.speed(plan).median < goal else "green"
    times = [found.microseconds(name) for name in (MODEL_FIT.name, plan)]
    of_fits = [f"{time * found.steps / 1000:,.0f}" for time in times]
    aside = str(found.engines[plan].traces) if cold else f"{goal:g}" if goal else "-"
    return [
        *(of_fits if cold else [f"{time:,.0f}" for time in times]),
        f"[{colour}]{speed}[/]",
        interval,
        aside,
        found.engines[plan].exactness,
    ]


def print_summary(console: Console, measured: Measured, plans: Sequence[str]) -> None:
    """Print the median of a table's speeds and its lowest row, plan by plan."""
    for plan in plans:
        shown = [found for _, found in measured if plan in found.engines]
        if shown:
            middle, lowest = median_and_lowest(shown, plan)
            console.print(
                f"{plan}: median of the table {figure(middle)}x, "
                f"lowest {lowest.scenario} {lowest.speed(plan)}",
                highlight=False,
            )


def print_all_costs(console: Console, measured: Measured) -> None:
    """Print the first fit, an epoch and a step under every engine; cold workloads have none."""
    for workload, found in measured:
        if not workload.cold:
            print_costs(console, found)


def print_limits(console: Console, found: Limits, measured: Measured) -> None:
    """Print the time over the bare step, the time per step of long epochs, and memory."""
    for workload, costs in measured:
        if {BARE_STEP.name, AUTO.name} <= set(costs.engines):
            over = costs.speed(BARE_STEP.name, reference=AUTO.name)
            console.print(f"{workload.name}: auto takes {over} of the bare step's time")
    times = ", ".join(f"{steps:,}: {taken:.0f}" for steps, taken in found.microseconds.items())
    console.print(f"mlp under auto, us a step by steps an epoch: {times}", highlight=False)
    held = ", ".join(f"{engine} {(peak or 0) / 2**20:,.0f}" for engine, peak in found.peak.items())
    data = f"{found.data / 2**20:,.0f}"
    console.print(f"peak memory in MiB, on {data} MiB of data: {held}", highlight=False)


def print_front_page(console: Console, measured: Sequence[tuple[Workload, str, Costs]]) -> None:
    """Print the rows of README as Markdown: workload, verbosity of the fits, both engines."""
    table = new_table("", "workload", "verbose", figures=["fit us", "loop us", "speed (95%)"])
    table.add_column("class")
    table.box, table.show_edge = box.MARKDOWN, True
    for workload, verbose, found in measured:
        table.add_row(*front_page_cells(workload.name, verbose, found))
    console.print(table)


def front_page_cells(name: str, verbose: str, found: Costs) -> list[str]:
    """Return a row of README."""
    us = [f"{found.microseconds(engine):,.0f}" for engine in (MODEL_FIT.name, AUTO.name)]
    exactness = found.engines[AUTO.name].exactness
    return [f"`{name}`", verbose, *us, str(found.speed(AUTO.name)), exactness]


def print_callbacks(console: Console, measured: Measured) -> None:
    """Print what a callback adds to a step, and to a fit beside its steps."""
    figures = ["us/step", "+us/step", "+ms/fit", "slower", "95%"]
    table = new_table("loop.fit without and with a callback", "callback", figures=figures)
    table.add_column("bits")
    for workload, found in measured:
        table.add_row(workload.name, *callback_cells(found))
    console.print(table)


def callback_cells(found: Costs) -> list[str]:
    """Return what a step takes without a callback, what it adds, and how much slower a fit is."""
    without, with_it = (found.engines[name] for name in (MODEL_FIT.name, AUTO.name))
    of_step = (with_it.per_step or 0) - (without.per_step or 0)
    of_fit = (with_it.per_epoch or 0) - (without.per_epoch or 0)
    slower = found.speed(MODEL_FIT.name, reference=AUTO.name)
    added = [f"{of_step * 1e6:,.0f}", f"{of_fit * 1e3:,.0f}"]
    per_step = f"{found.microseconds(MODEL_FIT.name):,.0f}"
    return [per_step, *added, slower.speed, slower.interval, with_it.exactness]


def print_kernels(console: Console, found: Mapping[str, Sequence[Kernels]]) -> None:
    """Print how much of a step kernels take, engine by engine, and the longest kernels.

    Args:
        console: Where to print.
        found: By workload, what was found of every engine.
    """
    for name, of_engines in found.items():
        figures = ["us/step", "profiled", "kernels", "outside", "at once"]
        table = new_table(f"{name}: kernels in the time of a step", "engine", figures=figures)
        for of in of_engines:
            table.add_row(of.engine, *kernel_cells(of))
        console.print(table)
        engines = [of.engine for of in of_engines]
        table = new_table("the longest kernels, us a step over all threads", "op", figures=engines)
        for op in list(of_engines[-1].ops)[:LONGEST]:
            times = [f"{of.microseconds(of.ops.get(op, 0)):,.0f}" for of in of_engines]
            table.add_row(op, *times)
        console.print(table)


def kernel_cells(of: Kernels) -> list[str]:
    """Return the figures of an engine in the table of kernels."""
    times = [f"{of.microseconds(took):,.0f}" for took in (of.plain, of.profiled, of.busy)]
    return [*times, f"{of.outside:.0%}", f"{of.at_once:.2f}"]
