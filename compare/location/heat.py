"""How far the weights of two trainings are apart, step by step: how a difference spreads."""

from dataclasses import dataclass

import keras
import numpy as np

import loop
from compare.location.capture import Album
from compare.location.tapped import Tapped, both_tapped, run_tapped
from compare.recording.recorder import as_array
from compare.recording.ulps import farthest
from compare.scenario import Fit, Scenario

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
        takes no step that can be seen.
    """
    fits = reference or keras.Model.fit, candidate
    plain, other = both_tapped(scenario, fits)
    steps = plain.taps.steps
    weights = {
        f"begun/{name}": value
        for name, value in plain.trace.variables.items()
        if name.startswith("weights/") and f"begun/{name}" in plain.taps.dtypes
    }
    size = sum(value.size for value in weights.values())
    if not size or size > ELEMENTS or not (steps and other.taps.steps):
        return None
    rows = min(ROWS, steps, ELEMENTS // size)
    stride = -(-steps // rows)
    rows = -(-steps // stride)
    albums = [Album(weights, rows, stride) for _ in fits]
    runs = [
        run_tapped(scenario, fit, keep=album, ends=plain.taps.ends)
        for fit, album in zip(fits, albums, strict=True)
    ]
    return _heat(albums, runs)


def _heat(albums: list[Album], runs: list[Tapped]) -> Heat:
    stride, steps = albums[0].stride, min(run.taps.steps for run in runs)
    kept = [{name: as_array(value) for name, value in one.values.items()} for one in albums]
    shown = list(range(0, steps, stride))
    ulps = [
        [farthest(kept[0][name][row], kept[1][name][row]) for row in range(len(shown))]
        for name in kept[0]
    ]
    paths = [name.split("/", 3)[3] for name in kept[0]]
    return Heat(paths, shown, np.array(ulps).reshape(len(paths), len(shown)))
