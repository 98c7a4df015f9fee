"""The rules of the house, asserted: who may import whom, what is private, what is documented."""

import ast
import inspect
import re
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import compare
import loop
from compare.release.mirrors import resolve

ROOT = Path(__file__).parents[2]
LOOP = sorted((ROOT / "loop").rglob("*.py"))
COMPARE = sorted((ROOT / "compare").rglob("*.py"))


def tree(path):
    return ast.parse(path.read_text())


def name(path):
    return str(path.relative_to(ROOT))


def imports(path):
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name(path)} has a relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def functions(path):
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef):
            yield node


def lines_without_docstring(node):
    docstring = ast.get_docstring(node, clean=False)
    return node.end_lineno - node.lineno + 1 - (len(docstring.splitlines()) if docstring else 0)


@pytest.mark.parametrize("path", COMPARE, ids=name)
def test_compare_uses_public_names_of_loop(path):
    inner = [one for one in imports(path) if one.startswith("loop.") and "._" in one]
    assert not inner
    assert not [one for one in imports(path) if one.split(".")[0] in ("bench", "tests")]


@pytest.mark.parametrize("path", [*LOOP, *COMPARE], ids=name)
def test_only_the_seam_touches_what_is_private(path):
    if path.name == "_keras.py":
        return
    assert not [one for one in imports(path) if one.startswith(("keras.src", "tensorflow.python"))]
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Attribute) and re.match(r"_(?!_|replace$|fields$)", node.attr):
            owner = ast.unparse(node.value)
            assert owner in ("self", "cls"), f"{name(path)}:{node.lineno} uses {owner}.{node.attr}"


def test_every_private_name_in_the_seam_exists_in_this_keras():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", metrics=["mae"])
    model.fit(np.ones((2, 2)), np.ones((2, 1)), verbose=0)
    objects = {
        "model": model,
        "variable": model.weights[0],
        "optimizer": model.optimizer,
        "compile_loss": model._compile_loss,
        "model._compile_metrics": model._compile_metrics,
        "compile_metrics": model._compile_metrics,
        "checkpoint": keras.callbacks.ModelCheckpoint("never.keras", save_freq=2),
        "board": keras.callbacks.TensorBoard("never"),
    }
    backup = keras.callbacks.BackupAndRestore("never", save_freq=2)
    assert hasattr(backup, "_batches_seen_since_last_saving")
    used = [
        (ast.unparse(node.value), node.attr)
        for node in ast.walk(tree(ROOT / "loop/_keras.py"))
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and node.attr[1] != "_"
    ]
    assert len(used) > 8
    for owner, attribute in used:
        assert hasattr(objects[owner], attribute), f"{owner}.{attribute} is gone"
    for imported in imports(ROOT / "loop/_keras.py"):
        if imported.startswith("keras.src."):
            resolve(imported)


@pytest.mark.parametrize("package", [loop, compare], ids=lambda package: package.__name__)
def test_every_public_name_is_exported_and_documented(package):
    for exported in package.__all__:
        value = getattr(package, exported)
        if callable(value):
            assert inspect.getdoc(value), f"{exported} has no docstring"


WITHOUT_DATA = {"for_optimizer", "install", "installed", "strict", "uninstall"}
WITHOUT_COUNTERPART = {"per_example_gradients"}


@pytest.mark.parametrize("exported", sorted(set(loop.__all__) - WITHOUT_DATA))
def test_public_functions_give_shapes_and_what_they_mirror(exported):
    documented = inspect.getdoc(getattr(loop, exported))
    assert re.search(r"`?\[(samples|batch)[\],]|scalar", documented), "no shapes"
    assert "Mirrors: " in documented or exported in WITHOUT_COUNTERPART
    signature = inspect.signature(getattr(loop, exported))
    if "Args:" in documented:
        for argument in signature.parameters:
            assert re.search(rf"^ +{argument}: ", documented, re.M) or argument == "model", argument


def test_every_mirrors_line_resolves_in_the_installed_keras():
    mirrored = [
        (name(path), dotted)
        for path in LOOP
        for dotted in re.findall(r"Mirrors: (\S+)", path.read_text())
    ]
    assert len(mirrored) > 20
    for _, dotted in mirrored:
        assert callable(resolve(dotted)), dotted


@pytest.mark.parametrize("path", [*LOOP, *COMPARE], ids=name)
def test_functions_fit_on_a_screen(path):
    for node in functions(path):
        assert lines_without_docstring(node) <= 40, f"{node.name} at {node.lineno}"


def test_fit_fits_on_a_page():
    assert len((ROOT / "loop/fit.py").read_text().splitlines()) <= 150


def test_what_tensorflow_keeps_private_is_reached_in_one_module_and_exists():
    private = {"inference_fn", "call_flat", "call_preflattened"}
    for path in LOOP:
        used = {node.attr for node in ast.walk(tree(path)) if isinstance(node, ast.Attribute)}
        assert used.isdisjoint(private) or name(path) == "loop/engine/graphs.py", name(path)
    function = tf.function(lambda x: x + 1).get_concrete_function(tf.TensorSpec([]))
    assert float(function.inference_fn.call_flat(tf.constant(1.0))[0]) == 2.0
    assert float(function.inference_fn.call_preflattened([tf.constant(1.0)])) == 2.0


def test_fit_evaluate_and_predict_have_keras_arguments_in_keras_order():
    for ours, theirs in (
        (loop.fit, keras.Model.fit),
        (loop.evaluate, keras.Model.evaluate),
        (loop.predict, keras.Model.predict),
    ):
        mine = inspect.signature(ours).parameters
        expected = inspect.signature(theirs).parameters
        positional = [one for one in mine.values() if one.kind is not one.KEYWORD_ONLY][1:]
        wanted = [
            one
            for one in expected.values()
            if one.name != "self" and one.kind is not one.VAR_KEYWORD
        ]
        assert [(p.name, p.default) for p in positional] == [(p.name, p.default) for p in wanted]
    own = [
        p.name for p in inspect.signature(loop.fit).parameters.values() if p.kind is p.KEYWORD_ONLY
    ]
    assert own == [
        *["plan", "train_step", "test_step", "strict"],
        *["drop_remainder", "eval_every"],
    ]


def test_the_core_depends_on_four_packages_and_imports_no_other():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = [re.match(r"[a-z-]+", one)[0] for one in project["dependencies"]]
    assert sorted(names) == ["keras", "numpy", "tensorflow", "tqdm"]
    import sys

    outside = {
        imported.split(".")[0]
        for path in LOOP
        for imported in imports(path)
        if imported.split(".")[0] not in sys.stdlib_module_names
    }
    from importlib.metadata import requires

    assert "rich" in requires("keras"), "so it comes with Keras"
    with_a_message = {"matplotlib"}  # imported by `LearningRateFinder.plot` alone
    core = {"keras", "numpy", "rich", "tensorflow", "tqdm", "loop", "glassfit"}
    assert outside <= core | with_a_message
