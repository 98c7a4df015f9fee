"""Run the recipes and print a row for each: `make examples`.

A row says what one changes; how many lines of the step differ from `loop.train_step`; by which plan
it ran; how many times as fast it is as the same in Keras, warm and interleaved, if every bit is the
same; and what was checked in a training at length.
"""

import contextlib
import io
from pathlib import Path
from typing import Annotated, NamedTuple

from compare.execution.quiet import import_tensorflow_quietly

import_tensorflow_quietly()  # before anything else imports TensorFlow

# isort: split
import keras
import tensorflow as tf
import typer
from rich.console import Console
from rich.markup import escape

from bench.page import filled
from compare.timing.tables import new_table
from examples.recipes import frame

MARKER = "table"
HEADS = ("recipe", "what one changes", "lines", "plan", "speed (95%)", "what was checked")


class Row(NamedTuple):
    """What was found of one recipe.

    Attributes:
        cells: As text, by `HEADS`.
        failed: What does not hold; () if all does.
    """

    cells: tuple[str, ...]
    failed: tuple[str, ...]


def row_of(name: str) -> Row:
    """Run a recipe: train it, compare and time it, check its claim."""
    module = frame.recipe(name)
    trained = frame.train(name)
    failed = [] if frame.runs_as_said(name, trained) else [f"its plan is {trained.plan}"]
    speed = getattr(module, "WITHOUT_TWIN", "-")
    if frame.twin(name):
        theirs = frame.train_twin(name)
        compared, found = frame.compared(trained, theirs)
        failed += [f"{len(found)} of {compared} values differ, first {found[0]}"] if found else []
        speed = str(frame.speed(name, trained.model, theirs.model))
    differing, lines = frame.lines_that_differ(name)
    keras.utils.clear_session()
    with contextlib.redirect_stdout(io.StringIO()):
        numbers = module.claim()
    failed += frame.broken(name, numbers)
    told = module.CLAIM.format(**numbers)
    cells = name, frame.changes(name), f"{differing} of {lines}", trained.plan, speed, told
    return Row(cells, tuple(failed))


def as_markdown(rows: list[Row]) -> str:
    """Return the table in Markdown, each recipe with a link to its file."""
    lines = [f"| {' | '.join(HEADS)} |", "|---|---|---:|---|---:|---|"]
    for row in rows:
        name, *rest = row.cells
        linked = f"[`{name}`](../examples/recipes/{name}.py)"
        lines.append(f"| {' | '.join([linked, *rest])} |")
    return "\n".join(lines)


def main(
    names: Annotated[list[str] | None, typer.Argument(help="Recipes; all by default.")] = None,
    page: Annotated[Path | None, typer.Option(help="The page to write the table into.")] = None,
) -> None:
    """Run recipes, print the table, and exit with 1 if anything does not hold."""
    tf.get_logger().setLevel("ERROR")  # each training traces graphs of its own
    console, rows = Console(), []
    table = new_table("recipes, and the same as a train_step of Keras", *HEADS)
    for name in names or frame.NAMES:
        console.print(f"{name} ...", style="dim", highlight=False)
        rows.append(row_of(name))
        table.add_row(*map(escape, rows[-1].cells))
    console.print(table)
    failures = [(row.cells[0], failure) for row in rows for failure in row.failed]
    for name, failure in failures:
        console.print(f"[red]{escape(f'{name}: {failure}')}[/]", highlight=False)
    if failures:
        raise typer.Exit(1)
    if page:
        page.write_text(filled(page.read_text(), MARKER, as_markdown(rows)))


if __name__ == "__main__":
    typer.run(main)
