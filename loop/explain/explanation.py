"""The result of `loop.explain`, as text, as a page, and in a notebook."""

from collections.abc import Iterator
from typing import NamedTuple

from rich.console import RenderableType
from rich.text import Text

from loop.explain.document import Section
from loop.explain.first_step import FirstStep
from loop.explain.page import as_fragment, as_page
from loop.explain.text import as_renderable, as_text
from loop.explain.timeline import Timeline, timeline_section


class Explanation(NamedTuple):
    """A description of what fit would do: print it, or show it in a notebook or a browser.

        print(explanation)
        pathlib.Path("fit.html").write_text(explanation.html(), encoding="utf-8")

    Attributes:
        plan: "step", "fused", "fused over XLA steps" or "xla"; "unknown" if that is decided at the
            first batch only: see `reason`.
        epochs_share_calls: Whether whole epochs run in one call.
        reason: Why whole epochs, or steps, do not share a call; None if they do.
        watchers: When callbacks need control, a line for each.
        steps: Steps per epoch; None while unknown.
        measured: The measurements of `plan="fastest"`; None under other plans.
        validates: Whether there is validation data.
        begins: How plan "auto" begins, before it builds the program of `plan`; None otherwise.
        sections: Data, what is static, losses, metrics and optimizer, callbacks.
        timeline: The events of an epoch, in their order.
        first_step: The numbers of the first step; None if it was not asked for, or cannot be shown.
        step_sections: The first step as text, or why it cannot be shown; () if not asked for.
    """

    plan: str
    epochs_share_calls: bool
    reason: str | None
    watchers: tuple[str, ...]
    steps: int | None
    measured: str | None
    validates: bool = False
    begins: str | None = None
    sections: tuple[Section, ...] = ()
    timeline: Timeline | None = None
    first_step: FirstStep | None = None
    step_sections: tuple[Section, ...] = ()

    def plan_lines(self) -> list[str]:
        """Return how the steps run, and who watches them: a line for each fact."""
        steps = "an unknown number of" if self.steps is None else f"{self.steps:,}"
        lines = [f"plan: {self.plan}; {steps} step{'s' * (self.steps != 1)} an epoch"]
        if self.epochs_share_calls:
            lines.append(
                "whole epochs run in one call" + ", with their validation" * self.validates
            )
        elif self.reason:
            few = "one step a call" if self.plan == "step" else "no whole epochs in one call"
            lines.append(f"{few}: {self.reason}")
        return [*lines, *filter(None, [self.begins, *self.watchers, self.measured])]

    def all_sections(self) -> list[Section]:
        """Return everything below the lines of the plan, in the order of reading."""
        timeline = [] if self.timeline is None else [timeline_section(self.timeline)]
        return [*self.sections, *timeline, *self.step_sections]

    def __str__(self) -> str:
        return as_text("\n".join(self.plan_lines()), self.all_sections())

    def __repr__(self) -> str:
        return str(self)  # what an interactive session shows

    def __rich_console__(self, *_: object) -> Iterator[RenderableType]:
        yield Text("\n".join(self.plan_lines()))
        yield from map(as_renderable, self.all_sections())

    def html(self) -> str:
        """Return a page of HTML that needs no network and no other file."""
        return as_page("What fit would do", [self.fragment()])

    def fragment(self, title: str = "") -> str:
        """Return an element of HTML for a page of one's own, below a title if one is given."""
        lines = self.plan_lines()
        return as_fragment(lines, self.sections, self.timeline, self.step_sections, title)

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        return self.fragment()
