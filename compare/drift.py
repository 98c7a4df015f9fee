"""`python -m compare.drift`: what another release of Keras changes for us.

Every function of ours that re-does one of Keras's names it (`Mirrors:`). This prints which of those
differ from the release we mirror, and which scenarios part. `make drift KERAS=3.15.0` runs it.
"""

import json
from collections.abc import Sequence
from functools import partial
from typing import Annotated

import keras
import typer
from rich.console import Console

import loop
from compare.execution.runner import run
from compare.output.tables import new_table
from compare.release.mirrors import RECORDED, changed, fingerprint, mirrored, reference_release
from compare.scenarios import find


def main(
    names: Annotated[list[str] | None, typer.Argument(help="Scenarios; all by default.")] = None,
    record: Annotated[bool, typer.Option(help="Take this Keras as the one we mirror.")] = False,
) -> None:
    """Says what the Keras that is installed changes for loop.fit."""
    console = Console()
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
    raise typer.Exit(0 if _all_hold(console, names or []) else 1)


def _all_hold(console: Console, names: Sequence[str]) -> bool:
    with console.status("proving"):
        rows = run(find(names), partial(loop.fit, plan="auto"), times=False)
    parting = [row for row in rows if not row.holds]
    console.print(f"{len(rows) - len(parting)} of {len(rows)} scenarios hold", highlight=False)
    if parting:
        table = new_table("what parts", "scenario", "how")
        for row in parting:
            table.add_row(row.scenario.name, str(row.error or row.parity).splitlines()[0][:90])
        console.print(table)
    return not parting


if __name__ == "__main__":
    typer.run(main)
