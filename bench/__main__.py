"""`python -m bench`: what a fit costs under each engine, interleaved, with intervals."""

import compare  # noqa: F401 - keeps TensorFlow quiet while it is imported, so it comes first

# isort: split
import json
from pathlib import Path
from typing import Annotated

import tensorflow as tf
import typer
from rich.console import Console

from bench.limits import Limits, limits
from bench.measure import Result, measure
from bench.report import as_json, plot, print_costs, print_limits, print_table
from bench.workloads import WORKLOADS, Workload

FULL = (
    "keras",
    "keras tuned",
    "keras jit",
    "hand-written",
    "step",
    "auto",
    "xla",
    "fastest",
    "limit",
)
PLAIN = {"hand-written", "limit"}
"""These know neither callbacks nor validation nor datasets."""


def main(
    names: Annotated[list[str] | None, typer.Argument(help="Workloads; all by default.")] = None,
    quick: Annotated[bool, typer.Option(help="Keras, auto and fastest only.")] = False,
    device: Annotated[str, typer.Option(help="cpu or gpu.")] = "cpu",
    folder: Annotated[Path, typer.Option(help="For JSON and plots.")] = Path("build/bench"),
) -> None:
    """Times whole fits against model.fit: same model, same data, same seeds, same process."""
    console = Console() if Console().is_terminal else Console(width=120)
    if not _use(device):
        console.print("No GPU here: nothing was measured.")
        return
    known = {workload.name: workload for workload in WORKLOADS}
    if unknown := set(names or []) - set(known):
        raise typer.BadParameter(f"no workload {sorted(unknown)}; there are {list(known)}")
    results = []
    for workload in [known[name] for name in names or known]:
        with console.status(workload.name):
            results.append(_measure(workload, quick))
    with console.status("limits"):
        beyond = (
            None if names else limits((100, 10_000) if quick else (100, 1_000, 10_000, 100_000))
        )
    _show(console, results, beyond, quick)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ("quick.json" if quick else "report.json")
    path.write_text(json.dumps(as_json(results, beyond, device), indent=1) + "\n")
    console.print(f"Every sample is in {path}", highlight=False)
    if not quick:
        for result in results:
            plot(result, folder)
        console.print(f"Plots are in {folder}", highlight=False)


def _use(device: str) -> bool:
    """Makes a device the only one to be used; says whether there is such a one."""
    gpus = tf.config.list_physical_devices("GPU")
    if device == "cpu":
        tf.config.set_visible_devices([], "GPU")
    return device == "cpu" or bool(gpus)


def _measure(workload: Workload, quick: bool) -> Result:
    engines = [engine for engine in FULL if workload.is_plain or engine not in PLAIN]
    if quick:
        engines = ["keras", *workload.goals]
        if workload.name == "mlp":
            engines.append("limit")
    return measure(
        workload,
        engines,
        rounds=31,
        seconds=3 if quick else 6,
        told_apart=not quick and workload.is_plain,
    )


def _show(console: Console, results: list[Result], beyond: Limits | None, quick: bool) -> None:
    print_table(console, results)
    if not quick:
        print_costs(console, results)
    if beyond:
        print_limits(console, beyond, results)


if __name__ == "__main__":
    typer.run(main)
