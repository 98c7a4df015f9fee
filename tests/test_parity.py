"""Every scenario under every plan, against real `model.fit`, to the last bit."""

import inspect
from functools import partial

import keras
import pytest

import loop
from compare import SCENARIOS, differences, find, parity, record
from loop.types import PLANS

# "auto" must be the same as the plan it chooses; that is asserted once, not on every scenario.
CHOSEN_BY_AUTO = {"auto": "step"}
DISTINCT = [plan for plan in PLANS if plan not in CHOSEN_BY_AUTO]


@pytest.mark.parametrize("plan", DISTINCT)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_every_bit_is_the_same(scenario, plan):
    candidate = partial(loop.fit, plan=plan)
    reference, ours = record(scenario, keras.Model.fit)[0], record(scenario, candidate)[0]
    compared, found = differences(reference, ours)
    assert not found, parity(scenario, candidate)  # says whether Keras repeats itself
    assert compared > 90


def test_auto_is_the_same_too():
    (scenario,) = find(["last_partial_batch"])
    verdict = parity(scenario, candidate=partial(loop.fit, plan="auto"))
    assert verdict.identical, verdict


def test_a_scenario_compares_thousands_of_values_not_none():
    (scenario,) = find(["random_labels"])
    verdict = parity(scenario)
    epochs, batches, validation_batches, logs, variables = 10, 25, 7, 2, 10 * 16 + 16 + 16 + 1
    # Hooks: name and index of each, logs of the batch ends; then weights and two Adam moments.
    assert verdict.compared > epochs * (batches + validation_batches) * (2 + 2 + logs)
    assert verdict.compared > 3 * variables


def test_every_argument_of_fit_is_in_some_scenario():
    used = set()
    for scenario in SCENARIOS:
        used |= set(scenario.data())
    arguments = set(inspect.signature(keras.Model.fit).parameters) - {"self", "verbose"}
    assert arguments <= used, f"no scenario passes {arguments - used}"
