"""The table of scenarios: one row for every behaviour of fit that the engine promises."""

import difflib
from collections.abc import Sequence

from compare.scenario import Scenario
from compare.scenarios.arguments import ARGUMENTS
from compare.scenarios.callbacks import CALLBACKS
from compare.scenarios.compiled import COMPILED
from compare.scenarios.first import FIRST
from compare.scenarios.models import MODELS
from compare.scenarios.outputs import OUTPUTS
from compare.scenarios.real_data import REAL_DATA
from compare.scenarios.sources import SOURCES

SCENARIOS: tuple[Scenario, ...] = (
    *FIRST,
    *REAL_DATA,
    *ARGUMENTS,
    *SOURCES,
    *OUTPUTS,
    *MODELS,
    *COMPILED,
    *CALLBACKS,
)
"""All scenarios of the proof, in the order of its table.

    names = [scenario.name for scenario in SCENARIOS]

What each shows: docs/proof.md.
"""


def find(names: Sequence[str] = ()) -> list[Scenario]:
    """Return the scenarios of these names, or all, in the order of the table.

        early_stopping, digits_cnn = find(["early_stopping", "digits_cnn"])

    Raises:
        KeyError: A name is not in the table; the message has the closest names.
    """
    known = {scenario.name: scenario for scenario in SCENARIOS}
    for name in names:
        if name not in known:
            close = ", ".join(difflib.get_close_matches(name, known))
            hint = f"Is it one of {close}?" if close else "`glassfit list` shows them all."
            raise KeyError(f"No scenario is called {name!r}. {hint}")
    return [known[name] for name in known if not names or name in names]
