"""The command line: `glassfit`, or `python -m compare`."""

import runpy
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import tensorflow as tf
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from compare import named
from compare.as_json import write_json
from compare.costs import Costs, costs
from compare.diagnose import diagnose
from compare.divergence import locate
from compare.doctor import examine
from compare.heat import heat_of
from compare.outcome import CannotCompareError, Outcome
from compare.page import Page, write_page
from compare.parity import parity as compared
from compare.report import print_report, verdict, write_markdown
from compare.runner import Row, run
from compare.scenario import Fit, Scenario
from compare.scenarios import find
from compare.script import compare_script
from compare.tables import print_costs, print_findings, print_script
from loop.types import PLANS

EXIT_STATUS = """
Exit status: 0 identical · 1 parted · 2 wrong usage · 3 the scenario cannot be built or trained ·
4 the candidate raised · 5 it never trained · 6 it returned no history · 7 other epochs ·
8 other logs · 9 Keras does not repeat itself · 10 unreadable script · 11 the script fails.
"""

app = typer.Typer(
    help=f"""Is your training loop `model.fit`, to the last bit? Where does it part, and why?

`glassfit parity random_labels` trains a scenario with model.fit and with loop.fit.

`glassfit locate mine:scenario --candidate mine:fit` finds where a loop of yours leaves model.fit.

`glassfit diagnose mine:scenario --candidate mine:fit` says which rule of fit it breaks.

`glassfit script train.py` runs a script under both engines and compares every call.

`glassfit run train.py` just runs it on this engine.

Without a command: proves and times every scenario of the table.

{EXIT_STATUS}""",
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)

Names = Annotated[
    list[str] | None, typer.Argument(help="Scenarios, or module:scenario; else the whole table.")
]
Name = Annotated[str, typer.Argument(help="A scenario of the table, or module:scenario.")]
Candidate = Annotated[
    str | None, typer.Option(help="Your loop, module:function; loop.fit by default.")
]
Reference = Annotated[
    str | None, typer.Option(help="What it is held to, module:function; model.fit by default.")
]
Json = Annotated[Path | None, typer.Option("--json", help="Write the results to this file.")]
Html = Annotated[Path | None, typer.Option("--html", help="Write a page to this file.")]
Markdown = Annotated[Path | None, typer.Option(help="Write the table of proof to this file.")]
Plan = Annotated[str, typer.Option(help=f"The plan of loop.fit: {', '.join(PLANS)}.")]
Script = Annotated[Path, typer.Argument(help="A Python script that trains a Keras model.")]
TAKES_ALL = {
    "allow_extra_args": True,
    "ignore_unknown_options": True,
    "allow_interspersed_args": False,  # what stands behind the script is the script's
}


@app.callback(invoke_without_command=True)
def everything(
    context: typer.Context,
    json: Json = None,
    html: Html = None,
    markdown: Markdown = None,
    plan: Plan = "auto",
) -> None:
    """Proves and times every scenario."""
    if context.invoked_subcommand is None:
        fit = named.loop_of(None, plan)
        rows = _run(_under(plan, named.scenarios([]), None), fit, named.reference(None), times=True)
        _report(rows, json, html, markdown)
    elif json or html or markdown or plan != "auto":
        raise typer.BadParameter(f"put it behind the command: {context.invoked_subcommand} ...")


@app.command()
def parity(
    names: Names = None,
    candidate: Candidate = None,
    reference: Reference = None,
    plan: Plan = "auto",
    json: Json = None,
    html: Html = None,
    markdown: Markdown = None,
) -> None:
    """Are two loops the same, to the last bit of all that they leave behind?"""
    scenarios = _under(plan, named.scenarios(names or []), candidate)
    rows = _run(scenarios, named.loop_of(candidate, plan), named.reference(reference))
    _report(rows, json, html, markdown)


@app.command()
def throughput(
    names: Names = None,
    candidate: Candidate = None,
    reference: Reference = None,
    plan: Plan = "auto",
    detail: Annotated[
        bool, typer.Option(help="Where the time goes, engine by engine, and how it grows.")
    ] = False,
    device: Annotated[str, typer.Option(help="cpu or gpu, for --detail.")] = "cpu",
    json: Json = None,
    html: Html = None,
) -> None:
    """How fast are two loops? Interleaved warm fits; with --detail, where the time goes."""
    scenarios = _under(plan, named.scenarios(names or []), candidate)
    fit = named.loop_of(candidate, plan)
    if not detail:
        rows = _run(scenarios, fit, named.reference(reference), proofs=False, times=True)
        _report(rows, json, html)
    if reference:
        raise typer.BadParameter("--detail holds all engines to model.fit")
    if device not in ("cpu", "gpu"):
        raise typer.BadParameter(f"no device {device!r}; there are cpu and gpu")
    if not names:
        raise typer.BadParameter("--detail takes minutes for each scenario: name them")
    if device == "gpu" and not tf.config.list_physical_devices("GPU"):
        raise typer.BadParameter("there is no GPU here: nothing was measured")
    found = []
    for scenario in scenarios:
        with Console(stderr=True).status(scenario.name) as status:
            fits = fit if candidate else None
            found.append(costs(scenario, fits, device=device, on_progress=status.update))
        print_costs(_console(), found[-1])
    if json:
        _written(json, write_json, costs=found)
    if html:
        _written(
            html, write_page, _page("Throughput", Outcome.IDENTICAL, _words(found), costs=found)
        )
    if any("candidate" in one.failed for one in found):
        raise typer.Exit(Outcome.CANDIDATE_FAILED)


def _words(found: list[Costs]) -> str:
    return "; ".join(
        f"{one.scenario}: auto is {' '.join(one.shown('auto'))} as fast as model.fit"
        for one in found
        if "auto" in one.engines
    )


