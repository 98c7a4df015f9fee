"""An explanation as HTML: a fragment for notebooks, and a page that needs no other file."""

from collections.abc import Iterable, Sequence
from functools import cache
from html import escape
from pathlib import Path
from string import Template

from loop.explain.document import Facts, Heading, Note, Part, Section, Table
from loop.explain.timeline import Event, Timeline


def as_page(title: str, fragments: Iterable[str]) -> str:
    """Return a page of HTML with the fragments below each other."""
    page = Template(_file("page.html"))
    return page.substitute(
        title=escape(title), fragments="\n".join(fragments), script=_file("timeline.js")
    )


def as_fragment(
    lines: Sequence[str],
    sections: Iterable[Section],
    timeline: Timeline | None,
    step_sections: Iterable[Section],
    title: str = "",
) -> str:
    """Return an explanation as an element that carries its own style.

    Args:
        lines: How the steps run, and who watches them.
        sections: What stands above the timeline.
        timeline: The events of an epoch.
        step_sections: What stands below it.
        title: A heading; "" for none.
    """
    head = f"<h1>{escape(title)}</h1>" if title else ""
    plan, *more = lines
    items = "".join(f"<li>{escape(line)}</li>" for line in more)
    return "\n".join(
        [
            f'<div class="glassfit-explain"><style>{_file("style.css")}</style>{head}',
            f'<p class="plan">{escape(plan)}</p>',
            f"<ul>{items}</ul>" if items else "",
            *map(_section, sections),
            _timeline(timeline) if timeline is not None else "",
            *map(_section, step_sections),
            "</div>",
        ]
    )


@cache
def _file(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8").strip()


def _section(section: Section) -> str:
    parts = "\n".join(map(_part, section.parts))
    return f"<section><h2>{escape(section.title)}</h2>\n{parts}</section>"


def _part(part: Part) -> str:
    if isinstance(part, Heading):
        return f"<h3>{escape(part.text)}</h3>"
    if isinstance(part, Note):
        return f"<p>{escape(part.text)}</p>"
    return _facts(part) if isinstance(part, Facts) else _table(part)


def _facts(facts: Facts) -> str:
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts.rows)
    return f"<dl>{rows}</dl>"


def _table(table: Table) -> str:
    kinds = [' class="words"' if head in table.words else "" for head in table.heads]
    heads = zip(kinds, table.heads, strict=True)
    head = "".join(f'<th scope="col"{kind}>{escape(text)}</th>' for kind, text in heads)
    rows = "".join(
        "<tr>"
        + "".join(f"<td{kind}>{escape(cell)}</td>" for kind, cell in zip(kinds, row, strict=True))
        + "</tr>"
        for row in table.rows
    )
    return (
        f'<div class="wide" tabindex="0"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _timeline(timeline: Timeline) -> str:
    events = "\n".join(map(_event, timeline.events))
    note = f"<p>{escape(timeline.note)}</p>" if timeline.note else ""
    legend = (
        '<p class="legend"><span class="hook">hook of callbacks</span> '
        '<span class="call">compiled call</span> <span class="fit">fit itself</span></p>'
    )
    return (
        f'<section class="timeline"><h2>{escape(timeline.title)}</h2>{note}{legend}'
        f"<ol>{events}</ol></section>"
    )


def _event(event: Event) -> str:
    """Return an event as an element that opens by a click."""
    facts = [("called on", ", ".join(event.who)), ("with the logs", ", ".join(event.logs))]
    if event.kind == "hook" and not event.who:
        facts[0] = "called on", "no callback overrides it: nothing happens"
    about = f"<p>{escape(event.about)}</p>" if event.about else ""
    inside = about + _facts(Facts(tuple((name, text) for name, text in facts if text)))
    who = f'<span class="who">{escape(", ".join(event.who))}</span>' if event.who else ""
    quiet = " quiet" if event.kind == "hook" and not event.who else ""
    return (
        f'<li class="{event.kind}{quiet}"><details><summary>{escape(event.name)}{who}</summary>'
        f"{inside}</details></li>"
    )
