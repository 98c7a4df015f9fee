"""The command line: `glassfit`, or `python -m compare`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

import glassfit
from compare.cli import answers
from compare.cli.doctor import examine, print_findings
from compare.cli.names import candidate_of, reference_of, scenarios_of, training_of, under
from compare.errors import CannotCompareError, Outcome
from compare.execution.two_scripts import LIMIT
from compare.scenarios import find
from compare.timing.device import DEVICES, is_here
from compare.timing.engines import Engine
from loop.types import PLANS

EXIT_STATUS = """
Exit status: 0 identical · 1 different · 2 wrong usage · 3 the scenario cannot be built or trained ·
4 the candidate raised · 5 it never trained · 6 it returned no history · 7 other epochs ·
8 other logs · 9 Keras does not repeat itself · 10 unreadable script · 11 the script fails ·
12 it asks for input or arguments · 13 it exits before it trains · 14 it trains more than once ·
15 another backend · 16 no GPU · 17 the time limit · 18 weights of other shapes ·
19 something trained outside of what was compared.
"""

app = typer.Typer(
    help=f"""Is your training loop `model.fit`, to the last bit? Where does it diverge, and why?

`glassfit parity random_labels` trains a scenario with model.fit and with loop.fit.

`glassfit locate mine:scenario --candidate mine:fit` finds where a loop of yours diverges.

`glassfit diagnose mine:scenario --candidate mine:fit` says which rule of fit it breaks.

`glassfit diagnose --fit with_fit.py --loop with_loop.py` says why the loop of a script trains
otherwise than the fit of another, or of the same: `--fit train.py:12 --loop train.py:30`.

`glassfit script train.py` runs a script under both engines and compares every call.

`glassfit run train.py` just runs it on this engine.

`glassfit explain train.py` runs it, and says before each fit what the fit will do, and why.

Without a command: proves and times every scenario of the table.

