"""`python -m compare.drift`: what another release of Keras changes for us.

Functions of `loop` name the Keras function that they implement anew (`Mirrors:`). This prints which
of those functions differ from the mirrored release, and which scenarios are not identical.
`make drift KERAS=3.15.0` runs it.
"""

import json
from collections.abc import Sequence
from functools import partial
from typing import Annotated

import keras
import typer
from rich.console import Console
from rich.markup import escape

import loop
from compare.execution.runner import run
from compare.release.mirrors import RECORDED, changed, fingerprint, mirrored, reference_release
from compare.scenarios import find
from compare.timing.tables import WIDTH, new_table


def main(
    names: Annotated[list[str] | None, typer.Argument(help="Scenarios; all by default.")] = None,
    record: Annotated[bool, typer.Option(help="Record this Keras as the mirrored one.")] = False,
) -> None:
    """Print what the installed Keras changes for loop.fit."""
    terminal = Console()
    console = terminal if terminal.is_terminal else Console(width=WIDTH)
    if record:
        functions = {name: fingerprint(name) for name in mirrored()}
        found = {"keras": keras.__version__, "functions": functions}
        RECORDED.write_text(json.dumps(found, indent=1) + "\n")
        return
    differing = changed()
    console.print(
        f"Keras {keras.__version__} against {reference_release()}: {len(differing)} of "
        f"{len(mirrored())} mirrored functions changed",
        highlight=False,
    )
    for name in differing:
        console.print(f"  {name}", highlight=False)
    raise typer.Exit(0 if _all_identical(console, names or []) else 1)


def _all_identical(console: Console, names: Sequence[str]) -> bool:
    """Prove scenarios under this Keras; print how many are identical, and which are not."""
    with console.status("proving"):
        rows = run(find(names), partial(loop.fit, plan="auto"), times=False)
    differing = [row for row in rows if not row.holds]
    identical = len(rows) - len(differing)
    console.print(f"{identical} of {len(rows)} scenarios are identical", highlight=False)
    if differing:
        table = new_table("scenarios that differ", "scenario", "first difference")
        for row in differing:
            name, _, how = str(row.error or row.parity).splitlines()[0].partition(": ")
            table.add_row(row.scenario.name, escape(how or name))
        console.print(table)
    return not differing
