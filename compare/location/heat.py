"""How far the weights of two trainings are apart before each step."""

from dataclasses import dataclass

import numpy as np

import loop
from compare.location.capture import CapturedSteps
from compare.location.tapped import TappedTrainings
from compare.recording.recorder import as_array
from compare.recording.trials import Trainings
from compare.recording.ulps import farthest
from compare.scenario import Fit, Scenario

ROWS = 64
"""The largest number of steps to capture."""

ELEMENTS = 2**24
"""The largest number of elements to capture of one training: 64 MiB of float32."""


@dataclass(frozen=True)
class Heat:
    """The largest distance between elements of each variable, before each captured step.

    Attributes:
        variables: The paths of the variables.
        steps: The numbers of the captured steps, from 0 over all epochs.
        ulps: Distances in ulps, `[variables, steps]`; infinite where floats are not finite.
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
            f"the weights differ before step {self.steps[first[1]]}, in {self.variables[first[0]]} "
            f"first; at most they are {self.ulps.max():,.0f} ulps apart"
        )


def heat_of(
    scenario: Scenario, candidate: Fit = loop.fit, reference: Fit | None = None
) -> Heat | None:
    """Train a scenario with both engines, tapped, and measure how far their weights are apart.

    Args:
        scenario: What to train.
        candidate: Called as `candidate(model, **fit_arguments)`.
        reference: The same; `keras.Model.fit` by default.

    Returns:
        The distances; None if the model has no weights or more than `ELEMENTS`, or if the taps see
        no step of one of the loops.
    """
    return heat_in(TappedTrainings(Trainings(scenario, candidate, reference)))


def heat_in(tapped: TappedTrainings) -> Heat | None:
    """Do what `heat_of` does, with recorded trainings."""
    theirs, ours = tapped.both()
    steps = theirs.taps.steps
    weights = {
        f"begun/{name}": value
        for name, value in theirs.trace.variables.items()
        if name.startswith("weights/") and f"begun/{name}" in theirs.taps.dtypes
    }
    size = sum(value.size for value in weights.values())
    if not size or size > ELEMENTS or not (steps and ours.taps.steps):
        return None
    rows = min(ROWS, steps, ELEMENTS // size)
    stride = -(-steps // rows)
    rows = -(-steps // stride)
    captured = CapturedSteps(weights, rows, stride), CapturedSteps(weights, rows, stride)
    runs = tapped.both_again(captured, theirs.taps.ends)
    return _distances(captured, min(run.taps.steps for run in runs))


def _distances(captured: tuple[CapturedSteps, CapturedSteps], steps: int) -> Heat:
    theirs, ours = (
        {name: as_array(value) for name, value in side.values.items()} for side in captured
    )
    shown = list(range(0, steps, captured[0].stride))
    ulps = [
        [farthest(theirs[name][row], ours[name][row]) for row in range(len(shown))]
        for name in theirs
    ]
    paths = [name.split("/", 3)[3] for name in theirs]
    return Heat(paths, shown, np.array(ulps).reshape(len(paths), len(shown)))
