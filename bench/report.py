"""Tables for people, samples for machines, a plot for each workload."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import tensorflow as tf
from matplotlib import use
from rich.console import Console

from bench.limits import Limits
from bench.measure import Result
from compare.output.tables import new_table
from compare.release.environment import environment
from compare.timing import figure, ratio

use("Agg")


def print_table(console: Console, results: Sequence[Result]) -> None:
    """Prints how many times as fast as `model.fit` each plan is, beside what it should be."""
    plans = [plan for plan in ("auto", "fastest") if any(plan in one.seconds for one in results)]
    title = "whole warm fits: median of paired ratios to model.fit, 95% interval"
    table = new_table(title, "workload")
    table.add_column("fit us", justify="right")
    for plan in plans:
        table.add_column(f"{plan} us", justify="right")
        table.add_column("speed", justify="right", no_wrap=True)
        table.add_column("goal", justify="right")
        table.add_column("class", no_wrap=True)
    for result in results:
        cells = [cell for plan in plans for cell in _cells(result, plan)]
        table.add_row(result.workload.name, f"{result.microseconds('keras'):,.0f}", *cells)
    console.print(table)
    for result in results:
        for engine, reason in result.failed.items():
            console.print(f"{result.workload.name} under {engine} failed: {reason}", markup=False)


def _cells(result: Result, plan: str) -> tuple[str, str, str, str]:
    if plan not in result.seconds:
        return "-", "-", "-", "-"
    speed, goal = result.ratio(plan), result.workload.goals.get(plan)
    colour = "green" if goal is None or speed.median >= goal else "red"
    wanted = f"{goal:g}x" if goal else "-"
    shown = f"[{colour}]{speed}[/]"
    micro = f"{result.microseconds(plan):,.0f}"
    return micro, shown, wanted, result.classes.get(plan, "-")


def print_costs(console: Console, results: Sequence[Result]) -> None:
    """Prints the first call, and what an epoch and a step cost, for every engine."""
    title = "costs: first fit, then per epoch and per step (x: over the bare step)"
    table = new_table(title, "workload", "engine")
    for column in ("first s", "epoch ms", "step us", "overhead", "traces", "speed", "class"):
        table.add_column(column, justify="right", no_wrap=True)
    for result in results:
        bare = result.costs.get("limit")
        for engine, (epoch, step) in result.costs.items():
            table.add_row(
                result.workload.name,
                engine,
                f"{result.first[engine]:.1f}",
                f"{1e3 * epoch:.1f}",
                f"{1e6 * step:,.0f}",
                f"{step / bare[1]:.2f}x" if bare else "-",
                str(result.traces[engine]),
                str(result.ratio(engine)),
                result.classes[engine],
            )
    console.print(table)


def print_limits(console: Console, found: Limits, results: Sequence[Result]) -> None:
    """Prints the overhead over the bare step, the time per step of long epochs, and memory."""
    for result in results:
        if "limit" in result.seconds and "auto" in result.seconds:
            over = ratio(result.seconds["auto"], result.seconds["limit"])
            name = result.workload.name
            console.print(f"{name}: auto takes {over} of the bare step's time", highlight=False)
    times = ", ".join(f"{steps:,}: {taken:.0f}" for steps, taken in found.microseconds.items())
    console.print(f"mlp under auto, us a step by steps an epoch: {times}", highlight=False)
    held = ", ".join(f"{engine} {peak / 2**20:,.0f}" for engine, peak in found.peak.items())
    data = f"{found.data / 2**20:,.0f}"
    console.print(f"peak memory in MiB, on {data} MiB of data: {held}", highlight=False)


def as_json(results: Sequence[Result], beyond: Limits | None, device: str) -> dict[str, Any]:
    """Every sample in seconds, and what the figures depend on."""
    tf32 = tf.config.experimental.tensor_float_32_execution_enabled()
    return {
        "environment": {**environment(), "device": device, "tf32": tf32},
        "workloads": {
            one.workload.name: {
                "steps": one.steps,
                "epochs": one.workload.epochs,
                "goals": one.workload.goals,
                "seconds_of_fits": one.seconds,
                "first_fit_seconds": one.first,
                "classes": one.classes,
                "traces": one.traces,
                "seconds_per_epoch_and_step": one.costs,
                "failed": one.failed,
            }
            for one in results
        },
        "limits": beyond and vars(beyond),
    }


def plot(result: Result, folder: Path) -> None:
    """Draws the microseconds per step of each engine, every round a dot, as SVG and PNG."""
    engines = sorted(result.seconds, key=result.microseconds, reverse=True)
    samples = [[1e6 * one / result.steps for one in result.seconds[name]] for name in engines]
    figure_, axes = plt.subplots(figsize=(7, 0.9 + 0.4 * len(engines)), layout="constrained")
    medians = [result.microseconds(name) for name in engines]
    colours = ["#9aa5b1" if name.startswith("keras") else "#2f6f9f" for name in engines]
    axes.barh(engines, medians, color=colours, height=0.6)
    for place, taken in enumerate(samples):
        axes.plot(taken, [place] * len(taken), ".", color="#1b1b1b", markersize=3)
        speed = figure(result.ratio(engines[place]).median)
        axes.annotate(f"  {speed}x", (max(taken), place), va="center", fontsize=8)
    axes.set_xscale("log")
    axes.set_xlim(right=axes.get_xlim()[1] * 2)
    axes.set_xlabel("microseconds a step, whole warm fits (dots: rounds; log scale)")
    axes.set_title(f"{result.workload.name}: {result.workload.shows}", loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    for kind in ("svg", "png"):
        figure_.savefig(folder / f"{result.workload.name}.{kind}", dpi=150)
    plt.close(figure_)
