"""Importing `compare` changes nothing and is fast; its names are imported when they are used."""

import json
import subprocess
import sys

import pytest
from children import quick_start

import compare

HEAVY = ("tensorflow", "keras", "numpy", "pandas", "sklearn", "scipy", "matplotlib", "rich")

PROBE = f"""
import json, os, sys, time, warnings
before = dict(os.environ), os.fstat(1)[:3], os.fstat(2)[:3], list(sys.path), list(warnings.filters)
begun = time.perf_counter()
{{statement}}
seconds = time.perf_counter() - begun
after = dict(os.environ), os.fstat(1)[:3], os.fstat(2)[:3], list(sys.path), list(warnings.filters)
heavy = [name for name in {HEAVY} if name in sys.modules]
print(json.dumps({{{{"unchanged": before == after, "heavy": heavy, "seconds": seconds}}}}))
"""


def imported(statement):
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(statement=statement)],
        capture_output=True,
        check=True,
        text=True,
    )
    assert not done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    "statement",
    [
        "import compare",
        "from compare import Scenario, Outcome, CannotCompareError, CandidateError, ScenarioError",
        "import compare; dir(compare)",
    ],
)
def test_importing_compare_changes_nothing_and_imports_nothing_heavy(statement):
    found = imported(statement)
    assert found["unchanged"]
    assert found["heavy"] == []
    assert found["seconds"] < 1  # TensorFlow alone takes two seconds or more


WITHOUT_LIBRARIES = """
import os, sys
sys.modules.update(pandas=None, sklearn=None, scipy=None)
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import loop, keras
from compare import SCENARIOS
model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
print(len(SCENARIOS) > 100, model.name, model.layers[0].name)
"""


def test_importing_us_uses_up_no_names_and_needs_no_library_that_only_makes_data():
    command = [sys.executable, "-c", WITHOUT_LIBRARIES]
    done = subprocess.run(command, capture_output=True, check=True, text=True, env=quick_start())
    assert done.stdout.split() == ["True", "sequential", "dense"], "the first names of Keras"


@pytest.mark.parametrize("name", compare.__all__)
def test_every_public_name_is_listed_and_importable(name):
    assert name in dir(compare)
    assert getattr(compare, name) is not None


def test_the_names_for_type_checkers_are_the_names_that_are_imported():
    import ast
    from pathlib import Path

    tree = ast.parse(Path(compare.__file__).read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    declared = {alias.name: node.module for node in block.body for alias in node.names}
    assert declared == compare._MODULE_OF
    assert sorted(declared) == sorted(compare.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        compare.no_such_name  # noqa: B018


def test_the_former_module_of_errors_still_works():
    code = "from compare.outcome import CannotCompareError, Outcome; print(Outcome.PARTED.value)"
    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", code], capture_output=True, check=True, text=True
    )
    assert done.stdout.strip() == "1"
    assert "compare.errors" in done.stderr
