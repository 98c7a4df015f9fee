"""What a warm fit costs under each engine, on pytest-benchmark.

make bench                                             # or, for one workload:
.venv/bin/python -m pytest bench --benchmark-enable -k seed
"""

import pytest

from bench.engines import ready, seconds_of
from bench.workloads import WORKLOADS

PAIRS = [
    pytest.param(workload, engine, id=f"{workload.name}-{engine}")
    for workload in WORKLOADS
    for engine in ("keras", "step", "auto", "fastest")
    if not workload.cold and (engine != "fastest" or engine in workload.goals)
]


@pytest.mark.parametrize(("workload", "engine"), PAIRS)
def test_fit(benchmark, workload, engine):
    benchmark.group = workload.name
    model, fit = ready(engine, workload)

    def arguments():
        return (fit, model, workload.fit_arguments()), {}

    benchmark.pedantic(seconds_of, setup=arguments, rounds=5, warmup_rounds=2)
    benchmark.extra_info["steps_in_a_fit"] = workload.steps * workload.epochs
