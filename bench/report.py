"""The tables and plots of `python -m bench`; the figures are those of `compare.timing`."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib import use
from rich import box
from rich.console import Console

from bench.limits import Limits
from bench.workloads import Workload
from compare.timing.clock import figure, microseconds
from compare.timing.costs import Costs
from compare.timing.engines import AUTO, BARE_STEP, FASTEST, MODEL_FIT
from compare.timing.tables import new_table, print_costs

use("Agg")

Measured = Sequence[tuple[Workload, Costs]]


def print_goals(console: Console, measured: Measured) -> None:
    """Print how many times as fast as `model.fit` each plan is, beside its goal."""
    table = new_table(
        "whole fits: median of paired ratios to model.fit, 95% interval",
        "workload",
        "plan",
        figures=["fit us", "loop us", "speed", "95%", "goal", "class"],
    )
    for workload, found in measured:
        for plan in (AUTO.name, FASTEST.name):
            if plan in found.engines:
                table.add_row(workload.name, plan, *_cells(workload, found, plan))
    console.print(table)
    for workload, found in measured:
        for engine, reason in found.failed.items():
            console.print(f"{workload.name} under {engine} failed: {reason}", markup=False)


def _cells(workload: Workload, found: Costs, plan: str) -> list[str]:
    speed, interval = found.shown(plan)
    goal = workload.goals.get(plan)
    colour = "red" if goal and found.speed(plan).median < goal else "green"
    return [
        f"{found.microseconds(MODEL_FIT.name):,.0f}",
        f"{found.microseconds(plan):,.0f}",
        f"[{colour}]{speed}[/]",
        interval,
        f"{goal:g}" if goal else "-",
        found.engines[plan].exactness,
    ]


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
        us = [f"{found.microseconds(name):,.0f}" for name in (MODEL_FIT.name, AUTO.name)]
        speed = str(found.speed(AUTO.name))
        table.add_row(f"`{workload.name}`", verbose, *us, speed, found.engines[AUTO.name].exactness)
    console.print(table)


def plot(workload: Workload, found: Costs, folder: Path) -> None:
    """Draw the microseconds a step of each engine, every round a dot, as SVG and PNG."""
    engines = sorted(found.engines, key=found.microseconds, reverse=True)
    drawn, axes = plt.subplots(figsize=(7, 0.9 + 0.4 * len(engines)), layout="constrained")
    colours = ["#9aa5b1" if name.startswith(MODEL_FIT.name) else "#2f6f9f" for name in engines]
    axes.barh(engines, [found.microseconds(name) for name in engines], color=colours, height=0.6)
    for place, name in enumerate(engines):
        rounds = [microseconds([taken], found.steps) for taken in found.engines[name].seconds]
        axes.plot(rounds, [place] * len(rounds), ".", color="#1b1b1b", markersize=3)
        speed = figure(found.speed(name).median)
        axes.annotate(f"  {speed}x", (max(rounds), place), va="center", fontsize=8)
    axes.set_xscale("log")
    axes.set_xlim(right=axes.get_xlim()[1] * 2)
    axes.set_xlabel("microseconds a step, whole warm fits (dots: rounds; log scale)")
    axes.set_title(f"{workload.name}: {workload.scenario.shows}", loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    for kind in ("svg", "png"):
        drawn.savefig(folder / f"{workload.name}.{kind}", dpi=150)
    plt.close(drawn)
