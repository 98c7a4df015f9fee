"""Write results as one HTML file: verdicts, histories, distances, costs, the command to repeat."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from compare.diagnosis.answer import Diagnosis
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
"""How many histories to draw; those of scenarios that differ are all drawn."""


@dataclass(frozen=True)
class Page:
    """What a page shows; empty parts are left out.

    Attributes:
        title: The title.
        verdict: The result, in a sentence.
        holds: Whether everything is identical.
        command: The command line that writes this page.
        rows: Scenarios with proofs and times.
        place: Where two trainings diverge.
        reasons: The causes.
        heat: How far the weights are apart, by step.
        costs: Where the time of fits goes.
        script: The calls of a script.
        taken: When the page was written.
    """

    title: str
    verdict: str
    holds: bool
    command: str
    rows: Sequence[Row] = ()
    place: Divergence | None = None
    reasons: Diagnosis | None = None
    heat: Heat | None = None
    costs: Sequence[Costs] = ()
    script: ScriptVerdict | None = None
    taken: datetime.datetime = field(default_factory=lambda: datetime.datetime.now().astimezone())


def write_page(path: Path, page: Page) -> None:
    """Write a page that needs no network and no other file.

    Args:
        path: The file; its folder is created.
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
        costs=[_drawn(costs) for costs in page.costs],
        figure=figure,
        parts=PARTS,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _histories(rows: Sequence[Row]) -> list[tuple[str, plots.Picture]]:
    """Draw the logs of both engines: of all scenarios that differ, and of some that do not."""
    proved = [(row.scenario.name, row.parity) for row in rows if row.parity]
    proved.sort(key=lambda name_and_parity: name_and_parity[1].identical)
    differing = sum(not parity.identical for _, parity in proved)
    shown = proved[: max(differing, SHOWN)]
    return [
        (name, plots.histories(name, *parity.histories))
        for name, parity in shown
        if any(log for history in parity.histories for log in history.values())
    ]


def _drawn(costs: Costs) -> tuple[Costs, list[plots.Picture]]:
    scaling = [plots.scaling(what, by_engine) for what, by_engine in costs.scaling.items()]
    return costs, [plots.split(costs), *scaling]


def _flat(values: dict[str, Any]) -> dict[str, str]:
    """Return nested values as text, by name."""
    found: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            found |= _flat(value)
        else:
            found[name.replace("_", " ")] = (
                ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            )
    return found
