"""Random trainings under both engines; `make fuzz` draws many more than `make test`.

What fails shrinks to a small training, prints its choices, and becomes a scenario.
"""

from functools import partial

import keras
import pytest
from hypothesis import given, note
from hypothesis import strategies as st

import loop
from compare import differences, record
from compare.drawn import trainings


@pytest.mark.timeout(0)
@pytest.mark.parametrize("plan", ["step", "auto"])
@given(scenario=trainings(), watched=st.sampled_from(["batches", "epochs", "nothing"]))
def test_a_random_training_is_the_same(plan, scenario, watched):
    note(scenario.shows)
    candidate = partial(loop.fit, plan=plan)
    reference, refused = attempt(scenario, keras.Model.fit, watched)
    ours, also_refused = attempt(scenario, candidate, watched)
    assert refused == also_refused
    if refused is None:
        _, found = differences(reference, ours)
        assert not found or differs_from_itself(scenario, watched, reference), found[:5]


def attempt(scenario, fit, watched):
    """The trace, or the class of what was raised."""
    try:
        return record(scenario, fit, watched)[0], None
    except Exception as error:  # whatever Keras raises, we raise too
        return None, type(error).__name__


def differs_from_itself(scenario, watched, reference):
    """Whether Keras does. With several outputs it does now and then, by an ulp in the loss."""
    runs = (record(scenario, keras.Model.fit, watched)[0] for _ in range(12))
    return any(differences(reference, again)[1] for again in runs)
