"""Trains an example by `model.fit`, by a rung of the tour and by the one before; prints logs."""

import functools
import importlib

import keras
import numpy as np

from compare.errors import CandidateError
from compare.recording.trials import Trainings
from compare.scenarios import find
from examples.tour.example import scenario as example

RUNGS = (
    "r00_ten_lines", "r01_same_rank", "r02_training", "r03_mean_of_samples", "r04_added_losses",
    "r05_weights", "r06_order", "r07_graph", "r08_objective", "r09_metrics", "r10_validation",
    "r11_callbacks", "r12_held_out", "r13_scaled_loss", "r14_averages", "base",
)  # fmt: skip
"""The modules of the tour in their order. The last one is `examples.base`."""


def module_of(rung):
    """Return the module of a rung."""
    return importlib.import_module(f"examples.{'' if rung == 'base' else 'tour.'}{rung}")


def show(rung, name=None):
    """Print the logs of each epoch, and how far the weights are from those of `model.fit`.

    Args:
        rung: One of `RUNGS`.
        name: A scenario of `glassfit list`; by default the example of the tour.
    """
    place = RUNGS.index(rung)
    before = [trained(RUNGS[place - 1], name)] if place else []
    by_fit, now = trained("fit", name), trained(rung, name)
    print(f"{'':22}{'log':<14}epoch 1, 2, ...")
    print_logs("model.fit", by_fit, logs_of(now) or logs_of(by_fit))
    for label, training in zip([*RUNGS[place - 1 : place] * bool(place), rung], [*before, now]):
        print_logs(label, training, logs_of(training))
        print(f"{'':22}{distance(training, by_fit)}")


@functools.cache
def trained(rung, name):
    """Return the record of a training by a rung, or by "fit"; the error if it raised one."""
    [scenario] = find([name]) if name else [example]
    if rung == "fit":
        return Trainings(scenario, keras.Model.fit).by_reference("nothing").trace
    try:
        return Trainings(scenario, module_of(rung).fit).by_candidate("nothing").trace
    except CandidateError as error:
        return error


def logs_of(training):
    """Return the names of the logs of a training."""
    return [] if isinstance(training, Exception) else list(training.history)


def print_logs(label, training, names):
    """Print a line for each log, with its value in each epoch."""
    for name in names:
        values = "  ".join(f"{value:.4f}" for value in training.history[name])
        print(f"{label:<22}{name:<14}{values}")
        label = ""
    if isinstance(training, Exception):
        print(f"{label:<22}{str(training).partition(' raised ')[2].splitlines()[0][:70]}")


def distance(training, by_fit):
    """Return how far the trained weights are from those of fit, in words."""
    if isinstance(training, Exception):
        return "no weights"
    pairs = [
        (training.variables.get(name, np.nan), value)
        for name, value in by_fit.variables.items()
        if name.startswith("weights/") and value.dtype.kind == "f"  # not the states of seeds
    ]
    if all(np.array_equal(ours, theirs) for ours, theirs in pairs):
        return "the weights are those of model.fit, to the bit"
    far = max(np.max(np.abs(np.subtract(ours, theirs, dtype="float64"))) for ours, theirs in pairs)
    return f"a weight is {far:.1g} away from that of model.fit"
