"""The same training through two engines: are they the same to the last bit, and how fast is each?

    from compare import find, parity, throughput
    print(parity(find(["digits_cnn"])[0]))          # model.fit against loop.fit
    print(parity(my_scenario, candidate=my_fit))    # model.fit against a loop of your own
    print(locate(my_scenario, my_fit))              # where it parts: epoch, step, stage, element
    print(diagnose(my_scenario, my_fit)[0])         # why: which rule of fit it breaks
    assert_same(my_fit, my_scenario)                # the same in a test of yours

On the command line: `python -m compare --help`.
"""

import os

from compare.execution.quiet import quietly

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
with quietly():
    import tensorflow  # noqa: F401

from compare.diagnosis.diagnose import Verdict, diagnose
from compare.location.divergence import Divergence
from compare.location.locate import assert_same, locate
from compare.parity import Parity, parity
from compare.recording.bits import Difference, differences
from compare.recording.recorder import WATCHED, Recorder, record
from compare.recording.trace import Event, Trace
from compare.scenario import Scenario
from compare.scenarios import SCENARIOS, find
from compare.timing.throughput import Throughput, throughput

__all__ = [
    "SCENARIOS",
    "WATCHED",
    "Difference",
    "Divergence",
    "Event",
    "Parity",
    "Recorder",
    "Scenario",
    "Throughput",
    "Trace",
    "Verdict",
    "assert_same",
    "diagnose",
    "differences",
    "find",
    "locate",
    "parity",
    "record",
    "throughput",
]
