"""One process for the suite: TensorFlow takes seconds to import, graphs are what tests wait for."""

import gc
import os

import pytest
from hypothesis import HealthCheck, settings

from compare.execution.quiet import import_tensorflow_quietly

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]

# The same few examples each time; `make fuzz` draws others: 250 under each of two plans.
settings.register_profile(
    "few", max_examples=3, deadline=None, derandomize=True, suppress_health_check=SLOW
)
settings.register_profile(
    "fuzz", max_examples=250, deadline=None, print_blob=True, suppress_health_check=SLOW
)
settings.load_profile("few")

LONGEST = (
    "test_script.py", "test_distribute.py", "test_install.py", "test_processors.py",
    "test_command_line.py", "test_divergence.py", "test_docs.py", "test_engine.py",
)  # fmt: skip
"""Files with the longest tests, which run first: two processes then end at about the same time."""


def pytest_configure(config):
    """Import TensorFlow before anything else does, but not in the process that only distributes."""
    distributes = config.getoption("numprocesses", None) and "PYTEST_XDIST_WORKER" not in os.environ
    if not distributes:
        import_tensorflow_quietly()
        _collect_less_garbage()


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their markers
def pytest_collection_modifyitems(items):
    """Mark all cases of a `sampled` test but the first as `long`; put the longest tests first."""
    seen = set()
    for item in items:
        if item.get_closest_marker("sampled"):
            if (function := item.nodeid.partition("[")[0]) in seen:
                item.add_marker("long")
            seen.add(function)
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(LONGEST)))


def _collect_less_garbage():
    """Search for garbage less often: tracing makes objects by the hundred thousand.

    After each test `clear_session` collects all of it.
    """
    gc.set_threshold(50_000, 20, 50)


@pytest.fixture(autouse=True)
def _what_a_test_leaves_is_not_searched_again(request):
    """Each training collects garbage; without this it would walk all modules, too, every time."""
    yield
    import keras  # here: the process that only distributes does without

    keras.utils.clear_session()
    if request.node.get_closest_marker("slow"):
        gc.collect()  # it leaves gigabytes
    gc.freeze()