@app.command("locate")
def locate_first(
    name: Name,
    candidate: Candidate = None,
    reference: Reference = None,
    plan: Plan = "auto",
    json: Json = None,
    html: Html = None,
) -> None:
    """Where does a loop leave model.fit? The first step, stage and element."""
    (scenario,) = _under(plan, [named.scenario(name)], candidate)
    _explain(scenario, named.loop_of(candidate, plan), named.reference(reference), json, html)


@app.command("diagnose")
def diagnose_rules(
    name: Name,
    candidate: Candidate = None,
    reference: Reference = None,
    plan: Plan = "auto",
    json: Json = None,
    html: Html = None,
) -> None:
    """Why does it? The rule of fit that it breaks, and the line that it lacks."""
    (scenario,) = _under(plan, [named.scenario(name)], candidate)
    fits = named.loop_of(candidate, plan), named.reference(reference)
    _explain(scenario, *fits, json, html, reasons=True)


def _explain(
    scenario: Scenario,
    candidate: Fit,
    reference: Fit,
    json: Path | None,
    html: Path | None,
    *,
    reasons: bool = False,
) -> None:
    console = _console()
    with Console(stderr=True).status("training under both"):
        place = locate(scenario, candidate, reference)
    outcome = place.outcome if place else Outcome.IDENTICAL
    words = str(place) if place else f"{scenario.name}: nothing parts"
    console.print(words, markup=False, highlight=False, soft_wrap=True)
    found = []
    if place and reasons:
        with Console(stderr=True).status("breaking one rule after the other"):
            found = diagnose(scenario, candidate, reference)
        explained = list(map(str, found)) or ["No rule that is known explains it."]
        console.print(*explained, sep="\n", markup=False, highlight=False, soft_wrap=True)
    if json:
        _written(json, write_json, scenario=scenario.name, place=place, verdicts=found)
    if html:
        rows = [Row(scenario, compared(scenario, candidate, reference))]
        heat = heat_of(scenario, candidate, reference) if place else None
        title = f"{scenario.name}: where it parts" + ", and why" * reasons
        page = _page(title, outcome, words, place=place, reasons=found, heat=heat, rows=rows)
        _written(html, write_page, page)
    raise typer.Exit(outcome)


@app.command(context_settings=TAKES_ALL)
def script(context: typer.Context, file: Script, json: Json = None, html: Html = None) -> None:
    """Does a script give the same under Keras and here? Compares every fit, evaluate, predict.

    What stands behind FILE is passed on to the script; --json and --html stand before it.
    """
    with Console(stderr=True).status(f"running {file} under both"):
        found = compare_script(file, context.args)
    print_script(_console(), found)
    if json:
        _written(
            json, write_json, script=found.script, outcome=found.outcome.name, calls=found.calls
        )
    if html:
        _written(
            html,
            write_page,
            _page(f"The script {file.name}", found.outcome, str(found), script=found),
        )
    raise typer.Exit(found.outcome)


@app.command("run", context_settings=TAKES_ALL)
def run_script(context: typer.Context, file: Script) -> None:
    """Runs a script as Python would, with model.fit and its friends on this engine."""
    sys.argv = ["loop", str(file), *context.args]
    runpy.run_module("loop", run_name="__main__")


@app.command()
def doctor() -> None:
    """What do bits and times depend on here? Versions, devices, threads, flags."""
    findings = examine()
    print_findings(_console(), findings)
    raise typer.Exit(Outcome.PARTED if any(one.is_ill for one in findings) else Outcome.IDENTICAL)


@app.command("list")
def list_scenarios() -> None:
    """Lists the scenarios and what each one shows."""
    console = _console()
    for scenario in find():
        console.print(f"[bold]{scenario.name:32}[/] {scenario.shows}", highlight=False)


def _under(plan: str, scenarios: list[Scenario], candidate: str | None) -> list[Scenario]:
    """Under XLA it is XLA's bits that are compared."""
    if plan == "xla" and not candidate:
        return [one.under_xla() for one in scenarios]
    return scenarios


def _report(
    rows: list[Row], json: Path | None, html: Path | None, markdown: Path | None = None
) -> None:
    """Prints and writes what was found, and exits with its status."""
    print_report(_console(), rows)
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


def _page(title: str, outcome: Outcome, words: str, **shown: Any) -> Page:
    command = shlex.join(["glassfit", *sys.argv[1:]])
    return Page(title, words, outcome is Outcome.IDENTICAL, command, **shown)


def _written(path: Path, write: Callable[..., None], *what: Any, **more: Any) -> None:
    write(path, *what, **more)
    _console().print(f"Written to {path}", highlight=False)


def _run(
    scenarios: list[Scenario],
    candidate: Fit,
    reference: Fit,
    *,
    proofs: bool = True,
    times: bool = False,
) -> list[Row]:
    columns = (
        TextColumn("{task.description:40}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    console = Console(stderr=True)
    if not console.is_terminal:
        print(f"{len(scenarios)} scenarios; the table comes at the end", file=sys.stderr)
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("starting", total=len(scenarios) * (proofs + times))

        def advance(what: str) -> None:
            progress.update(task, advance=1, description=what)

        return run(scenarios, candidate, reference, proofs=proofs, times=times, on_progress=advance)


def _console() -> Console:
    console = Console()
    # Into a file or a pipe, a table is as wide as it needs to be.
    return console if console.is_terminal else Console(width=160)


def main() -> None:
    """Runs the command line; what cannot be compared has a status of its own."""
    try:
        app()
    except CannotCompareError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        raise SystemExit(error.outcome) from None
