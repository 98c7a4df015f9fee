"""`python -m bench`: what fits cost under each engine, in interleaved rounds, with intervals."""

from compare.execution.quiet import import_tensorflow_quietly

import_tensorflow_quietly()  # before anything else imports TensorFlow

# isort: split
import itertools
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench.callbacks import WITH_CALLBACKS
from bench.cold import COLD, measure_in_fresh_processes
from bench.engines import engines_for
from bench.limits import limits
from bench.methods import METHODS
from bench.report import (
    Measured,
    print_all_costs,
    print_callbacks,
    print_front_page,
    print_kernels,
    print_limits,
    print_speeds,
    print_summary,
)
from bench.sources import SOURCES
from bench.workloads import CONVOLUTIONS, FRONT_PAGE, WORKLOADS, Workload, find
from compare.output.as_json import write_json
from compare.scenario import FitArguments
from compare.timing.apart import whole_fits, with_epoch_and_step, with_fit_and_step
from compare.timing.costs import Costs
from compare.timing.device import DEVICES, described, in_words, is_here, use
from compare.timing.engines import AUTO, FASTEST, MODEL_FIT, STEP
from compare.timing.kernels import Kernels
from compare.timing.kernels import kernels as kernels_of
from compare.timing.measure import ThisProcess, measure, measure_cold
from compare.timing.tables import WIDTH
from compare.timing.training import first_fits, new_training

ROUNDS = 31
COLD_ROUNDS = 4
"""Even, so that every engine comes first and last equally often."""
QUICK_SECONDS, FULL_SECONDS = 3, 6
"""Time for the rounds of one workload."""
WARM_UP = 1000
"""Steps before the rounds, after which `auto` has built what pays: compare.timing.measure."""
SHORT_SECONDS = 1
"""The same for one source or method in `--quick`."""

SOURCES_AND_METHODS = (*SOURCES, *METHODS)


def main(
    names: Annotated[list[str] | None, typer.Argument(help="Workloads; all by default.")] = None,
    quick: Annotated[bool, typer.Option(help="model.fit, auto and fastest only.")] = False,
    cold: Annotated[bool, typer.Option(help="First fits, each in a fresh process.")] = False,
    front_page: Annotated[bool, typer.Option(help="The rows of README, by verbosity.")] = False,
    kernels: Annotated[bool, typer.Option(help="The time of a step, op by op.")] = False,
    callbacks: Annotated[bool, typer.Option(help="What each of loop.callbacks adds.")] = False,
    rounds: Annotated[int | None, typer.Option(help="At most; 31, with --cold 4.")] = None,
    device: Annotated[str, typer.Option(help="cpu or gpu.")] = "cpu",
    folder: Annotated[Path, typer.Option(help="For JSON and plots.")] = Path("build/bench"),
) -> None:
    """Time whole fits against model.fit: same model, same data, same seeds, same process."""
    console = Console() if Console().is_terminal else Console(width=WIDTH)
    warm = WITH_CALLBACKS if callbacks else (*WORKLOADS, *SOURCES_AND_METHODS)
    default = FRONT_PAGE if front_page else CONVOLUTIONS if kernels else ()
    try:
        workloads = find(names or default, COLD if cold else warm)
    except KeyError as error:
        raise typer.BadParameter(error.args[0]) from None
    _use(device)
    # Keras says so of every dataset whose size it does not know.
    warnings.filterwarnings("ignore", "Your input ran out of data")
    folder = folder / "gpu" if device == "gpu" else folder
    console.print(in_words(device), highlight=False)
    if cold:
        _cold(console, workloads, rounds or COLD_ROUNDS, device, folder)
    elif kernels:
        _kernels(console, workloads, device, folder)
    elif callbacks:
        _callbacks(console, workloads, rounds or ROUNDS, device, folder)
    elif front_page:
        _front_page(console, workloads, rounds or ROUNDS, device, folder)
    else:
        _bench(console, workloads, quick, rounds or ROUNDS, device, folder, with_limits=not names)


def _use(device: str) -> None:
    """Make a device the only one in use.

    Raises:
        typer.BadParameter: There is no such device; the command ends with status 2.
    """
    if device not in DEVICES:
        raise typer.BadParameter(f"expected a device of {', '.join(DEVICES)}, got {device!r}")
    if not is_here(device):
        raise typer.BadParameter("TensorFlow sees no GPU here: nothing was measured")
    use(device)


def _bench(
    console: Console,
    workloads: Sequence[Workload],
    quick: bool,
    rounds: int,
    device: str,
    folder: Path,
    with_limits: bool,
) -> None:
    """Measure warm fits, print the tables, write every value."""
    fits = [workload for workload in workloads if workload in WORKLOADS]
    seconds = QUICK_SECONDS if quick else FULL_SECONDS
    measured = _measured(console, fits, partial(_measure, quick, rounds, seconds))
    if measured:
        title = "whole fits: median of paired ratios to model.fit, 95% interval"
        print_speeds(console, measured, title, [AUTO.name, FASTEST.name])
    others = [workload for workload in workloads if workload in SOURCES_AND_METHODS]
    seconds = SHORT_SECONDS if quick else FULL_SECONDS
    more = _measured(console, others, partial(_measure, True, rounds, seconds))
    if more:
        title = "sources and methods: the small MLP, us a batch"
        print_speeds(console, more, title, [AUTO.name])
        print_summary(console, more, [AUTO.name])
    if not quick:
        print_all_costs(console, measured)
    beyond = None
    if with_limits:
        with console.status("limits"):
            beyond = limits((100, 10_000) if quick else (100, 1_000, 10_000, 100_000), device)
        print_limits(console, beyond, measured)
    path = folder / ("quick.json" if quick else "report.json")
    _write_costs(console, path, [*measured, *more], device, limits=beyond)
    if not quick:
        _draw(console, measured, folder)


