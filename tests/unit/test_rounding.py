"""What counts as rounding is measured by a training that begins one ulp off."""

from types import SimpleNamespace

import numpy as np
import pytest

from compare.diagnosis.layers import ROUNDING, Floor, first_different_step
from compare.diagnosis.logs import unexplained

ONE_ULP = 1e-4
"""How far one ulp has taken a training, relative to how far it has come."""


def training(off=0.0, step_off=2):
    """A training of three steps whose gradients are `off` from step `step_off` on."""
    values = {step: np.array([1.0, 1.0 + (off if step >= step_off else 0.0)]) for step in range(3)}
    return SimpleNamespace(
        steps=3,
        captured=SimpleNamespace(steps=(0, 1, 2)),
        weights=lambda step: {"begun/weights/0": np.full(2, 1.0 + step)},
        gradients=lambda step: {"gradient_of/0": values[step]},
        trace=SimpleNamespace(history={"loss": [1.0 + off]}),
    )


def floor(nudged=ONE_ULP, measured=None):
    """What rounding does; `measured` lists how many steps or epochs it was measured in."""
    pair = training(), training(nudged)

    def steps(count):
        (measured if measured is not None else []).append(count)
        return pair

    return Floor(pair[0], 1e-6, steps, lambda epochs: tuple(run.trace for run in steps(epochs)))


@pytest.mark.parametrize(
    ("off", "place"), [(ONE_ULP * ROUNDING / 2, None), (ONE_ULP * ROUNDING * 2, ("gradients", 2))]
)
def test_a_step_differs_where_it_is_farther_off_than_ulps_take_it(off, place):
    assert first_different_step(floor(), training(off)) == place


def test_without_an_effect_of_ulps_the_dtype_decides():
    exact = floor(nudged=0.0)
    assert first_different_step(exact, training(1e-7)) is None
    assert first_different_step(exact, training(1e-4, step_off=1)) == ("gradients", 1)


def test_rounding_is_measured_only_where_a_dtype_does_not_decide():
    measured = []
    assert first_different_step(floor(measured=measured), training(1e-8)) is None
    assert unexplained({"loss": [1.0]}, {"loss": [1.0 + 1e-8]}, ["loss"], floor()) == 0
    assert not measured
    assert first_different_step(floor(measured=measured), training(0.1, 1)) == ("gradients", 1)
    assert measured == [2]


def test_a_tensor_that_is_not_finite_differs():
    assert first_different_step(floor(), training(np.nan, step_off=1)) == ("gradients", 1)


def test_a_log_is_that_of_fit_as_far_as_ulps_take_it():
    near, far = ({"loss": [1.0 + ONE_ULP * ROUNDING * by]} for by in (0.5, 2))
    theirs = {"loss": [1.0]}
    assert unexplained(theirs, near, ["loss"], floor()) == 0
    assert 0 < unexplained(theirs, far, ["loss"], floor()) < 0.1
    assert unexplained({}, near, ["loss"], floor()) == 1, "no rule wins by deleting a log"
