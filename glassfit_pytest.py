"""A fixture for the tests of a training loop; pytest finds it where glassfit is installed.

It stands outside of the packages: pytest imports it always, and they import TensorFlow.
"""

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture
def same_as_fit() -> Callable[..., None]:
    """`same_as_fit(scenario, my_fit)` fails unless the two train to the same bits, and says where.

    It is `compare.assert_same`; TensorFlow is imported when a test asks for it, and not before.
    """

    def check(scenario: Any, candidate: Any, reference: Any = None) -> None:
        from compare import assert_same

        assert_same(scenario, candidate, reference)

    return check
