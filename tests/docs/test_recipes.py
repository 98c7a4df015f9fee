"""Each recipe has the bits of its twin in Keras, shares calls and changes little."""

import re
from pathlib import Path

import pytest

from examples.recipes import frame

PAGE = (Path(__file__).parents[2] / "docs/research.md").read_text()
MOST_LINES = 25
"""The most lines of a step that are not those of `loop.train_step`."""


@pytest.mark.bits
@pytest.mark.parametrize("name", frame.NAMES)
def test_a_recipe_has_the_bits_of_its_twin_and_runs_by_the_plan_that_it_says(name):
    trained = frame.train(name)
    assert frame.runs_as_said(name, trained), trained.plan
    if frame.twin(name) is None:
        assert frame.recipe(name).WITHOUT_TWIN
        return
    compared, found = frame.compared(trained, frame.train_twin(name))
    assert compared > 100
    assert not found


@pytest.mark.parametrize("name", frame.NAMES)
def test_a_recipe_is_a_small_change_on_one_page(name):
    changed, lines = frame.lines_that_differ(name)
    assert 0 < changed <= min(MOST_LINES, lines)
    assert len(Path(frame.recipe(name).__file__).read_text().splitlines()) <= 120
    assert re.fullmatch(r"[A-Z].{10,70}", frame.changes(name))


@pytest.mark.parametrize("name", frame.NAMES)
def test_a_recipe_says_what_it_checks(name):
    module = frame.recipe(name)
    low_to_high = module.HOLDS.values()
    assert all(low < high for low, high in low_to_high)
    assert module.CLAIM.format(**{key: low for key, (low, _) in module.HOLDS.items()})
    assert f"(../examples/recipes/{name}.py)" in PAGE


@pytest.mark.slow
@pytest.mark.parametrize("name", frame.NAMES)
def test_the_claim_of_a_recipe_holds(name):
    numbers = frame.recipe(name).claim()
    assert frame.broken(name, numbers) == []


def test_the_page_has_a_row_of_the_table_for_each_recipe():
    table = PAGE.split("<!-- table -->")[1].split("<!-- end of table -->")[0]
    assert re.findall(r"^\| \[`(\w+)`\]", table, re.M) == frame.NAMES
