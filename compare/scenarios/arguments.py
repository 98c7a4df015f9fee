"""Each argument of fit that decides which batches are seen, and when they are validated on."""

from functools import partial
from typing import Any

import numpy as np

from compare.scenario import FitArguments, Scenario
from compare.scenarios.first import logistic, perceptron, uniform


def _with(samples: int = 100, **arguments: Any) -> FitArguments:
    x, y = uniform(samples)
    return {"x": x, "y": y, "epochs": 3, **arguments}


def _held_out(samples: int = 100, held_out: int = 50, **arguments: Any) -> FitArguments:
    x, y = uniform(samples + held_out)
    validation = (x[samples:], y[samples:])
    return {"x": x[:samples], "y": y[:samples], "validation_data": validation, **arguments}


def _float_weights() -> FitArguments:
    weight = np.random.default_rng(11).uniform(0, 2, size=100)
    return _with(sample_weight=weight, validation_split=0.3)


ARGUMENTS = tuple(
    Scenario(name, shows, build, data)
    for name, shows, build, data in (
        ("full_batches", "n divides into batches: the graph knows the batch size", perceptron, partial(_with, 96)),
        ("last_partial_batch", "the short last batch is kept and counts by its size", perceptron, partial(_with, 100)),
        ("smaller_than_a_batch", "fewer samples than one batch has", logistic, partial(_with, 20)),
        ("no_shuffle", "shuffle=False", logistic, partial(_with, shuffle=False)),
        ("shuffle_within_batches", 'shuffle="batch"', logistic, partial(_with, shuffle="batch", batch_size=16)),
        ("batch_size_from_steps", "batch_size=None: steps_per_epoch decides it", logistic, partial(_with, steps_per_epoch=3)),
        ("steps_cut_the_pass", "3 steps an epoch of 5 batches: a pass runs on across epochs", logistic, partial(_with, batch_size=20, steps_per_epoch=3, epochs=5)),
        ("steps_beyond_the_pass", "9 steps asked of 5 batches: a warning, a short epoch", logistic, partial(_with, batch_size=20, steps_per_epoch=9)),
        ("initial_epoch", "epochs is a number to stop before, not a count", logistic, partial(_with, initial_epoch=2, epochs=5)),
        ("no_epochs_left", "initial_epoch beyond epochs: hooks, but no training", logistic, partial(_with, initial_epoch=3)),
        ("validation_split", "the last rows, before shuffling, weights split too", perceptron, _float_weights),
        ("validation_freq_int", "validated every second epoch: logs of two lengths", perceptron, partial(_held_out, epochs=5, validation_freq=2)),
        ("validation_freq_list", "validated after epochs 1 and 4", logistic, partial(_held_out, epochs=5, validation_freq=[1, 4])),
        ("validation_steps", "always the same first batches", logistic, partial(_held_out, epochs=3, validation_steps=2, validation_batch_size=10)),
        ("validation_batch_size", "another batch size, with a short last batch", logistic, partial(_held_out, epochs=3, batch_size=25, validation_batch_size=32)),
        ("verbose", "one line an epoch, in the params of every callback", logistic, partial(_with, verbose=2)),
        ("one_sample", "one sample, one batch", logistic, partial(_with, 1)),
    )
)  # fmt: skip
