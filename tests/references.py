"""The trainings of Keras that tests compare with, recorded once on each machine.

A trace in the cache stands for a run of `keras.Model.fit` on this processor, with these versions,
flags, scenarios and this recorder: the key is the hash of all of them. Two more rules keep tests
from passing or failing for a wrong reason: only scenarios of the table are cached, and where a
trace differs from a candidate, Keras trains again (`differences_from_keras`). The command line
never reads this cache.
"""

import hashlib
import inspect
import json
import os
import pickle
import platform
import sys
import tempfile
from functools import cache
from importlib.metadata import distributions
from pathlib import Path

import keras

from compare import SCENARIOS, Difference, Scenario, Trace, differences, record

RECORDER = (record, Trace, Scenario)
FOLDER = Path(__file__).parent.parent / "build" / "references"
FLAGS = ("TF_", "XLA_", "ONEDNN_", "DNNL_", "OMP_", "KERAS_", "CUDA_")
"""How the variables of the environment begin that may change bits."""


def keras_trace(scenario: Scenario) -> Trace:
    """Return what `keras.Model.fit` leaves behind, every hook recorded; from the cache if known."""
    path = _path(scenario)
    if _is_in_the_table(scenario) and path.exists():
        return pickle.loads(path.read_bytes())
    return _trained(scenario)


def differences_from_keras(
    scenario: Scenario, candidate: Trace, watched: str = "batches"
) -> tuple[int, list[Difference]]:
    """Compare a candidate's trace with that of Keras.

    Args:
        scenario: What both trained.
        candidate: The candidate's trace.
        watched: Which hooks were recorded for it, one of `compare.WATCHED`.

    Returns:
        How many values were compared, and every difference. A difference from a cached trace
        counts only if a new training of Keras differs as well.
    """
    compared, found = differences(keras_trace(scenario).as_watched(watched), candidate)
    if found:
        compared, found = differences(_trained(scenario).as_watched(watched), candidate)
    return compared, found


def _trained(scenario: Scenario) -> Trace:
    """Train under Keras, and keep the trace if the scenario is in the table.

    Raises:
        RuntimeError: `keras.Model.fit` has been replaced, as by `loop.install()`.
    """
    if not keras.Model.fit.__module__.startswith("keras."):
        raise RuntimeError(
            f"expected Keras's own fit as the reference, got that of {keras.Model.fit.__module__}; "
            "ask for a reference outside of loop.installed()"
        )
    trace = record(scenario, keras.Model.fit)[0]
    if _is_in_the_table(scenario):
        _write(_path(scenario), pickle.dumps(trace))
    return trace


def _is_in_the_table(scenario: Scenario) -> bool:
    """Return whether it is that very object: one made from it may have its name."""
    return any(scenario is known for known in SCENARIOS)


def _path(scenario: Scenario) -> Path:
    return FOLDER / f"{scenario.name}-{key()}.pickle"


@cache
def key() -> str:
    """Return a hash of everything but the scenario's name that the traces depend on."""
    depends_on = {
        "modules": [part.__module__ for part in RECORDER],  # pickles name them
        "sources": _sources(),
        "packages": sorted(f"{package.name} {package.version}" for package in distributions()),
        "keras": keras.__version__,
        "python": sys.version,
        "processor": _processor(),
        "flags": {name: os.environ[name] for name in sorted(os.environ) if name.startswith(FLAGS)},
    }
    return hashlib.sha256(json.dumps(depends_on).encode()).hexdigest()[:32]


def _sources() -> list[str]:
    """Return the source of the recorder, of the modules beside it, and of every scenario."""
    folders = {Path(inspect.getsourcefile(part)).parent for part in (*RECORDER, SCENARIOS[0].build)}
    return [path.read_text() for folder in sorted(folders) for path in sorted(folder.glob("*.py"))]


def _processor() -> list[str]:
    """Return what the system tells about the processor: its kind, and what it can do."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().lower().splitlines() if cpuinfo.exists() else []
    named = {line for line in lines if line.startswith(("vendor", "model", "flags", "features"))}
    return [platform.machine(), platform.processor(), str(os.cpu_count()), *sorted(named)]


def _write(path: Path, content: bytes) -> None:
    """Write a file in one step: other test processes see all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(content)
    Path(file.name).replace(path)
