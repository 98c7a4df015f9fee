"""Every scenario under every plan, against real `model.fit`, to the last bit."""

import dataclasses
import inspect
from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf
from references import differences_from_keras

import loop
from compare import SCENARIOS, differences, find, parity, record
from loop.engine import reuse
from loop.engine.climb import SingleSteps

PLANS = [("step", "batches"), ("auto", "nothing")]
"""Plans, and which hooks are recorded meanwhile; `make compare` has "auto" with "batches", too."""

STEPS_ALONE = (1, 3, 12)
"""After how many steps "auto" builds larger programs; each scenario has one of these numbers here,
all of them in `test_climb.py`."""

ON_OTHER_PROCESSORS = {
    "random_labels", "digits_cnn", "breast_cancer", "diabetes", "wine", "last_partial_batch",
    "dict_losses", "dict_outputs", "dataset", "masked_sequences", "transformer", "busy_optimizer",
    "custom_functions", "added_losses", "reduction_by_weights", "own_train_step",
    "own_loss_and_metrics", "steps_per_execution", "single_samples", "jit_compile",
}  # fmt: skip
"""Twenty scenarios of other kernels each, for `make test-processors`."""


def parameter(scenario):
    marks = pytest.mark.bits if scenario.name in ON_OTHER_PROCESSORS else ()
    return pytest.param(scenario, id=scenario.name, marks=marks)


@pytest.mark.parametrize("scenario", [pytest.param(it, id=it.name) for it in SCENARIOS])
def test_every_bit_is_the_same_under_plan_auto(scenario, monkeypatch):
    check_that_every_bit_is_the_same(scenario, [("auto", "nothing")], monkeypatch)


@pytest.mark.long
@pytest.mark.parametrize("scenario", [parameter(scenario) for scenario in SCENARIOS])
def test_every_bit_is_the_same_under_every_exact_plan_whoever_watches(scenario, monkeypatch):
    check_that_every_bit_is_the_same(scenario, PLANS, monkeypatch)


def check_that_every_bit_is_the_same(scenario, plans, monkeypatch):
    alone = STEPS_ALONE[SCENARIOS.index(scenario) % len(STEPS_ALONE)]
    before = {}  # steps that ran under the first plan, whose graphs the second may share
    monkeypatch.setattr(
        SingleSteps, "pays", lambda self, *_: self.ran - before.setdefault(self, self.ran) >= alone
    )
    reuse.forget()
    for plan, watched in plans:
        candidate = partial(loop.fit, plan=plan)
        ours = record(scenario, candidate, watched)[0]
        compared, found = differences_from_keras(scenario, ours, watched)
        # parity says whether Keras repeats itself
        assert not found, f"{plan}, {watched} watched: {parity(scenario, candidate)}"
        assert compared > 20


def test_twenty_scenarios_are_trained_on_other_processors():
    assert len(ON_OTHER_PROCESSORS) == 20
    assert {scenario.name for scenario in SCENARIOS} >= ON_OTHER_PROCESSORS


def twice(fit):
    """Fits, and fits again on fewer rows: graphs, optimizer and random states go on."""

    def fit_twice(model, x, y=None, **arguments):
        fit(model, x, y, **arguments)
        if isinstance(x, np.ndarray):
            x, y = x[: len(x) // 2], y[: len(y) // 2]
        return fit(model, x, y, **{**arguments, "batch_size": 8})

    return fit_twice


@pytest.mark.long
@pytest.mark.parametrize("name", ["full_batches", "dataset_reshuffled", "added_losses"])
def test_a_second_fit_is_the_same_too(name):
    scenario = find([name])[0]
    if name != "dataset_reshuffled":
        scenario = dataclasses.replace(scenario, data=lambda: only(scenario, "x", "y", "epochs"))
    engines = keras.Model.fit, loop.fit
    theirs, ours = (record(scenario, twice(fit), "nothing")[0] for fit in engines)
    compared, found = differences(theirs, ours)
    assert not found, found[0]
    assert compared > 20


def only(scenario, *names):
    original = find([scenario.name])[0].data()
    return {name: original[name] for name in names}


@pytest.mark.long
def test_an_epoch_without_a_batch_is_the_same_too():
    def data():
        batches = iter([(np.ones((4, 10), "float32"), np.ones((4, 1), "float32"))] * 3)
        spec = (tf.TensorSpec((None, 10)), tf.TensorSpec((None, 1)))
        dry = tf.data.Dataset.from_generator(lambda: batches, output_signature=spec)
        return {"x": dry, "epochs": 3, "shuffle": False}  # the first pass leaves nothing

    scenario = dataclasses.replace(find(["dataset"])[0], data=data)
    verdict = parity(scenario)
    assert verdict.identical, verdict


@pytest.mark.sampled
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("floatx", ["bfloat16", "float16", "float64"])
def test_another_float_for_everything_is_the_same_too(floatx):
    (scenario,) = find(["last_partial_batch"])
    keras.config.set_floatx(floatx)
    try:
        theirs = record(scenario, keras.Model.fit)[0]
        found = [
            difference
            for watched in ("batches", "nothing")
            for difference in differences(
                theirs.as_watched(watched), record(scenario, loop.fit, watched)[0]
            )[1]
        ]
    finally:
        keras.config.set_floatx("float32")
    # NumPy warns once for each log of bfloat16 that is read; we do not read what nobody hears.
    assert [one for one in found if "warnings" not in one.where] == []


def test_a_scenario_compares_thousands_of_values_not_none():
    (scenario,) = find(["random_labels"])
    compared, found = differences_from_keras(scenario, record(scenario, loop.fit)[0])
    assert found == []
    epochs, batches, validation_batches, logs, variables = 10, 25, 7, 2, 10 * 16 + 16 + 16 + 1
    # Hooks: name and index of each, logs of the batch ends; then weights and two Adam moments.
    assert compared > epochs * (batches + validation_batches) * (2 + 2 + logs)
    assert compared > 3 * variables


@pytest.mark.long
def test_every_argument_of_fit_is_in_some_scenario():
    used = set()
    for scenario in SCENARIOS:
        used |= set(scenario.data())
    arguments = set(inspect.signature(keras.Model.fit).parameters) - {"self"}
    assert arguments <= used, f"no scenario passes {arguments - used}"
