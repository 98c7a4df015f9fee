"""A hundred fits in one process leave as many functions, models, iterators and threads as one."""

import pytest
from support.leaks import compiled_anew, grown, new_models, same_model

import loop

pytestmark = pytest.mark.filterwarnings("ignore:Your input ran out of data")


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("kind", "fits", "kilobytes"),
    [(same_model, 66, 100), (new_models, 9, 3000), (compiled_anew, 3, 3000)],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_hundred_fits_leave_nothing_that_grows(kind, fits, kilobytes):
    left = grown(kind, loop.fit, fits)
    assert (left.functions, left.models, left.iterators) == (0, 0, 0)
    assert left.threads <= 0
    assert left.native <= 2, "TensorFlow starts threads when it needs more of them"
    # Each graph leaves memory in TensorFlow, under Keras, too: `make leaks` compares the two.
    assert left.memory / fits < 1000 * kilobytes
