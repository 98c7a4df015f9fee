"""An explanation as text for a terminal: at most 80 columns, without colours when it is a str."""

import io
from collections.abc import Iterable, Iterator, Sequence

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table as Grid
from rich.text import Text

from loop.explain.document import Facts, Heading, Note, Part, Section, Table

WIDTH = 80
"""Columns of the text that `str` returns."""


def as_text(head: str, sections: Iterable[Section]) -> str:
    """Return the head as it is, and the sections below it in at most `WIDTH` columns."""
    written = io.StringIO()
    console = Console(file=written, width=WIDTH, color_system=None, highlight=False)
    for section in sections:
        console.print(as_renderable(section))
    lines = [line.rstrip() for line in written.getvalue().splitlines()]
    return "\n".join([head, *lines])


def as_renderable(section: Section) -> RenderableType:
    """Return a section as rich prints it: an empty line, the title, its parts indented."""
    title = Text(section.title.upper(), style="bold")
    return Group(Text(), title, *_spaced(section.parts))


def _spaced(parts: Sequence[Part]) -> Iterator[RenderableType]:
    """Yield the parts, indented, with an empty line between them, but none below a heading."""
    for place, part in enumerate(parts):
        if place and not isinstance(parts[place - 1], Heading):
            yield Text()
        yield Padding(_renderable(part), (0, 0, 0, 2))


def _renderable(part: Part) -> RenderableType:
    if isinstance(part, Heading):
        return Text(part.text, style="bold")
    if isinstance(part, Note):
        return Text(part.text)
    return _facts(part) if isinstance(part, Facts) else _table(part)


def _facts(facts: Facts) -> Grid:
    grid = Grid.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, text in facts.rows:
        grid.add_row(Text(name), Text(text))
    return grid


def _table(table: Table) -> Grid:
    grid = Grid(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for head in table.heads:
        is_words = head in table.words
        grid.add_column(
            Text(head), justify="left" if is_words else "right", no_wrap=not is_words,
            overflow="fold",
        )  # fmt: skip
    for row in table.rows:
        grid.add_row(*map(Text, row))
    return grid