def _measured(
    console: Console, workloads: Sequence[Workload], measure_one: Callable[[Workload], Costs]
) -> list[tuple[Workload, Costs]]:
    """Measure workloads one after the other, and show which."""
    found = []
    for workload in workloads:
        with console.status(workload.name):
            found.append((workload, measure_one(workload)))
    return found


def _measure(quick: bool, rounds: int, seconds: float, workload: Workload) -> Costs:
    """Measure a workload; `quick` leaves out other engines, epochs and steps."""
    engines = engines_for(workload, quick)
    if workload.cold:
        return measure_cold(workload.scenario, engines, ThisProcess(), rounds=3)
    found = measure(
        workload.scenario,
        engines,
        ThisProcess(),
        rounds=rounds,
        seconds=seconds,
        take_apart=whole_fits if quick else with_epoch_and_step,
        warm_up=WARM_UP,
    )
    return replace(found, steps=workload.batches or found.steps)


def _cold(
    console: Console, workloads: Sequence[Workload], rounds: int, device: str, folder: Path
) -> None:
    """Measure first fits in fresh processes, print their table, write every value."""
    plans = [STEP.name, AUTO.name]
    measured = _measured(
        console, workloads, lambda workload: measure_in_fresh_processes(workload, rounds, device)
    )
    title = "first fits in fresh processes: median of paired ratios, 95% interval"
    print_speeds(console, measured, title, plans, cold=True)
    print_summary(console, measured, plans)
    _write_costs(console, folder / "cold.json", measured, device)


def _callbacks(
    console: Console, workloads: Sequence[Workload], rounds: int, device: str, folder: Path
) -> None:
    """Measure `loop.fit` without and with a callback, print the table, write every value."""

    def measured_of(workload: Workload) -> Costs:
        return measure(
            workload.scenario,
            engines_for(workload, quick=True),
            ThisProcess(),
            rounds=rounds,
            seconds=FULL_SECONDS,
            take_apart=with_fit_and_step(workload.batches),
            warm_up=WARM_UP,
        )

    measured = _measured(console, workloads, measured_of)
    print_callbacks(console, measured)
    _write_costs(console, folder / "callbacks.json", measured, device)


def _kernels(console: Console, workloads: Sequence[Workload], device: str, folder: Path) -> None:
    """Profile a warm fit of every workload, print how much of it kernels take, write it."""
    if device == "gpu":
        raise typer.BadParameter("--kernels reads the profile of the CPU: leave out --device gpu")
    found: dict[str, list[Kernels]] = {}
    for workload, engine in itertools.product(workloads, (MODEL_FIT, STEP, AUTO)):
        with console.status(f"{workload.name}: {engine.name}"):
            training = new_training(workload.scenario, engine)
            first_fits(training)
            found.setdefault(workload.name, []).append(kernels_of(training))
    print_kernels(console, found)
    _write(console, folder / "kernels.json", device, kernels=found)


def _front_page(
    console: Console, workloads: Sequence[Workload], rounds: int, device: str, folder: Path
) -> None:
    """Measure and print the rows of README, at `verbose=0` and at the default, "auto"."""
    measured = []
    for workload, verbose in itertools.product(workloads, (0, "auto")):
        data = partial(_at_verbosity, workload.scenario.data, verbose)
        scenario = replace(workload.scenario, data=data)
        with console.status(f"{workload.name} at verbose={verbose}"):
            found = measure(
                scenario,
                [MODEL_FIT, AUTO],
                ThisProcess(),
                rounds=rounds,
                seconds=QUICK_SECONDS,
                warm_up=WARM_UP,
            )
        measured.append((workload, str(verbose), found))
    print_front_page(console, measured)
    path = folder / "front_page.json"
    rows = [{"verbose": verbose, **vars(found)} for _, verbose, found in measured]
    _write(console, path, device, rows=rows)


def _at_verbosity(data: Callable[[], FitArguments], verbose: int | str) -> FitArguments:
    return {**data(), "verbose": verbose}


def _write_costs(
    console: Console, path: Path, measured: Measured, device: str, **more: object
) -> None:
    """Write every value of the costs of workloads."""
    goals = {workload.name: workload.goals for workload, _ in measured}
    costs = {workload.name: found for workload, found in measured}
    _write(console, path, device, goals=goals, workloads=costs, **more)


def _write(console: Console, path: Path, device: str, **found: object) -> None:
    """Write what was found, and what the figures depend on."""
    write_json(path, date=date.today().isoformat(), **described(device), **found)
    console.print(f"Every sample is in {path}", highlight=False)


def _draw(console: Console, measured: Measured, folder: Path) -> None:
    from bench.plots import plot  # workers import this module too: they need no matplotlib

    for workload, found in measured:
        plot(workload, found, folder)
    console.print(f"Plots are in {folder}", highlight=False)


if __name__ == "__main__":
    typer.run(main)
