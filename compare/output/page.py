"""One page of results, in one file: verdicts, histories, distances, costs, and how to repeat it."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from compare.diagnosis.diagnose import Verdict
from compare.execution.runner import Row
from compare.execution.script import ScriptVerdict
from compare.location.divergence import Divergence
from compare.location.heat import Heat
from compare.output import plots
from compare.release.environment import environment
from compare.timing.clock import figure
from compare.timing.costs import Costs
from compare.timing.split import PARTS

SHOWN = 12
"""Histories that are drawn where nothing differs, at most; those that part are all drawn."""


@dataclass(frozen=True)
class Page:
    """What there is to show; what is empty is left out.

    Attributes:
        title: What was asked.
        verdict: The answer, in a sentence.
        holds: Whether it is a good one.
        command: How to ask again.
        rows: Scenarios with proofs and times.
        place: Where two trainings part.
        reasons: Which rules of fit explain it.
        heat: How far the weights are apart, by step.
        costs: Where the time goes.
        script: What came of a script.
    """

    title: str
    verdict: str
    holds: bool
    command: str
    rows: Sequence[Row] = ()
    place: Divergence | None = None
    reasons: Sequence[Verdict] = ()
    heat: Heat | None = None
    costs: Sequence[Costs] = ()
    script: ScriptVerdict | None = None
    taken: datetime.datetime = field(default_factory=lambda: datetime.datetime.now().astimezone())


def write_page(path: Path, page: Page) -> None:
    """Writes a page that needs nothing else: no network, no other file.

    Args:
        path: The file; its folder is made.
        page: What to show.
    """
    templates = Environment(
        loader=PackageLoader("compare.output"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = templates.get_template("page.html.jinja").render(
        page=page,
        environment=_flat(environment()),
        histories=_histories(page.rows),
        heat=plots.heat_map(page.heat) if page.heat else None,
        costs=[_drawn(one) for one in page.costs],
        figure=figure,
        parts=PARTS,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _histories(rows: Sequence[Row]) -> list[tuple[str, plots.Picture]]:
    """The curves of both engines, for what parts and for some of what does not."""
    proved = [(row.scenario.name, row.parity) for row in rows if row.parity]
    proved.sort(key=lambda one: one[1].identical)
    parted = sum(not parity.identical for _, parity in proved)
    shown = proved[: max(parted, SHOWN)]
    return [
        (name, plots.histories(name, *parity.histories))
        for name, parity in shown
        if any(log for history in parity.histories for log in history.values())
    ]


def _drawn(costs: Costs) -> tuple[Costs, list[plots.Picture]]:
    scaling = [plots.scaling(what, by_engine) for what, by_engine in costs.scaling.items()]
    return costs, [plots.split(costs), *scaling]


def _flat(values: dict[str, Any]) -> dict[str, str]:
    """Nested values as text, by name."""
    found: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            found |= _flat(value)
        else:
            found[name.replace("_", " ")] = (
                ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            )
    return found
