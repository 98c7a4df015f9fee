"""What a warm fit costs under each engine, on pytest-benchmark.

make bench                                             # or, for one workload:
.venv/bin/python -m pytest bench --benchmark-enable -k seed
"""

import pytest

from bench.workloads import WORKLOADS
from compare.timing.engines import AUTO, FASTEST, MODEL_FIT, STEP
from compare.timing.training import first_fits, new_training

PAIRS = [
    pytest.param(workload.scenario, engine, id=f"{workload.name}-{engine.name}")
    for workload in WORKLOADS
    for engine in (MODEL_FIT, STEP, AUTO, FASTEST)
    if not workload.cold and (engine != FASTEST or engine.name in workload.goals)
]


@pytest.mark.parametrize(("scenario", "engine"), PAIRS)
def test_fit(benchmark, scenario, engine):
    benchmark.group = scenario.name
    training = new_training(scenario, engine)
    benchmark.extra_info["steps_in_a_fit"] = first_fits(training).steps
    benchmark.pedantic(training.seconds, rounds=5)
