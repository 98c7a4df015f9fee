"""The recipes: each a small difference of fit's step, with the bits of the same in Keras."""

import inspect
import re
import string
from types import SimpleNamespace
from unittest import mock

import keras
import numpy as np
import pytest

import loop
from examples.recipes import frame
from examples.recipes.frame import HERE, NAMES

with_twin = [name for name in NAMES if frame.twin(name)]
of_each = pytest.mark.parametrize("name", NAMES)


@of_each
def test_a_recipe_is_short_and_says_in_a_line_what_one_changes(name):
    text = (HERE / f"{name}.py").read_text()
    assert len(text.splitlines()) <= 120
    assert re.fullmatch(r"[A-Z][a-z]+ .{8,90}\.", frame.changes(name)), frame.changes(name)
    _, nothing, *when = inspect.getdoc(frame.recipe(name)).splitlines()
    assert not nothing
    assert 2 <= len(when) <= 8, "says in a few lines when to use it"
    assert not re.search(r"^(import|from) (compare|bench|examples)", text, re.M)
    assert "print(CLAIM.format(**claim(*sys.argv[1:])))" in text


@of_each
def test_a_recipe_has_what_the_frame_needs(name):
    module = frame.recipe(name)
    assert hasattr(module, "step") != hasattr(module, "fit")
    assert list(inspect.signature(module.claim).parameters) == ["plot"]
    assert frame.twin(name) or module.WITHOUT_TWIN
    named = {field for _, field, _, _ in string.Formatter().parse(module.CLAIM) if field}
    assert named
    assert module.HOLDS
    assert all(low <= high for low, high in module.HOLDS.values())


@of_each
def test_few_lines_differ_from_the_step_of_fit(name):
    differing, lines = frame.lines_that_differ(name)
    assert 1 <= differing <= lines
    assert differing <= 25, f"{differing} of {lines}"


@pytest.mark.sampled
@pytest.mark.bits
@pytest.mark.parametrize("name", with_twin)
def test_a_recipe_has_the_bits_of_the_same_in_keras_and_shares_calls(name):
    ours, theirs = frame.train(name), frame.train_twin(name)
    compared, found = frame.compared(ours, theirs)
    assert compared > 3
    assert not found, found[:3]
    assert frame.runs_as_said(name, ours), ours.plan
    weights = [value for one, value in frame.variables_of(ours.model).items() if "seed" not in one]
    assert all(np.isfinite(value).all() for value in weights)


@pytest.mark.parametrize("name", sorted({*NAMES} - {*with_twin}))
def test_a_recipe_without_a_twin_trains_and_shares_calls(name):
    ours = frame.train(name)
    assert ours.trace.history
    assert frame.runs_as_said(name, ours), ours.plan


@pytest.mark.slow
@of_each
def test_the_claim_of_a_recipe_holds(name):
    module = frame.recipe(name)
    numbers = module.claim()
    assert module.CLAIM.format(**numbers)
    assert not frame.broken(name, numbers)


def test_a_number_out_of_its_bounds_is_told():
    module = SimpleNamespace(HOLDS={"gained": (0.1, 1.0), "sure": (0.5, 1.0)})
    with mock.patch.object(frame, "recipe", return_value=module):
        assert frame.broken("any", {"gained": 0.1, "sure": 0.5}) == []
        assert frame.broken("any", {"gained": 0.05, "sure": float("nan")}) == [
            "gained is 0.05, expected 0.1 to 1",
            "sure is nan, expected 0.5 to 1",
        ]


def test_lines_are_statements_and_those_of_called_functions_count():
    same = SimpleNamespace(step=loop.train_step)
    with mock.patch.object(frame, "recipe", return_value=same):
        assert frame.lines_that_differ("any")[0] == 0
    lines = frame.code_of(frame.recipe("mixup").step, frame.recipe("mixup"))
    assert "x, y = mixed(x, y, model.seeds)" in lines
    assert "def mixed(x, y, seeds):" in lines
    assert not [line for line in lines if "Mix each sample" in line]


@pytest.mark.long
def test_one_bit_of_one_variable_is_found():
    ours, theirs = frame.train("distillation"), frame.train_twin("distillation")
    weight = ours.model.trainable_variables[0]
    weight.assign_add(keras.ops.ones_like(weight) * 1e-7)
    found = frame.compared(ours, theirs)[1]
    assert found
    assert all(one.where.startswith("variables/") for one in found)


def test_every_recipe_stands_in_the_table_of_the_page():
    page = (HERE.parents[1] / "docs/research.md").read_text()
    table = re.search(r"<!-- table -->\n(.*?)<!-- end of table -->", page, re.S)[1]
    linked = re.findall(r"^\| \[`(\w+)`\]", table, re.M)
    assert linked == NAMES
