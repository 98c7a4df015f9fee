"""`make bench-page`: write the tables of figures in README.md and docs from `build/bench/*.json`.

A table stands between `<!-- NAME -->` and `<!-- end of NAME -->`, with `on GPU` behind the name for
figures of a GPU. Where the JSON of a table is missing, or older than the table, the table stays.
"""

from compare.execution.quiet import import_tensorflow_quietly

import_tensorflow_quietly()  # before anything else imports TensorFlow

# isort: split
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.callbacks import WITH_CALLBACKS
from bench.cold import COLD
from bench.methods import METHODS
from bench.report import callback_cells, front_page_cells, kernel_cells
from bench.sources import SOURCES
from bench.workloads import WORKLOADS, Workload
from compare.timing.clock import figure
from compare.timing.costs import Cost, Costs, median_and_lowest
from compare.timing.engines import AUTO, BARE_STEP, FASTEST, MODEL_FIT, STEP
from compare.timing.kernels import Kernels

COSTS, RESEARCH, README = Path("docs/costs.md"), Path("docs/research.md"), Path("README.md")


def main(
    folder: Annotated[Path, typer.Option(help="Where the JSON is.")] = Path("build/bench"),
) -> None:
    """Write every table whose JSON is there."""
    for name, page, marker, table in TABLES:
        path = folder / name
        if not path.exists():
            print(f"{path} is missing: {page} keeps its {marker}")
            continue
        results = json.loads(path.read_text())
        place = f"{marker} on GPU" if results["device"] == "gpu" else marker
        if is_older(results["date"], page.read_text(), place):
            print(f"{path} is of {results['date']}: {page} keeps its {place}, which is newer")
            continue
        page.write_text(filled(page.read_text(), place, table(results)))
        print(f"{page}: {place} written from {path}")


def is_older(date: str, page: str, marker: str) -> bool:
    """Return whether a date, as YYYY-MM-DD, is before that of the table at a marker of a page."""
    table = page.partition(f"<!-- {marker} -->")[2].partition("<!-- end of")[0]
    return any(date < of_table for of_table in re.findall(r"\b\d{4}-\d\d-\d\d\b", table))


def filled(page: str, marker: str, text: str) -> str:
    """Return a page with a text between `<!-- marker -->` and `<!-- end of marker -->`.

    Raises:
        ValueError: The page does not have the two markers exactly once.
    """
    begin, end = f"<!-- {marker} -->\n", f"<!-- end of {marker} -->"
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    if len(pattern.findall(page)) != 1:
        raise ValueError(f"expected {begin.strip()} and {end} once each; put them into the page")
    return pattern.sub(lambda _: f"{begin}{text}\n{end}", page)


def fits(results: Mapping[str, Any]) -> str:
    """Return the table of warm fits and what was found beside it, from quick.json."""
    measured = _measured(results)
    heads = ("workload", "what it is", "`model.fit`", "`auto`", "class", "`fastest`", "class")
    rows = [
        [*_about(workload), f"{found.microseconds(MODEL_FIT.name):,.0f}"]
        + [cell for plan in (AUTO.name, FASTEST.name) for cell in _speed_and_class(found, plan)]
        for workload, found in _found(WORKLOADS, measured)
    ]
    about = "microseconds a step of `model.fit`, and `speed (95%)` of two plans"
    lines = [_origin("make bench-quick", results, about), "", _table(heads, "llrrlrl", rows)]
    if results.get("limits"):
        lines += ["", _limits(results["limits"], measured)]
    return "\n".join(lines)


def sources_and_methods(results: Mapping[str, Any]) -> str:
    """Return the table of sources and methods, from quick.json."""
    found_of = _found((*SOURCES, *METHODS), _measured(results))
    heads = ("workload", "what it is", "Keras", "`auto`", "speed (95%)", "class")
    rows = [
        _about(workload)
        + [f"{found.microseconds(name):,.0f}" for name in (MODEL_FIT.name, AUTO.name)]
        + _speed_and_class(found, AUTO.name)
        for workload, found in found_of
    ]
    about = "small MLP, microseconds a batch"
    lines = [_origin("make bench-quick", results, about), "", _table(heads, "llrrrl", rows), ""]
    return "\n".join([*lines, _summary([found for _, found in found_of], [AUTO.name])])


def first_fits(results: Mapping[str, Any]) -> str:
    """Return the table of first fits in fresh processes, from cold.json."""
    found_of = _found(COLD, _measured(results))
    plans = [STEP.name, AUTO.name]
    heads = ("workload", "what it is", "`model.fit` s", "`step`", "`auto`", "class")
    rows = [
        [*_about(workload), f"{found.engines[MODEL_FIT.name].first:.2f}"]
        + [str(found.speed(plan)) for plan in plans]
        + [found.engines[AUTO.name].exactness]
        for workload, found in found_of
    ]
    about = "seconds of the first fit of a process, and `speed (95%)` of two plans"
    lines = [_origin("make bench-cold", results, about), "", _table(heads, "llrrrl", rows), ""]
    return "\n".join([*lines, _summary([found for _, found in found_of], plans)])


def kernels(results: Mapping[str, Any]) -> str:
    """Return how much of a step kernels take, from kernels.json."""
    heads = ("workload", "engine", "us/step", "profiled", "kernels", "outside", "at once")
    rows = [
        [f"`{workload}`", f"`{record['engine']}`", *kernel_cells(Kernels(**record))]
        for workload, of_engines in results["kernels"].items()
        for record in of_engines
    ]
    command = "python -m bench --kernels"
    about = "microseconds a step, and the share outside of kernels"
    return "\n".join([_origin(command, results, about), "", _table(heads, "llrrrrr", rows)])


