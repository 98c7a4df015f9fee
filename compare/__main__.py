"""`python -m compare`: proves that loop.fit is model.fit, and times both."""

import importlib
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

import loop
from compare.diagnose import diagnose
from compare.divergence import locate
from compare.report import print_report, write_json, write_markdown
from compare.runner import Row, run
from compare.scenario import Fit, Scenario
from compare.scenarios import find
from loop.types import PLANS

Name = Annotated[str, typer.Argument(help="A scenario, or module:scenario of your own.")]
Candidate = Annotated[str, typer.Option(help="Your loop, module:function.")]

app = typer.Typer(
    help="The same trainings through model.fit and loop.fit: same bits? how fast? "
    "Exit status 0 only when every scenario is identical.",
    add_completion=False,
    no_args_is_help=False,
)

Names = Annotated[list[str] | None, typer.Argument(help="Scenarios; all of them by default.")]
Json = Annotated[Path | None, typer.Option("--json", help="Also write the results to this file.")]
Plan = Annotated[str, typer.Option(help=f"The plan of loop.fit: {', '.join(PLANS)}.")]
Markdown = Annotated[Path | None, typer.Option(help="Also write the table of proof to this file.")]


@app.callback(invoke_without_command=True)
def both(
    context: typer.Context, json: Json = None, markdown: Markdown = None, plan: Plan = "auto"
) -> None:
    """Without a command: proves and times every scenario."""
    if context.invoked_subcommand is None:
        _compare([], json, markdown, plan, proofs=True, times=True)
    elif json or markdown:
        raise typer.BadParameter(
            f"put it behind the command: {context.invoked_subcommand} --json ..."
        )


@app.command()
def parity(
    names: Names = None, json: Json = None, markdown: Markdown = None, plan: Plan = "auto"
) -> None:
    """Trains each scenario under both engines and compares every bit they leave behind."""
    _compare(names or [], json, markdown, plan, proofs=True, times=False)


@app.command()
def throughput(names: Names = None, json: Json = None, plan: Plan = "auto") -> None:
    """Times each scenario under both engines, interleaved, warm."""
    _compare(names or [], json, None, plan, proofs=False, times=True)


@app.command("locate")
def locate_first(name: Name, candidate: Candidate = "loop:fit") -> None:
    """Finds the first step, stage and element at which a candidate leaves model.fit."""
    found = locate(_only(name), _imported(candidate))
    print(found or f"{name}: nothing parts")
    raise typer.Exit(1 if found else 0)


@app.command("diagnose")
def diagnose_first(name: Name, candidate: Candidate = "loop:fit") -> None:
    """Names the rule of fit that a candidate breaks, and shows the line it lacks."""
    scenario, fit = _only(name), _imported(candidate)
    found = locate(scenario, fit)
    for one in [found, *diagnose(scenario, fit)] if found else [f"{name}: nothing parts"]:
        print(one)
    raise typer.Exit(1 if found else 0)


def _only(name: str) -> Scenario:
    """A scenario of the table, or `module:scenario` of the user's."""
    if ":" in name:
        scenario = _imported(name)
        if not isinstance(scenario, Scenario):
            raise typer.BadParameter(f"{name} is no compare.Scenario, but {type(scenario)}")
        return scenario
    try:
        return find([name])[0]
    except KeyError as error:
        raise typer.BadParameter(str(error.args[0])) from None


def _imported(name: str) -> Any:
    """What `module:name` names, in the current folder too."""
    module, _, attribute = name.partition(":")
    sys.path.insert(0, "")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise typer.BadParameter(f"cannot import {name!r}, a module:name: {error}") from None


@app.command("list")
def list_scenarios() -> None:
    """Lists the scenarios and what each one shows."""
    console = _console()
    for scenario in find():
        console.print(f"[bold]{scenario.name:32}[/] {scenario.shows}", highlight=False)


def _compare(
    names: list[str],
    json: Path | None,
    markdown: Path | None,
    plan: str,
    *,
    proofs: bool,
    times: bool,
) -> None:
    if plan not in PLANS:
        raise typer.BadParameter(f"no plan {plan!r}; there are {', '.join(PLANS)}")
    try:
        scenarios = [one.under_xla() if plan == "xla" else one for one in find(names)]
    except KeyError as error:
        raise typer.BadParameter(str(error.args[0])) from None
    console = _console()
    if not console.is_terminal:
        print(f"{len(scenarios)} scenarios; the table comes at the end", file=sys.stderr)
    rows = _run(scenarios, partial(loop.fit, plan=plan), proofs=proofs, times=times)
    print_report(console, rows)
    if json:
        write_json(json, rows)
        console.print(f"Written to {json}", highlight=False)
    if markdown:
        write_markdown(markdown, rows)
        console.print(f"Written to {markdown}", highlight=False)
    raise typer.Exit(0 if all(row.holds for row in rows) else 1)


def _run(scenarios: list[Scenario], candidate: Fit, *, proofs: bool, times: bool) -> list[Row]:
    columns = (
        TextColumn("{task.description:40}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("starting", total=len(scenarios) * (proofs + times))

        def advance(what: str) -> None:
            progress.update(task, advance=1, description=what)

        return run(scenarios, candidate, proofs=proofs, times=times, on_progress=advance)


def _console() -> Console:
    console = Console()
    # Into a file or a pipe, a table is as wide as it needs to be.
    return console if console.is_terminal else Console(width=140)


if __name__ == "__main__":
    app()
