"""Random trainings under both engines; `make fuzz` draws many more than `make test`.

What fails shrinks to a small training, prints its choices, and becomes a scenario.
"""

from functools import partial

import keras
import pytest
from hypothesis import given, note
from hypothesis import strategies as st
from support.drawn import trainings

import loop
from compare import WATCHED, differences, record
from compare.recording.bits import same


@pytest.mark.sampled
@pytest.mark.timeout(0)
# What Keras refuses in mid-training leaves the file of a CSVLogger open.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("plan", ["step", "auto"])
@given(scenario=trainings(), watched=st.sampled_from(WATCHED))
def test_a_random_training_is_the_same(plan, scenario, watched):
    note(scenario.shows)
    candidate = partial(loop.fit, plan=plan)
    reference, refused = attempt(scenario, keras.Model.fit, watched)
    ours, also_refused = attempt(scenario, candidate, watched)
    assert refused == also_refused
    if refused is None:
        _, found = differences(reference, ours)
        assert not found or differs_from_itself(scenario), found[:5]


def attempt(scenario, fit, watched):
    """The trace, or the class of what was raised."""
    try:
        return record(scenario, fit, watched)[0], None
    except Exception as error:  # whatever Keras raises, we raise too
        return None, type(error).__name__


def differs_from_itself(scenario):
    """Whether Keras does. With several outputs it does now and then, by an ulp in the loss.

    It depends on when threads are done; who watches changes that, and never the compiled step.
    """
    for watched in WATCHED:
        first, *others = (record(scenario, keras.Model.fit, watched)[0] for _ in range(8))
        if not all(same(first, other) for other in others):
            return True
    return False
