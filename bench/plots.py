"""The plots of `make bench`."""

from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib import use

from bench.workloads import Workload
from compare.timing.clock import figure, microseconds
from compare.timing.costs import Costs
from compare.timing.engines import MODEL_FIT

use("Agg")


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
