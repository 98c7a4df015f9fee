"""The timeline of an epoch: hooks, compiled calls and logs, in their order."""

from typing import NamedTuple

from loop.explain.document import Note, Section, Table


class Event(NamedTuple):
    """What happens at a moment of an epoch.

    Attributes:
        kind: "hook" of callbacks, compiled "call", or what "fit" itself does.
        name: What happens: the call of a hook with its first argument, or the steps of a call.
        who: The callbacks whose hook does something.
        logs: The names of the logs that they get.
        about: What happens, in a sentence.
    """

    kind: str
    name: str
    who: tuple[str, ...] = ()
    logs: tuple[str, ...] = ()
    about: str = ""


class Timeline(NamedTuple):
    """The events of the first epoch that runs, and what follows it."""

    title: str
    events: tuple[Event, ...]
    note: str = ""


def timeline_section(timeline: Timeline) -> Section:
    """Return a timeline as a table."""
    heads = ("what happens", "for", "with the logs")
    rows: list[tuple[str, ...]] = []
    former: tuple[str, ...] = ()
    for event in timeline.events:
        who = ", ".join(event.who) or "-" * (event.kind == "hook")
        logs = "the same" if event.logs and event.logs == former else ", ".join(event.logs)
        former = event.logs or former
        rows.append((event.name, who, logs))
    note = Note(f"A dash stands where no callback overrides the hook. {timeline.note}".rstrip())
    return Section(timeline.title, (Table(heads, tuple(rows), heads), note))
