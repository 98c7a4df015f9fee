"""Which engines a workload is timed under."""

from dataclasses import replace

from bench.workloads import Workload
from compare.timing.engines import (
    ARRAYS_ONLY,
    AUTO,
    BARE_STEP,
    FASTEST,
    HAND_WRITTEN,
    JIT,
    MODEL_FIT,
    STEP,
    XLA,
    Engine,
)
from compare.timing.tuned import TUNED

ALL = (MODEL_FIT, TUNED, JIT, HAND_WRITTEN, STEP, AUTO, XLA, FASTEST, BARE_STEP)


def engines_for(workload: Workload, quick: bool) -> list[Engine]:
    """Return the engines that a workload is timed under, `MODEL_FIT` first.

    Args:
        workload: What to train.
        quick: `model.fit` and the plans with a goal only, for `mlp` the bare step too.
    """
    if workload.methods:
        keras_method, ours = workload.methods
        return [replace(MODEL_FIT, fit=keras_method), replace(AUTO, fit=ours)]
    if not quick:
        return [engine for engine in ALL if workload.is_plain or engine not in ARRAYS_ONLY]
    chosen = [MODEL_FIT, *(engine for engine in (AUTO, FASTEST) if engine.name in workload.goals)]
    return [*chosen, BARE_STEP] if workload.name == "mlp" else chosen
