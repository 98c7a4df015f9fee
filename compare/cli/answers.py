"""Carry out the commands: train, print, write files, exit with a status."""

import shlex
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from compare.diagnosis.answer import Diagnosis, answer
from compare.diagnosis.diagnose import beyond_rounding, diagnose_in
from compare.diagnosis.layout import capture_of
from compare.diagnosis.retrain import Retraining
from compare.errors import Outcome
from compare.execution.ahead import second_process
from compare.execution.ladder import costs
from compare.execution.runner import Row, run
from compare.execution.script import compare_script
from compare.location.divergence import Divergence
from compare.location.heat import heat_in
from compare.location.locate import locate_in
from compare.location.tapped import TappedTrainings
from compare.output.as_json import write_json
from compare.output.page import Page, write_page
from compare.output.report import (
    print_effects,
    print_report,
    print_script,
    verdict,
    write_markdown,
)
from compare.proof import prove
from compare.recording.trials import Trainings
from compare.scenario import Fit, Scenario
from compare.timing.costs import Costs
from compare.timing.device import described, in_words
from compare.timing.engines import Engine
from compare.timing.tables import WIDTH, print_costs

FEW_ULPS = 64
"""Up to so many ulps, a first difference may be rounding: then the first that is more is sought."""


def report(
    rows: list[Row],
    json: Path | None,
    html: Path | None,
    markdown: Path | None = None,
    device: str | None = None,
) -> NoReturn:
    """Print and write the results of scenarios, and exit with their status."""
    if device:
        console().print(in_words(device), highlight=False)
    print_report(console(), rows)
    outcomes = {row.outcome for row in rows} - {Outcome.IDENTICAL}
    outcome = Outcome.DIFFERENT if len(outcomes) > 1 else next(iter(outcomes), Outcome.IDENTICAL)
    if json:
        more = {"device": described(device)} if device else {}
        _written(json, write_json, scenarios=rows, **more)
    if html:
        _written(
            html, write_page, _page("Parity and throughput", outcome, verdict(rows), rows=rows)
        )
    if markdown:
        _written(markdown, write_markdown, rows)
    raise typer.Exit(outcome)


def measure_costs(
    scenarios: list[Scenario], engine: Engine, device: str, json: Path | None, html: Path | None
) -> NoReturn:
    """Measure where the time of fits goes; print and write it, and exit with a status."""
    found: list[Costs] = []
    console().print(in_words(device), highlight=False)
    for scenario in scenarios:
        with Console(stderr=True).status(scenario.name) as status:
            found.append(costs(scenario, engine, device=device, on_progress=status.update))
        print_costs(console(), found[-1])
    words = "; ".join(measured.in_words(engine.name) for measured in found)
    failed = any(engine.name in measured.failed for measured in found)
    outcome = Outcome.CANDIDATE_FAILED if failed else Outcome.IDENTICAL
    if json:
        _written(json, write_json, costs=found, device=described(device))
    if html:
        _written(html, write_page, _page("Throughput", outcome, words, costs=found))
    raise typer.Exit(outcome)


def show_divergence(
    scenario: Scenario,
    candidate: Fit,
    reference: Fit,
    json: Path | None,
    html: Path | None,
    *,
    reasons: bool = False,
) -> NoReturn:
    """Print and write where two trainings diverge, and why; exit with their status."""
    trainings = Trainings(scenario, candidate, reference)
    tapped = TappedTrainings(trainings, capture_of if reasons else None)
    terminal = console()
    # Not for a script: it may write files, and two runs of it would write the same ones at once.
    with second_process(reasons and scenario.folder is None) as ahead:
        with Console(stderr=True).status("training with both engines"):
            place = locate_in(tapped, captures_inputs=not reasons)
        outcome = place.outcome if place else Outcome.IDENTICAL
        words = str(place) if place else f"{scenario.name}: nothing differs"
        retraining = Retraining(tapped, ahead) if reasons else None
        found, lines = _explained(tapped, place, words, retraining)
    terminal.print(*lines, sep="\n", markup=False, highlight=False, soft_wrap=True)
    if found:
        print_effects(terminal, found)
    if json:
        _written(
            json,
            write_json,
            scenario=scenario.name,
            place=place,
            verdicts=found.causes,
            diagnosis=found,
        )
    if html:
        rows = [Row(scenario, prove(trainings))]
        heat = heat_in(tapped) if place else None
        title = f"{scenario.name}: where it diverges" + ", and why" * reasons
        words = lines[0]
        page = _page(title, outcome, words, place=place, reasons=found, heat=heat, rows=rows)
        _written(html, write_page, page)
    raise typer.Exit(outcome)


