"""One process for the suite: TensorFlow takes seconds to import, graphs are what tests wait for."""

from compare.execution.quiet import import_tensorflow_quietly

import_tensorflow_quietly()  # before anything else imports TensorFlow

# isort: split
import gc

import keras
import pytest
from hypothesis import HealthCheck, settings

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]

# The same few examples each time; `make fuzz` draws others: 250 under each of two plans.
settings.register_profile(
    "few", max_examples=3, deadline=None, derandomize=True, suppress_health_check=SLOW
)
settings.register_profile(
    "fuzz", max_examples=250, deadline=None, print_blob=True, suppress_health_check=SLOW
)
settings.load_profile("few")

# Tracing makes objects by the hundred thousand: fewer searches for garbage meanwhile. After each
# test `clear_session` collects all of it.
gc.set_threshold(50_000, 20, 50)


@pytest.fixture(autouse=True)
def _what_a_test_leaves_is_not_searched_again(request):
    """Each training collects garbage; without this it would walk all modules, too, every time."""
    yield
    keras.utils.clear_session()
    if request.node.get_closest_marker("slow"):
        gc.collect()  # it leaves gigabytes
    gc.freeze()
