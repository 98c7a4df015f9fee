"""What must not grow: the time per step with the length of an epoch, memory beyond the data."""

import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from bench.engines import ready, seconds_of
from bench.workloads import WORKLOADS

SAMPLES = 400_000
FEATURES = 100


@dataclass(frozen=True)
class Limits:
    """What was found.

    Attributes:
        microseconds: Per step under `auto`, by steps in an epoch.
        peak: Most memory held, in bytes, by engine; each in a process of its own.
        data: Bytes of the data those processes trained on.
    """

    microseconds: dict[int, float]
    peak: dict[str, int]
    data: int


def limits(epochs_of: Sequence[int]) -> Limits:
    """Measures both, the time per step for epochs of so many steps each."""
    (mlp,) = (workload for workload in WORKLOADS if workload.name == "mlp")
    model, fit = ready("auto", mlp)
    found = {}
    for steps in epochs_of:
        arguments = mlp.fit_arguments(steps, max(1, 1000 // steps))
        seconds_of(fit, model, arguments)
        taken = statistics.median(seconds_of(fit, model, arguments) for _ in range(3))
        found[steps] = 1e6 * taken / (steps * arguments["epochs"])
    peak = {engine: _peak(engine) for engine in ("keras", "auto")}
    return Limits(found, peak, SAMPLES * (FEATURES + 1) * 4)


def _peak(engine: str) -> int:
    """The most memory that a process held which trained under an engine, in bytes."""
    command = [sys.executable, "-c", _TRAIN.format(engine=engine, n=SAMPLES, features=FEATURES)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout.splitlines()[-1])


_TRAIN = """
import os, pathlib, re
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras, loop, numpy as np
x = np.ones(({n}, {features}), "float32"); y = np.ones({n}, "float32")
model = keras.Sequential([keras.Input(({features},)), keras.layers.Dense(1)])
model.compile("sgd", "mse")
arguments = dict(batch_size=1000, epochs=2, verbose=0)
if "{engine}" == "keras":
    model.fit(x, y, **arguments)
else:
    loop.fit(model, x, y, plan="{engine}", **arguments)
status = pathlib.Path("/proc/self/status").read_text()
print(1024 * int(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1]))  # of this process alone
"""