def _explained(
    tapped: TappedTrainings, place: Divergence | None, words: str, retraining: Retraining | None
) -> tuple[Diagnosis, list[str]]:
    """Return the causes of a difference, if they are asked for, and the lines to print."""
    if place is None:
        return Diagnosis(), [words]
    progress = Console(stderr=True)
    if retraining:
        with (
            progress.status("breaking one rule after the other") as status,
            warnings.catch_warnings(),
        ):
            # A rule that cannot be broken here is no cause: nobody has to read why not.
            warnings.filterwarnings("ignore", ".* cannot be trained without .*")
            found = diagnose_in(retraining, on_progress=status.update)
        return found, [*answer(found, words)]
    if not place.ulps or place.ulps > FEW_ULPS:
        return Diagnosis(), [words]
    with progress.status("measuring what rounding does"):
        return Diagnosis(), [words, beyond_rounding(tapped.trainings)]


def compare_script_calls(
    file: Path,
    arguments: list[str],
    json: Path | None,
    html: Path | None,
    limit: float | None = None,
) -> NoReturn:
    """Run a script under both engines; print and write how its calls compare."""
    with Console(stderr=True).status(f"running {file} with both engines"):
        found = compare_script(file, arguments, limit)
    print_script(console(), found)
    if json:
        _written(json, write_json, outcome=found.outcome.name, **vars(found))
    if html:
        title = f"The script {file.name}"
        _written(html, write_page, _page(title, found.outcome, str(found), script=found))
    raise typer.Exit(found.outcome)


def announce(scenarios: int) -> None:
    """Print how much a run of the whole table is, and how to stop it, before it starts."""
    print(
        f"{scenarios} scenarios, then times: this takes minutes. "
        "Ctrl-C stops; `glassfit --help` lists the commands.",
        file=sys.stderr,
        flush=True,
    )


def train(
    scenarios: list[Scenario],
    candidate: Fit,
    reference: Fit,
    *,
    proofs: bool = True,
    times: bool = False,
    device: str | None = None,
) -> list[Row]:
    """Prove and time scenarios, and show the progress on standard error."""
    errors = Console(stderr=True)
    begin = partial(run, scenarios, candidate, reference, proofs=proofs, times=times, device=device)
    if not errors.is_terminal:
        return begin(on_progress=ProgressLines(len(scenarios)).count)
    columns = (
        TextColumn("{task.description:34}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=errors, transient=True) as progress:
        task = progress.add_task("starting", total=len(scenarios) * (proofs + times))

        def advance(step: str, row: Row) -> None:
            progress.update(task, advance=1, description=f"{step} {row.scenario.name}")

        return begin(on_progress=advance)


class ProgressLines:
    """Progress where standard error is no terminal: a line for every ten scenarios.

    The lines look like `30 of 110 scenarios, 30 identical, 1:24` and `30 of 110 timed, 4:02`.
    """

    def __init__(self, total: int):
        self._total = total
        self._begun = time.monotonic()
        self._done = {"proved": 0, "timed": 0}
        self._identical = 0

    def count(self, step: Literal["proved", "timed"], row: Row) -> None:
        """Count a scenario that was proved or timed; print a line if it is due."""
        self._done[step] += 1
        done = self._done[step]
        self._identical += step == "proved" and row.holds
        if done % 10 and done < self._total:
            return
        minutes, seconds = divmod(int(time.monotonic() - self._begun), 60)
        what = f"scenarios, {self._identical} identical" if step == "proved" else "timed"
        line = f"{done} of {self._total} {what}, {minutes}:{seconds:02}"
        print(line, file=sys.stderr, flush=True)


def _page(title: str, outcome: Outcome, words: str, **shown: Any) -> Page:
    command = shlex.join(["glassfit", *sys.argv[1:]])
    return Page(title, words, outcome is Outcome.IDENTICAL, command, **shown)


def _written(path: Path, write: Callable[..., None], *what: Any, **more: Any) -> None:
    write(path, *what, **more)
    console().print(f"Written to {path}", highlight=False)


def console() -> Console:
    """Return the terminal; a file or a pipe gets 80 columns, which all tables fit."""
    terminal = Console()
    return terminal if terminal.is_terminal else Console(width=WIDTH)