{EXIT_STATUS}""",
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)

Names = Annotated[
    list[str] | None, typer.Argument(help="Scenarios, or module:scenario; else the whole table.")
]
Name = Annotated[str | None, typer.Argument(help="A scenario of the table, or module:scenario.")]
Candidate = Annotated[
    str | None, typer.Option(help="Your loop, module:function; loop.fit by default.")
]
Reference = Annotated[
    str | None,
    typer.Option(help="The fit to compare with, module:function; model.fit by default."),
]
FitScript = Annotated[
    str | None,
    typer.Option("--fit", help="In the place of a scenario: a script that calls fit, FILE[:LINE]."),
]
LoopScript = Annotated[
    str | None,
    typer.Option("--loop", help="In the place of a candidate: a script with a loop, FILE[:LINE]."),
]
Limit = Annotated[float, typer.Option(help="Seconds after which a run of a script is ended.")]
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
    """Prove and time every scenario."""
    if context.invoked_subcommand is None:
        fit = candidate_of(None, plan)
        scenarios = under(plan, scenarios_of([]), None)
        answers.announce(len(scenarios))
        rows = answers.train(scenarios, fit, reference_of(None), times=True)
        answers.report(rows, json, html, markdown)
    elif json or html or markdown or plan != "auto":
        raise typer.BadParameter(
            "put --json, --html, --markdown and --plan behind the command: "
            f"glassfit {context.invoked_subcommand} ..."
        )


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
    scenarios = under(plan, scenarios_of(names or []), candidate)
    rows = answers.train(scenarios, candidate_of(candidate, plan), reference_of(reference))
    answers.report(rows, json, html, markdown)


@app.command()
def throughput(
    names: Names = None,
    candidate: Candidate = None,
    reference: Reference = None,
    plan: Plan = "auto",
    detail: Annotated[
        bool, typer.Option(help="Where the time goes, engine by engine, and how it grows.")
    ] = False,
    device: Annotated[
        str | None, typer.Option(help="cpu or gpu; as TensorFlow chooses, for --detail the cpu.")
    ] = None,
    json: Json = None,
    html: Html = None,
) -> None:
    """How fast are two loops? Interleaved warm fits; with --detail, where the time goes."""
    scenarios = under(plan, scenarios_of(names or []), candidate)
    fit = candidate_of(candidate, plan)
    if device not in (None, *DEVICES):
        raise typer.BadParameter(f"no device {device!r}; there are cpu and gpu")
    if device and not is_here(device):
        raise typer.BadParameter("TensorFlow sees no GPU here: nothing was measured")
    if not detail:
        rows = answers.train(
            scenarios, fit, reference_of(reference), proofs=False, times=True, device=device
        )
        answers.report(rows, json, html, device=device)
    if reference:
        raise typer.BadParameter("--detail compares with model.fit: leave out --reference")
    if not names:
        raise typer.BadParameter("--detail takes minutes for each scenario: name them")
    engine = Engine("candidate" if candidate else plan, fit)
    answers.measure_costs(scenarios, engine, device or "cpu", json, html)


@app.command("locate")
def locate_first(
    name: Name = None,
    candidate: Candidate = None,
    reference: Reference = None,
    fit: FitScript = None,
    loop: LoopScript = None,
    limit: Limit = LIMIT,
    plan: Plan = "auto",
    json: Json = None,
    html: Html = None,
) -> None:
    """Where does a loop diverge from model.fit? The first step, stage and element."""
    scenario, trained_by = training_of(name, candidate, plan, (fit, loop), limit)
    answers.show_divergence(scenario, trained_by, reference_of(reference), json, html)


@app.command("diagnose")
def diagnose_rules(
    name: Name = None,
    candidate: Candidate = None,
    reference: Reference = None,
    fit: FitScript = None,
    loop: LoopScript = None,
    limit: Limit = LIMIT,
    plan: Plan = "auto",
    json: Json = None,
    html: Html = None,
) -> None:
    """Why does it diverge? The rule of fit that it breaks, and the line that it lacks."""
    scenario, trained_by = training_of(name, candidate, plan, (fit, loop), limit)
    answers.show_divergence(scenario, trained_by, reference_of(reference), json, html, reasons=True)


@app.command(context_settings=TAKES_ALL)
def script(
    context: typer.Context,
    file: Script,
    json: Json = None,
    html: Html = None,
    limit: Annotated[
        float | None, typer.Option(help="Seconds after which a run is ended; none by default.")
    ] = None,
) -> None:
    """Run a script under Keras and under glassfit, and compare every fit, evaluate and predict.

    What it trains in a loop of its own is named and not compared. Arguments after FILE are passed
    to the script; put --json, --html and --limit before it.
    """
    answers.compare_script_calls(file, context.args, json, html, limit)


@app.command("run", context_settings=TAKES_ALL)
def run_script(
    context: typer.Context,
    file: Annotated[str, typer.Argument(help="A Python script that trains a Keras model.")],
) -> None:
    """Run a script as `python FILE` would, with model.fit and its friends on this engine.

    Arguments after FILE are passed to the script. It imports its own loop.py and compare.py where
    there are such files, and environment variables that it sets before it imports Keras count.
    """
    glassfit.replace_process([file, *context.args])


@app.command("explain", context_settings=TAKES_ALL)
def explain_script(
    context: typer.Context,
    file: Annotated[str, typer.Argument(help="A Python script that trains a Keras model.")],
    step: Annotated[
        bool, typer.Option("--step", help="Take the first step of each fit apart, in numbers.")
    ] = False,
    html: Html = None,
) -> None:
    """Run a script as `glassfit run` does, and explain each fit before it runs.

    Arguments after FILE are passed to the script; put --step and --html before it. The
    explanations go to standard error, so the output of the script stays as it is.
    """
    how = ["step" if step else "", str(html) if html else ""]
    glassfit.replace_process([file, *context.args], how)


@app.command()
def doctor() -> None:
    """What do bits and times depend on here? Versions, devices, threads, flags."""
    findings = examine()
    print_findings(answers.console(), findings)
    raise typer.Exit(
        Outcome.DIFFERENT if any(finding.is_wrong for finding in findings) else Outcome.IDENTICAL
    )


@app.command("list")
def list_scenarios() -> None:
    """List the scenarios and what each of them shows."""
    terminal = answers.console()
    for scenario in find():
        line = f"[bold]{scenario.name:27}[/] {scenario.shows}"
        terminal.print(line, highlight=False, soft_wrap=True)


def main() -> None:
    """Run the command line; each `CannotCompareError` has an exit status."""
    try:
        app()
    except CannotCompareError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        raise SystemExit(error.outcome) from None
