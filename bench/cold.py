"""First fits in fresh processes: what a script, a unit test or a notebook cell feels."""

from functools import partial

from bench.workloads import (
    Workload,
    cnn,
    lstm,
    mlp,
    mlp_data,
    mnist_mlp,
    random_arrays,
    transformer,
    with_bar,
    with_validation,
    workload,
)
from compare.execution.ladder import OwnProcesses
from compare.timing.costs import Costs
from compare.timing.engines import AUTO, MODEL_FIT, STEP
from compare.timing.measure import measure_cold

ENGINES = (MODEL_FIT, STEP, AUTO)
GOAL = 1.35
"""How many times as fast as `model.fit` each plan is to be, in the median of the table."""


_row = partial(workload, goals={"step": 1.0, "auto": 1.0}, cold=True)

COLD = (
    _row("mlp_1", "mlp, 1 step", mlp, mlp_data, 1, 1),
    _row("mlp_8", "mlp, 8 steps", mlp, mlp_data, 8, 1),
    _row("mlp_8_bar", "the same at the default verbosity", mlp, with_bar, 8, 1),
    _row("mlp_250", "mlp, 10 epochs of 25 steps", mlp, mlp_data, 25, 10),
    _row("mlp_250_validation", "the same with validation", mlp, with_validation(200), 25, 10),
    _row("mnist_mlp_100", "784-128-10 with dropout", mnist_mlp, random_arrays((784,), 10), 100, 1),
    _row("cnn_10", "cnn, 10 steps", cnn, random_arrays((28, 28, 1), 10), 10, 1),
    _row("lstm_10", "lstm, 10 steps", lstm, random_arrays((28, 28), 10), 10, 1),
    _row("transformer_10", "two blocks, 10 steps", transformer, random_arrays((32, 32), 10), 10, 1),
)


def measure_in_fresh_processes(workload: Workload, rounds: int, device: str) -> Costs:
    """Time the first fit of every engine, each in a process that has trained nothing.

    The processes of a round are started together; then one fits while the others wait.
    """
    with OwnProcesses(len(ENGINES), device) as place:
        return measure_cold(workload.scenario, ENGINES, place, rounds)
