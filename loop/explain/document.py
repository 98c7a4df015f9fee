"""What an explanation says, as sections, before it becomes text or a page."""

from typing import NamedTuple


class Facts(NamedTuple):
    """Names, and what is to be said about each."""

    rows: tuple[tuple[str, str], ...]


class Table(NamedTuple):
    """Rows below heads; columns of figures are aligned to the right."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: tuple[str, ...] = ()
    """The heads of the columns that hold words, which are aligned to the left."""


class Heading(NamedTuple):
    """A heading within a section."""

    text: str


class Note(NamedTuple):
    """A sentence or two."""

    text: str


Part = Facts | Table | Heading | Note


class Section(NamedTuple):
    """A title, and the parts below it."""

    title: str
    parts: tuple[Part, ...]


def facts(*rows: tuple[str, str | None]) -> Facts:
    """Return the facts whose text is neither None nor empty."""
    return Facts(tuple((name, text) for name, text in rows if text))
