"""`python -m bench`: what fits cost under each engine, in interleaved rounds, with intervals."""

from compare.execution.quiet import import_tensorflow_quietly

import_tensorflow_quietly()  # before anything else imports TensorFlow

# isort: split
import itertools
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import tensorflow as tf
import typer
from rich.console import Console

from bench.engines import engines_for
from bench.limits import limits
from bench.report import (
    plot,
    print_all_costs,
    print_front_page,
    print_goals,
    print_limits,
)
from bench.workloads import FRONT_PAGE, Workload, find
from compare.output.as_json import write_json
from compare.scenario import FitArguments
from compare.timing.costs import (
    Costs,
    ThisProcess,
    measure,
    measure_cold,
    whole_fits,
    with_epoch_and_step,
)
from compare.timing.engines import AUTO, MODEL_FIT
from compare.timing.tables import WIDTH

ROUNDS = 31
QUICK_SECONDS, FULL_SECONDS = 3, 6
"""Time for the rounds of one workload."""


def main(
    names: Annotated[list[str] | None, typer.Argument(help="Workloads; all by default.")] = None,
    quick: Annotated[bool, typer.Option(help="model.fit, auto and fastest only.")] = False,
    front_page: Annotated[bool, typer.Option(help="The rows of README, by verbosity.")] = False,
    device: Annotated[str, typer.Option(help="cpu or gpu.")] = "cpu",
    folder: Annotated[Path, typer.Option(help="For JSON and plots.")] = Path("build/bench"),
) -> None:
    """Time whole fits against model.fit: same model, same data, same seeds, same process."""
    console = Console() if Console().is_terminal else Console(width=WIDTH)
    try:
        workloads = find(names or (list(FRONT_PAGE) if front_page else []))
    except KeyError as error:
        raise typer.BadParameter(error.args[0]) from None
    if not _use(device):
        console.print("No GPU here: nothing was measured.")
        return
    if front_page:
        _front_page(console, workloads, folder)
    else:
        _bench(console, workloads, quick, device, folder, with_limits=not names)


def _use(device: str) -> bool:
    """Make a device the only one in use; return whether there is such a device."""
    gpus = tf.config.list_physical_devices("GPU")
    if device == "cpu":
        tf.config.set_visible_devices([], "GPU")
    return device == "cpu" or bool(gpus)


def _bench(
    console: Console,
    workloads: list[Workload],
    quick: bool,
    device: str,
    folder: Path,
    with_limits: bool,
) -> None:
    """Measure workloads, print the tables, write every value."""
    measured = []
    for workload in workloads:
        with console.status(workload.name):
            measured.append((workload, _measure(workload, quick)))
    print_goals(console, measured)
    if not quick:
        print_all_costs(console, measured)
    beyond = None
    if with_limits:
        with console.status("limits"):
            beyond = limits((100, 10_000) if quick else (100, 1_000, 10_000, 100_000))
        print_limits(console, beyond, measured)
    _write(console, folder / ("quick.json" if quick else "report.json"), measured, beyond, device)
    if not quick:
        for workload, found in measured:
            plot(workload, found, folder)
        console.print(f"Plots are in {folder}", highlight=False)


def _measure(workload: Workload, quick: bool) -> Costs:
    engines = engines_for(workload, quick)
    if workload.cold:
        return measure_cold(workload.scenario, engines, rounds=3)
    return measure(
        workload.scenario,
        engines,
        ThisProcess(),
        rounds=ROUNDS,
        seconds=QUICK_SECONDS if quick else FULL_SECONDS,
        take_apart=whole_fits if quick else with_epoch_and_step,
    )


def _front_page(console: Console, workloads: list[Workload], folder: Path) -> None:
    """Measure and print the rows of README, at `verbose=0` and at the default, "auto"."""
    measured = []
    for workload, verbose in itertools.product(workloads, (0, "auto")):
        data = partial(_at_verbosity, workload.scenario.data, verbose)
        scenario = replace(workload.scenario, data=data)
        with console.status(f"{workload.name} at verbose={verbose}"):
            found = measure(
                scenario, [MODEL_FIT, AUTO], ThisProcess(), rounds=ROUNDS, seconds=QUICK_SECONDS
            )
        measured.append((workload, str(verbose), found))
    print_front_page(console, measured)
    path = folder / "front_page.json"
    write_json(path, rows=[{"verbose": verbose, **vars(of)} for _, verbose, of in measured])
    console.print(f"Every sample is in {path}", highlight=False)


def _at_verbosity(data: Callable[[], FitArguments], verbose: int | str) -> FitArguments:
    return {**data(), "verbose": verbose}


def _write(console: Console, path: Path, measured: Any, beyond: Any, device: str) -> None:
    """Write every value, and what the figures depend on."""
    write_json(
        path,
        device=device,
        tf32=tf.config.experimental.tensor_float_32_execution_enabled(),
        goals={workload.name: workload.goals for workload, _ in measured},
        workloads={workload.name: found for workload, found in measured},
        limits=beyond,
    )
    console.print(f"Every sample is in {path}", highlight=False)


if __name__ == "__main__":
    typer.run(main)
