"""Draw the pictures of a page as SVG, each with a description in words."""

import base64
import io
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from compare.location.heat import Heat
from compare.timing.costs import Costs
from compare.timing.engines import MODEL_FIT
from compare.timing.growth import GROWS
from compare.timing.split import PARTS

REFERENCE, CANDIDATE = "#d9822b", "#1f5f8b"
STYLE = {
    "svg.fonttype": "none",  # text stays text
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
}


class Picture(NamedTuple):
    """An image as a data URL, and a description of it."""

    address: str
    words: str


@mpl.rc_context(STYLE)
def histories(name: str, reference: dict[str, list], candidate: dict[str, list]) -> Picture:
    """Draw the logs of both engines over each other; equal logs cover each other."""
    logs = list({**reference, **candidate})
    pairs = [log for log in logs if not (log.startswith("val_") and log[4:] in logs)]
    rows = -(-len(pairs) // 4)
    shown = Figure(figsize=(3.1 * min(4, len(pairs)), 2.4 * rows), layout="constrained")
    all_axes = shown.subplots(rows, min(4, len(pairs)), squeeze=False).ravel()
    for axes in all_axes[len(pairs) :]:
        axes.remove()
    for axes, log in zip(all_axes, pairs, strict=False):
        for key, style in ((log, "-"), (f"val_{log}", "--")):
            _overlaid(axes, key, style, reference, candidate)
        axes.set_title(log)
        axes.set_xlabel("epoch (dashed: validation)" if f"val_{log}" in logs else "epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    last = "; ".join(
        f"{log} ends at {_last(reference, log)} in the reference, at {_last(candidate, log)} in "
        "the candidate"
        for log in logs
    )
    return _picture(shown, f"{name}: {last}")


def _overlaid(
    axes: Axes, log: str, style: str, reference: dict[str, list], candidate: dict[str, list]
) -> None:
    """Draw the reference as a broad pale line, and the candidate as a thin dark line on it."""
    if log in reference:
        axes.plot(reference[log], style, color=REFERENCE, linewidth=5, alpha=0.5)
    if log in candidate:
        axes.plot(candidate[log], style, color=CANDIDATE, linewidth=1.4, marker=".")


def _last(history: dict[str, list], log: str) -> str:
    values = history.get(log)
    return f"{float(np.mean(values[-1])):.6g}" if values else "nothing"


@mpl.rc_context(STYLE)
def heat_map(heat: Heat) -> Picture:
    """Draw the distance of each variable before each step, in powers of ten of ulps."""
    high = max(len(heat.variables), 2)
    shown = Figure(figsize=(7.5, 1.2 + 0.24 * high), layout="constrained")
    axes = shown.subplots()
    apart = np.log10(1 + np.minimum(heat.ulps, 1e10))
    drawn = axes.imshow(
        np.where(apart > 0, apart, np.nan), aspect="auto", cmap="viridis", vmin=0, vmax=10,
        interpolation="none",
    )  # fmt: skip
    axes.set_yticks(range(len(heat.variables)), heat.variables, fontsize=8)
    places = range(0, len(heat.steps), -(-len(heat.steps) // 8))
    axes.set_xticks(places, [str(heat.steps[place]) for place in places])
    axes.set_xlabel("before step (white: the same bits)")
    bar = shown.colorbar(drawn, ax=axes, label="ulps", ticks=[0, 2, 4, 6, 8, 10])
    bar.ax.set_yticklabels(["1", "100", "1e4", "1e6", "1e8", "1e10+"])
    return _picture(shown, str(heat))


@mpl.rc_context(STYLE)
def split(costs: Costs) -> Picture:
    """Draw the parts of each engine's time as shares of a step."""
    names = list(costs.engines)[::-1]
    shown = Figure(figsize=(7.5, 1.1 + 0.42 * len(names)), layout="constrained")
    axes = shown.subplots()
    colours = ("#1f5f8b", "#5ba05b", "#d9822b", "#b03a5b", "#9aa5b1")
    begun = np.zeros(len(names))
    micro = np.array([costs.microseconds(name) for name in names])
    for part, colour in zip(PARTS, colours, strict=True):
        length = np.array([max(0.0, costs.engines[name].shares[part]) for name in names])
        axes.barh(names, length, left=begun, color=colour, label=part, height=0.6)
        begun += length
    for place, taken in enumerate(micro):
        axes.annotate(f"  {taken:,.0f} us", (1, place), va="center", fontsize=9)
    axes.set_xlim(0, 1.2)
    axes.set_xticks([0, 0.5, 1], ["0", "50%", "100% of a step"])
    axes.legend(ncols=5, loc="upper center", bbox_to_anchor=(0.45, 1.22), frameon=False, fontsize=9)
    words = "; ".join(
        f"{name}: {taken:,.0f} us a step, "
        + ", ".join(f"{share:.0%} {part}" for part, share in costs.engines[name].shares.items())
        for name, taken in zip(names[::-1], micro[::-1], strict=True)
    )
    return _picture(shown, words)


@mpl.rc_context(STYLE)
def scaling(what: str, by_engine: dict[str, dict[float, float]]) -> Picture:
    """Draw microseconds a step over the size of the training."""
    shown = Figure(figsize=(3.7, 3.0), layout="constrained")
    axes = shown.subplots()
    for name, by_factor in by_engine.items():
        colour = REFERENCE if name == MODEL_FIT.name else None
        axes.plot(list(by_factor), list(by_factor.values()), "o-", label=name, color=colour, ms=4)
    axes.set(xscale="log", yscale="log", xlabel=f"times the {GROWS[what]}", ylabel="us a step")
    factors = list(next(iter(by_engine.values())))
    axes.set_xticks(factors, [f"{factor:g}" for factor in factors], minor=False)
    axes.minorticks_off()
    shown.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=8)
    words = "; ".join(
        f"{name}: " + ", ".join(f"{taken:,.0f} us at {factor:g}x" for factor, taken in of.items())
        for name, of in by_engine.items()
    )
    return _picture(shown, f"microseconds a step by {GROWS[what]}: {words}")


def _picture(shown: Figure, words: str) -> Picture:
    written = io.StringIO()
    shown.savefig(written, format="svg", metadata={"Date": None})
    data = base64.b64encode(written.getvalue().encode()).decode()
    return Picture(f"data:image/svg+xml;base64,{data}", words)
