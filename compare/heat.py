"""How far the weights of two trainings are apart, step by step: how a difference spreads."""

from dataclasses import dataclass

import keras
import numpy as np

import loop
from compare.divergence import Tapped, run_tapped
from compare.kept import Album
from compare.recorder import as_array
from compare.scenario import Fit, Scenario
from compare.ulps import farthest

ROWS = 64
"""Steps that are kept, at most."""

ELEMENTS = 2**24
"""Numbers that are kept of one training, at most: 64 MiB of float32."""


@dataclass(frozen=True)
class Heat:
    """The largest distance in each variable before each of many steps.

    Attributes:
        variables: Their paths.
        steps: Numbers of steps, from 0, of all that were trained.
        ulps: `[variables, steps]`, infinite where floats are not finite.
    """

    variables: list[str]
    steps: list[int]
    ulps: np.ndarray

    def __str__(self) -> str:
        apart = np.argwhere(self.ulps > 0)
        if not len(apart):
            return f"the weights are the same before each of {len(self.steps)} steps"
        first = min(apart, key=lambda place: place[1])
        return (
            f"the weights part before step {self.steps[first[1]]}, in {self.variables[first[0]]} "
            f"first; at most they are {self.ulps.max():,.0f} ulps apart"
        )


def heat_of(
    scenario: Scenario, candidate: Fit = loop.fit, reference: Fit | None = None
) -> Heat | None:
    """Trains a scenario under both with taps, and measures how far the weights are apart.

    Args:
        scenario: What to train.
        candidate: Called as `candidate(model, **fit_arguments)`.
        reference: The same; `keras.Model.fit` by default.

    Returns:
        The distances; None where a model has no weights, or more than can be kept, or a loop
        takes no step with the model's optimizer.
    """
    reference = reference or keras.Model.fit
    plain = run_tapped(scenario, reference)
    weights = {
        name: value
        for name, value in plain.trace.variables.items()
        if name.startswith("weights/") and name in plain.taps.dtypes
    }
    size = sum(value.size for value in weights.values())
    if not size or size > ELEMENTS or not plain.taps.steps:
        return None
    rows = min(ROWS, plain.taps.steps, ELEMENTS // size)
    stride = -(-plain.taps.steps // rows)
    rows = -(-plain.taps.steps // stride)
    albums = [Album(weights, rows, stride) for _ in range(2)]
    runs = [
        run_tapped(scenario, fit, keep=album)
        for fit, album in zip((reference, candidate), albums, strict=True)
    ]
    return _heat(albums, runs) if all(run.taps.steps for run in runs) else None


def _heat(albums: list[Album], runs: list[Tapped]) -> Heat:
    stride, steps = albums[0].stride, min(run.taps.steps for run in runs)
    kept = [{name: as_array(value) for name, value in one.values.items()} for one in albums]
    shown = list(range(0, steps, stride))
    ulps = [
        [farthest(kept[0][name][row], kept[1][name][row]) for row in range(len(shown))]
        for name in kept[0]
    ]
    paths = [name.split("/", 2)[2] for name in kept[0]]
    return Heat(paths, shown, np.array(ulps).reshape(len(paths), len(shown)))
