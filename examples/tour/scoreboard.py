"""Counts the scenarios on which each rung of the tour has the bits of `model.fit`.

    python -m examples.tour.scoreboard             # all rungs: half an hour
    python -m examples.tour.scoreboard base        # one of them

The last rung is trained on all scenarios, the others on those that the last one has. The names of
the scenarios on which no bit differs are written to `scoreboard.json` beside this file.
"""

import json
import re
import sys
from pathlib import Path

import keras
from rich.progress import track

from compare import SCENARIOS
from compare.errors import CannotCompareError
from compare.proof import prove
from compare.recording.bits import differences
from compare.recording.trace import on_equal_terms
from compare.recording.trials import Trainings
from compare.scenarios import find
from examples.tour.show import RUNGS, module_of

FILE = Path(__file__).with_name("scoreboard.json")

LEFT_OUT = {
    "steps_per_epoch": (
        "batch_size_from_steps", "steps_cut_the_pass", "steps_beyond_the_pass", "dataset_endless",
        "dataset_from_generator", "generator", "generator_validation", "pydataset_in_part",
        "pydataset_endless",
    ),
    "data of unknown size": (
        "dataset_of_unknown_size", "dataset_filtered", "dataset_interleaved", "dataset_of_records",
    ),
    "generators and loaders": (
        "generator_that_ends", "generator_of_lengths", "generator_none_target", "pydataset",
        "pydataset_workers", "torch_loader", "grain_dataset",
    ),
    "sparse and ragged data": (
        "sparse_tensor", "sparse_in_batches", "scipy_sparse", "ragged_tensor",
    ),
    "dtypes that differ within a frame": ("pandas_mixed_dtypes",),
    "several results of one metric, in validation": ("metrics_of_all_kinds",),
    "class weights of a dataset": ("dataset_class_weight", "dataset_one_hot"),
    "a pass that fit begins after each epoch and never reads": ("dataset_reshuffled",),
    "several steps in a call": ("steps_per_execution", "single_samples_in_loops"),
    "a model's own `train_step`": ("own_train_step",),
    "`run_eagerly`": ("run_eagerly",),
}  # fmt: skip
"""The rules that `examples/base.py` leaves out, and the scenarios that need them."""


def is_identical(trainings, logs):
    """Return whether a candidate has the bits of fit.

    It is trained a second time, with hooks recorded, only if it has them the first time.

    Args:
        trainings: The scenario under the candidate.
        logs: A pattern for the names of all logs that the candidate can return.
    """
    try:
        expected = trainings.by_reference("nothing").trace
        if not all(re.fullmatch(logs, name) for name in expected.history):
            return False
        _, found = differences(*on_equal_terms(expected, trainings.by_candidate("nothing").trace))
        return not found and prove(trainings).identical
    except CannotCompareError:  # the candidate raised, or trained nothing
        return False


def logs_of(rung):
    """Return a pattern for the names of the logs that a rung can return."""
    if RUNGS.index(rung) < RUNGS.index("r09_metrics"):
        return "loss"
    return "(?!val_).*" if RUNGS.index(rung) < RUNGS.index("r10_validation") else ".*"


def count(rungs, scenarios=SCENARIOS):
    """Return for each rung the names of the scenarios on which it has the bits of fit."""
    identical = {rung: [] for rung in rungs}
    for scenario in track(scenarios, "training"):
        trainings = Trainings(scenario, keras.Model.fit)
        for rung in rungs:
            if is_identical(trainings.by_another(module_of(rung).fit), logs_of(rung)):
                identical[rung].append(scenario.name)
    return identical


def main():
    """Count for the rungs that were named, or for all, and write the file."""
    known = json.loads(FILE.read_text()) if FILE.exists() else {}
    rungs = sys.argv[1:] or RUNGS
    if "base" in rungs:
        known |= count(["base"])
    reached = find(known["base"])  # each rung leads to the last one: no other has more
    known |= count([rung for rung in rungs if rung != "base"], reached)
    FILE.write_text(
        json.dumps({rung: known[rung] for rung in RUNGS if rung in known}, indent=1) + "\n"
    )
    for rung in RUNGS:
        print(f"{rung:22}{len(known.get(rung, [])):>4} of {len(SCENARIOS)}")


if __name__ == "__main__":
    main()
