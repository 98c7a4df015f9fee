"""What a fit costs under each engine: the scenarios of the table, warm, on pytest-benchmark.

make bench                                             # or, for one scenario:
.venv/bin/python -m pytest bench --benchmark-enable -k digits_cnn
"""

import keras
import pytest

import loop
from compare import find
from compare.recorder import prepare, wait_for_device

ENGINES = {"model.fit": keras.Model.fit, "loop.fit": loop.fit}
WORKLOADS = (
    "random_labels",
    "digits_cnn",
    "diabetes",
    "masked_sequences",
    "transformer",
    "dataset",
)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("scenario", find(WORKLOADS), ids=lambda scenario: scenario.name)
def test_fit(benchmark, scenario, engine):
    benchmark.group = scenario.name
    model, _ = prepare(scenario)

    def arguments():
        return (model,), {"verbose": 0, **scenario.data()}

    def fit(model, **arguments):
        ENGINES[engine](model, **arguments)
        wait_for_device(model)

    benchmark.pedantic(fit, setup=arguments, rounds=7, warmup_rounds=1)
    benchmark.extra_info["steps_in_all_rounds"] = int(model.optimizer.iterations)
