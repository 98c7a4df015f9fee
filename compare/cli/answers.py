"""What a command does and says: it trains, prints, writes files and ends with a status."""

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from compare.diagnosis.diagnose import diagnose_in
from compare.errors import Outcome
from compare.execution.ladder import costs
from compare.execution.runner import Row, run
from compare.execution.script import compare_script
from compare.location.heat import heat_in
from compare.location.locate import locate_in
from compare.location.tapped import TappedTrainings
from compare.output.as_json import write_json
from compare.output.page import Page, write_page
from compare.output.report import print_report, verdict, write_markdown
from compare.output.tables import print_script
from compare.proof import prove
from compare.recording.trials import Trainings
from compare.scenario import Fit, Scenario
from compare.timing.costs import Costs
from compare.timing.engines import Engine
from compare.timing.tables import print_costs


def report(
    rows: list[Row], json: Path | None, html: Path | None, markdown: Path | None = None
) -> NoReturn:
    """Prints and writes what was found about scenarios, and exits with its status."""
    print_report(console(), rows)
    outcomes = {row.outcome for row in rows} - {Outcome.IDENTICAL}
    outcome = Outcome.PARTED if len(outcomes) > 1 else next(iter(outcomes), Outcome.IDENTICAL)
    if json:
        _written(json, write_json, scenarios=rows)
    if html:
        _written(
            html, write_page, _page("Parity and throughput", outcome, verdict(rows), rows=rows)
        )
    if markdown:
        _written(markdown, write_markdown, rows)
    raise typer.Exit(outcome)


def take_apart(
    scenarios: list[Scenario], engine: Engine, device: str, json: Path | None, html: Path | None
) -> NoReturn:
    """Takes the fits of scenarios apart; prints and writes where the time goes."""
    found: list[Costs] = []
    for scenario in scenarios:
        with Console(stderr=True).status(scenario.name) as status:
            found.append(costs(scenario, engine, device=device, on_progress=status.update))
        print_costs(console(), found[-1])
    words = "; ".join(one.in_words(engine.name) for one in found)
    failed = any(engine.name in one.failed for one in found)
    outcome = Outcome.CANDIDATE_FAILED if failed else Outcome.IDENTICAL
    if json:
        _written(json, write_json, costs=found)
    if html:
        _written(html, write_page, _page("Throughput", outcome, words, costs=found))
    raise typer.Exit(outcome)


def explain(
    scenario: Scenario,
    candidate: Fit,
    reference: Fit,
    json: Path | None,
    html: Path | None,
    *,
    reasons: bool = False,
) -> NoReturn:
    """Prints and writes where two trainings part, and why; exits with its status."""
    trainings = Trainings(scenario, candidate, reference)
    tapped = TappedTrainings(trainings)
    terminal = console()
    with Console(stderr=True).status("training under both"):
        place = locate_in(tapped)
    outcome = place.outcome if place else Outcome.IDENTICAL
    words = str(place) if place else f"{scenario.name}: nothing differs"
    terminal.print(words, markup=False, highlight=False, soft_wrap=True)
    found = []
    if place and reasons:
        with Console(stderr=True).status("breaking one rule after the other"):
            found = diagnose_in(trainings)
        explained = list(map(str, found)) or ["No rule that is known explains it."]
        if found and not found[0].exact:
            explained.append("This is not all: fix it and run the command again.")
        terminal.print(*explained, sep="\n", markup=False, highlight=False, soft_wrap=True)
    if json:
        _written(json, write_json, scenario=scenario.name, place=place, verdicts=found)
    if html:
        rows = [Row(scenario, prove(trainings))]
        heat = heat_in(tapped) if place else None
        title = f"{scenario.name}: where it diverges" + ", and why" * reasons
        page = _page(title, outcome, words, place=place, reasons=found, heat=heat, rows=rows)
        _written(html, write_page, page)
    raise typer.Exit(outcome)


def compare_calls(
    file: Path, arguments: list[str], json: Path | None, html: Path | None
) -> NoReturn:
    """Runs a script under both engines; prints and writes how its calls compare."""
    with Console(stderr=True).status(f"running {file} under both"):
        found = compare_script(file, arguments)
    print_script(console(), found)
    if json:
        _written(json, write_json, outcome=found.outcome.name, **vars(found))
    if html:
        title = f"The script {file.name}"
        _written(html, write_page, _page(title, found.outcome, str(found), script=found))
    raise typer.Exit(found.outcome)


def train(
    scenarios: list[Scenario],
    candidate: Fit,
    reference: Fit,
    *,
    proofs: bool = True,
    times: bool = False,
) -> list[Row]:
    """Proves and times scenarios, with a bar that shows how far it is."""
    columns = (
        TextColumn("{task.description:40}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    errors = Console(stderr=True)
    if not errors.is_terminal:
        print(f"scenarios: {len(scenarios)}; the table comes at the end", file=sys.stderr)
    with Progress(*columns, console=errors, transient=True) as progress:
        task = progress.add_task("starting", total=len(scenarios) * (proofs + times))

        def advance(what: str) -> None:
            progress.update(task, advance=1, description=what)

        return run(scenarios, candidate, reference, proofs=proofs, times=times, on_progress=advance)


def _page(title: str, outcome: Outcome, words: str, **shown: Any) -> Page:
    command = shlex.join(["glassfit", *sys.argv[1:]])
    return Page(title, words, outcome is Outcome.IDENTICAL, command, **shown)


def _written(path: Path, write: Callable[..., None], *what: Any, **more: Any) -> None:
    write(path, *what, **more)
    console().print(f"Written to {path}", highlight=False)


def console() -> Console:
    """The terminal; into a file or a pipe, a table is as wide as it needs to be."""
    terminal = Console()
    return terminal if terminal.is_terminal else Console(width=160)
