"""`python -m compare.drift`: what another release of Keras changes for us.

Every function of ours that re-does one of Keras's names it (`Mirrors:`). This prints which of those
differ from the release we mirror, and which scenarios part. `make drift KERAS=3.15.0` runs it.
"""

import ast
import hashlib
import importlib
import inspect
import json
import re
import textwrap
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import keras
import typer
from rich.console import Console

import loop
from compare.report import new_table
from compare.runner import run
from compare.scenarios import find

RECORDED = Path(__file__).parent / "fingerprints.json"
"""Fingerprints of the functions of the release that we mirror."""


def mirrored() -> list[str]:
    """The dotted names of all functions of Keras that ours re-do."""
    sources = Path(loop.__file__).parent.rglob("*.py")
    return sorted(
        {name for one in sources for name in re.findall(r"Mirrors: (\S+)", one.read_text())}
    )


def resolve(dotted: str) -> Any:
    """The object behind a dotted name: the longest importable module, then attributes.

    Raises:
        ModuleNotFoundError, AttributeError: There is no such thing.
    """
    parts = dotted.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            found = getattr(found, part)
        return found
    raise ModuleNotFoundError(dotted)


def fingerprint(dotted: str) -> str:
    """A hash of a function's or a class's code, blind to layout, comments and docstrings."""
    try:
        source = inspect.getsource(resolve(dotted))
    except (AttributeError, ModuleNotFoundError):
        return "gone"
    tree = ast.parse(textwrap.dedent(source))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node):
            node.body = node.body[1:] or [ast.Pass()]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:16]


def changed() -> list[str]:
    """The mirrored functions that are not what they were when they were recorded."""
    recorded: dict[str, str] = json.loads(RECORDED.read_text())["functions"]
    return [name for name in mirrored() if recorded.get(name) != fingerprint(name)]


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
    reference = json.loads(RECORDED.read_text())["keras"]
    differing = changed()
    console.print(
        f"Keras {keras.__version__} against {reference}: {len(differing)} of {len(mirrored())} "
        "mirrored functions changed",
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
            table.add_row(row.scenario.name, (row.error or str(row.parity)).splitlines()[0][:90])
        console.print(table)
    return not parting


if __name__ == "__main__":
    typer.run(main)
