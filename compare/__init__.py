"""Train the same scenario with two engines: are they the same to the last bit, and how fast?

    from compare import find, parity, throughput
    print(parity(find(["digits_cnn"])[0]))          # model.fit against loop.fit
    print(parity(my_scenario, candidate=my_fit))    # model.fit against a loop of your own
    print(locate(my_scenario, my_fit))              # where: epoch, step, stage, element
    print(diagnose(my_scenario, my_fit)[0])         # why: which rule of fit the loop breaks
    print(diagnose(*two_scripts("a.py", "b.py")))   # the fit of a script, the loop of another
    assert_same(my_scenario, my_fit)                # the same check in a test of yours

On the command line: `glassfit --help` or `python -m compare --help`.

Importing `compare` imports nothing else: a name is imported from its module on first use.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compare.diagnosis.answer import Diagnosis, Verdict
    from compare.diagnosis.diagnose import diagnose
    from compare.errors import (
        CandidateError,
        CannotCompareError,
        CrashError,
        ExitedError,
        NeedsInputError,
        NeverTrainedError,
        NoGpuError,
        NoHistoryError,
        OtherBackendError,
        OtherWeightsError,
        Outcome,
        ScenarioError,
        ScriptError,
        SeveralTrainingsError,
        TimeLimitError,
        TrainedOutsideError,
        UnreadableScriptError,
        UnrepeatableError,
    )
    from compare.execution.two_scripts import two_scripts
    from compare.location.divergence import Divergence
    from compare.location.locate import assert_same, locate
    from compare.proof import Parity, parity
    from compare.recording.bits import Difference, differences
    from compare.recording.recorder import WATCHED, Recorder, record
    from compare.recording.trace import Event, Trace
    from compare.scenario import Scenario
    from compare.scenarios import SCENARIOS, find
    from compare.timing.throughput import Throughput, throughput

_MODULES = {
    "compare.diagnosis.answer": ("Diagnosis", "Verdict"),
    "compare.diagnosis.diagnose": ("diagnose",),
    "compare.errors": (
        "CandidateError",
        "CannotCompareError",
        "CrashError",
        "ExitedError",
        "NeedsInputError",
        "NeverTrainedError",
        "NoGpuError",
        "NoHistoryError",
        "OtherBackendError",
        "OtherWeightsError",
        "Outcome",
        "ScenarioError",
        "ScriptError",
        "SeveralTrainingsError",
        "TimeLimitError",
        "TrainedOutsideError",
        "UnreadableScriptError",
        "UnrepeatableError",
    ),
    "compare.execution.two_scripts": ("two_scripts",),
    "compare.location.divergence": ("Divergence",),
    "compare.location.locate": ("assert_same", "locate"),
    "compare.proof": ("Parity", "parity"),
    "compare.recording.bits": ("Difference", "differences"),
    "compare.recording.recorder": ("WATCHED", "Recorder", "record"),
    "compare.recording.trace": ("Event", "Trace"),
    "compare.scenario": ("Scenario",),
    "compare.scenarios": ("SCENARIOS", "find"),
    "compare.timing.throughput": ("Throughput", "throughput"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "SCENARIOS",
    "WATCHED",
    "CandidateError",
    "CannotCompareError",
    "CrashError",
    "Diagnosis",
    "Difference",
    "Divergence",
    "Event",
    "ExitedError",
    "NeedsInputError",
    "NeverTrainedError",
    "NoGpuError",
    "NoHistoryError",
    "OtherBackendError",
    "OtherWeightsError",
    "Outcome",
    "Parity",
    "Recorder",
    "Scenario",
    "ScenarioError",
    "ScriptError",
    "SeveralTrainingsError",
    "Throughput",
    "TimeLimitError",
    "Trace",
    "TrainedOutsideError",
    "UnreadableScriptError",
    "UnrepeatableError",
    "Verdict",
    "assert_same",
    "diagnose",
    "differences",
    "find",
    "locate",
    "parity",
    "record",
    "throughput",
    "two_scripts",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its module on first use (PEP 562)."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = vars(importlib.import_module(_MODULE_OF[name]))[name]
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return sorted({*globals(), *__all__})