def callbacks(results: Mapping[str, Any]) -> str:
    """Return what each of `loop.callbacks` adds to a step and to a fit, from callbacks.json."""
    heads = ("callback", "us/step", "+us/step", "+ms/fit", "slower (95%)", "bits")
    rows = []
    for workload, found in _found(WITH_CALLBACKS, _measured(results)):
        *figures, slower, interval, bits = callback_cells(found)
        rows.append([f"`{workload.name}`", *figures, f"{slower} ({interval})", bits])
    about = "`loop.fit` without and with a callback"
    origin = _origin("python -m bench --callbacks", results, about)
    return "\n".join([origin, "", _table(heads, "lrrrrl", rows)])


def front_page(results: Mapping[str, Any]) -> str:
    """Return the table of README, from front_page.json."""
    heads = ("workload", "verbose", "fit us", "loop us", "speed (95%)", "class")
    rows = []
    for row in results["rows"]:
        found = costs_from({name: row[name] for name in row if name != "verbose"})
        rows.append(front_page_cells(found.scenario, row["verbose"], found))
    return _table(heads, "llrrrl", rows)


TABLES = (
    ("quick.json", COSTS, "figures", fits),
    ("quick.json", COSTS, "sources and methods", sources_and_methods),
    ("cold.json", COSTS, "first fits", first_fits),
    ("kernels.json", COSTS, "kernels", kernels),
    ("callbacks.json", RESEARCH, "callbacks", callbacks),
    ("front_page.json", README, "figures", front_page),
)
"""The file of results, the page, the marker in it, and what makes the text."""


def costs_from(record: Mapping[str, Any]) -> Costs:
    """Return the costs that were written as JSON."""
    engines = {name: Cost(**cost) for name, cost in record["engines"].items()}
    return Costs(**{**record, "engines": engines})


def _measured(results: Mapping[str, Any]) -> dict[str, Costs]:
    return {name: costs_from(record) for name, record in results["workloads"].items()}


def _found(
    workloads: Iterable[Workload], measured: Mapping[str, Costs]
) -> list[tuple[Workload, Costs]]:
    """Return workloads with what they cost.

    Raises:
        ValueError: Some were not measured.
    """
    known = {workload.name: workload for workload in workloads}
    if missing := [name for name in known if name not in measured]:
        raise ValueError(f"expected every workload in the JSON, {missing} are missing: measure all")
    return [(workload, measured[name]) for name, workload in known.items()]


def _about(workload: Workload) -> list[str]:
    return [f"`{workload.name}`", workload.scenario.shows]


def _speed_and_class(found: Costs, plan: str) -> list[str]:
    if plan not in found.engines:
        return ["-", "-"]
    return [str(found.speed(plan)), found.engines[plan].exactness]


def _origin(command: str, results: Mapping[str, Any], about: str) -> str:
    """Say where figures come from: command, day, machine, versions."""
    machine, packages = results["environment"], results["environment"]["packages"]
    where = f"{machine['cores']} cores of {machine['processor']}"
    if results["device"] == "gpu":
        where = f"{results['name']} with TF32 {'on' if results['tf32'] else 'off'}, {where}"
    versions = f"Keras {packages['keras']}, TensorFlow {packages['tensorflow']}"
    return f"`{command}`, {results['date']}, {where}, {versions}, batch size 32: {about}."


def _limits(limits: Mapping[str, Any], measured: Mapping[str, Costs]) -> str:
    """Say what must not grow: the time over the bare step, of a step in long epochs, memory."""
    over = [
        f"on `{name}` `auto` took {found.speed(BARE_STEP.name, reference=AUTO.name)} of the bare "
        "step's time"
        for name, found in measured.items()
        if BARE_STEP.name in found.engines
    ]
    times = [
        f"{taken:,.0f} us a step in epochs of {int(steps):,}"
        for steps, taken in limits["microseconds"].items()
    ]
    peaks = [f"{peak / 2**20:,.0f} for `{name}`" for name, peak in limits["peak"].items() if peak]
    data = f"on {limits['data'] / 2**20:,.0f} MiB of data the peak in MiB was {', '.join(peaks)}"
    return f"In the same run: {'; '.join([*over, ', '.join(times), data])}."


def _summary(measured: list[Costs], plans: Iterable[str]) -> str:
    """Say the median of a table and its lowest row, plan by plan."""
    words = []
    for plan in plans:
        middle, lowest = median_and_lowest(measured, plan)
        about = f"{figure(middle)}x, the lowest {lowest.speed(plan).speed} (`{lowest.scenario}`)"
        words.append(f"the median of `{plan}` is {about}")
    return f"Over the table {'; '.join(words)}."


def _table(heads: Iterable[str], sides: str, rows: Iterable[Iterable[str]]) -> str:
    """Return a table in Markdown; `sides` has an "l" or an "r" for each column."""
    ruler = ["---:" if side == "r" else "---" for side in sides]
    lines = [f"| {' | '.join(cells)} |" for cells in (heads, *rows)]
    return "\n".join([lines[0], f"|{'|'.join(ruler)}|", *lines[1:]])


if __name__ == "__main__":
    typer.run(main)
