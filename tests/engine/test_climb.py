"""Plan "auto" begins with a step per call and climbs to larger programs, with the same bits."""

import keras
import numpy as np
import pytest
from references import differences_from_keras

import loop
from compare import SCENARIOS, record
from compare.scenarios.first import perceptron, uniform
from loop.engine import reuse
from loop.engine.climb import EPOCHS, STEP, STEPS, SingleSteps
from loop.engine.model_step import cache_on

X, Y = uniform(320)

MOMENTS = {"early": 1, "in mid-epoch": 3, "late": 12}
"""How many steps run alone before larger programs are built."""


@pytest.mark.slow
@pytest.mark.parametrize("watched", ["nothing", "epochs"])
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_every_bit_is_the_same_whenever_larger_programs_are_built(
    scenario, moment, watched, monkeypatch
):
    monkeypatch.setattr(SingleSteps, "pays", lambda self, *_: self.ran >= MOMENTS[moment])
    ours = record(scenario, loop.fit, watched)[0]
    compared, found = differences_from_keras(scenario, ours, watched)
    assert not found, found[0]
    assert compared > 10


@pytest.fixture(autouse=True)
def _no_earlier_model_has_run_the_same_steps():
    reuse.forget()


def measured(ran=0, first=0.1, around=200e-6):
    steps = SingleSteps()
    steps.ran, steps.first, steps.around = ran, first, around
    return steps


def test_a_larger_program_pays_if_the_steps_left_save_more_time_than_it_takes_to_build():
    seconds_to_build, saved = 2.0 * 0.1, 450e-6
    enough = int(seconds_to_build / saved)
    assert measured().pays(STEPS, enough + 1)
    assert not measured().pays(STEPS, enough - 1)
    assert measured(ran=enough).pays(STEPS, 1), "many short fits deserve it, too"


def test_nothing_pays_before_two_steps_were_measured():
    assert not SingleSteps().pays(STEP, 10**9)
    assert not measured(around=None).pays(EPOCHS, 10**9)


@pytest.fixture
def model():
    keras.utils.set_random_seed(3)
    return perceptron()


def programs(model):
    """The names of the programs that were built beside the step itself, of training and testing."""
    return tuple(
        sorted(
            key.runs
            for function in (model.train_function, model.test_function)
            if function is not None
            for compiled in cache_on(function).compiled.values()
            for key in compiled.programs
        )
    )


class Watching(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        pass


FEW, MANY = 1, 10**6
"""Epochs of fits that are stopped after a few: what pays depends on the epochs that are asked."""

CASES = {
    "a short fit": ({"epochs": FEW}, ()),
    "a short fit with validation": ({"epochs": FEW, "validation_data": (X, Y)}, ()),
    "a short fit whose batches are looked at": ({"epochs": FEW, "callbacks": [Watching()]}, ()),
    "a long fit": ({"epochs": MANY}, ("epochs",)),
    "a long fit with validation": (
        {"epochs": MANY, "validation_data": (X, Y)},
        ("epochs with validation",),
    ),
    "a long fit whose batches are looked at": (
        {"epochs": MANY, "callbacks": [Watching()]},
        ("step",),
    ),
}


@pytest.mark.sampled
@pytest.mark.parametrize("case", CASES)
def test_a_fit_builds_one_graph_for_a_step_and_one_larger_program_if_it_is_long(model, case):
    arguments, expected = CASES[case]
    arguments = dict(arguments)

    class Stopping(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 3

    arguments["callbacks"] = [*arguments.get("callbacks", []), Stopping()]
    loop.fit(model, X, Y, verbose=0, **arguments)
    assert len(cache_on(model.train_function).compiled) == 1
    assert programs(model) == expected


def test_one_long_epoch_climbs_within_it(model):
    steps = 4_000
    x, y = np.tile(X[:32], (steps, 1)), np.tile(Y[:32], steps)
    loop.fit(model, x, y, verbose=0)
    assert programs(model) == ("steps",)
    alone = next(iter(cache_on(model.train_function).compiled.values())).single_steps.ran
    assert 2 <= alone < steps / 10


def test_fits_of_a_few_steps_climb_once_there_were_many_of_them(model):
    loop.fit(model, X, Y, verbose=0)
    assert programs(model) == ()
    (compiled,) = cache_on(model.train_function).compiled.values()
    compiled.single_steps.ran = 10**6  # as after many fits
    loop.fit(model, X, Y, verbose=0)
    assert programs(model) == ("steps",)
