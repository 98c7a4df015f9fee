"""The reference of the API: every public name is on a page, with an example that runs."""

import contextlib
import doctest
import io
import os
import re
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from docstrings import documentation, examples

import compare
import loop
from compare.diagnosis.broken import fit_with
from compare.diagnosis.rules import RULES

ROOT = Path(__file__).parents[2]
PACKAGES = (loop, loop.callbacks, compare)
PUBLIC = [(package, name) for package in PACKAGES for name in package.__all__]
OF_LOOP = [(package, name) for package, name in PUBLIC if package is not compare]
OF_COMPARE = [(package, name) for package, name in PUBLIC if package is compare]


def titled(package_and_name):
    package, name = package_and_name
    return f"{package.__name__}.{name}"


def test_every_public_name_is_in_the_reference():
    pages = "".join(path.read_text() for path in (ROOT / "docs/api").glob("*.md"))
    documented = re.findall(r"^\.\. auto\w+:: (\S+)$", pages, re.M)
    assert len(documented) == len(set(documented))
    assert {titled(public) for public in PUBLIC} <= set(documented)


def test_every_public_name_has_an_example():
    without = [titled(public) for public in PUBLIC if not examples(documentation(*public))]
    assert without == []


def test_an_example_is_what_is_indented_below_a_line_that_is_not():
    assert examples("Do.\n\n    a = 1\n\n    b = 2\n\nMore.\n\n    c\n") == [
        "a = 1\n\nb = 2\n",
        "c\n",
    ]
    assert examples("Do.\n\nArgs:\n    x: Data.\n\n        More of it.\n") == []


class Loss(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        self.loss = logs["loss"]


class SaveEvery100(Loss):
    pass


class Dashboard(Loss):
    pass


def build():
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(1, kernel_regularizer="l2")])
    model.compile("sgd", "mse", metrics=["mae"])
    return model


def data():
    x = np.random.default_rng(0).normal(size=(70, 5)).astype("float32")
    return {"x": x, "y": x[:, :1]}


def my_fit(model, **arguments):
    """Train without the losses of regularizers."""
    (rule,) = (rule for rule in RULES if rule.rule == "regularization_losses")
    return fit_with((rule,), model, **arguments)


FIT = """
import keras, numpy as np
x = np.ones((8, 3), "float32")
model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
model.compile("sgd", "mse")
model.fit(x, x[:, :1], verbose=0)
"""
LOOP = FIT.replace("fit(x, x[:, :1], verbose=0)", "train_on_batch(x, x[:, :1])")
SCRIPTS = {
    "fails.py": "1 / 0",
    "with_fit.py": FIT,
    "with_loop.py": """
import keras, numpy as np, tensorflow as tf
x = np.ones((8, 3), "float32")
model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
optimizer = keras.optimizers.SGD()
for _ in range(2):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(x[:, :1] - model(x, training=True)))
    weights = model.trainable_variables
    optimizer.apply(tape.gradient(loss, weights), weights)
""",
    "wider_loop.py": LOOP.replace("Dense(1)", "Dense(2)"),
    "asks.py": "input('name? ')",
    "exits.py": "raise SystemExit('no data')",
    "fits_twice.py": FIT + "model.fit(x, x[:, :1], verbose=0)",
    "with_jax.py": "import os; os.environ['KERAS_BACKEND'] = 'jax'",
    "on_gpu.py": "raise RuntimeError('no GPU')",
    "waits.py": "import time; time.sleep(9)",
}
"""Scripts that examples name."""


@pytest.fixture
def names(tmp_path, monkeypatch):
    """What an example may use without making it."""
    monkeypatch.chdir(tmp_path)
    for name, text in SCRIPTS.items():
        Path(name).write_text(text)
    public = {name: getattr(package, name) for package, name in PUBLIC if package is not loop}
    scenario = compare.Scenario("mine", "a short last batch", build, data)
    yield {
        **public, **data(), "model": build(), "build": build, "data": data, "scenario": scenario,
        "my_fit": my_fit, "my_callback": Loss(), "SaveEvery100": SaveEvery100,
        "Dashboard": Dashboard, "keras": keras, "loop": loop, "np": np, "os": os, "tf": tf,
    }  # fmt: skip
    loop.uninstall()


def run(example, names):
    """Run an example; where it is a session of Python, compare what it prints."""
    if not example.startswith(">>>"):
        exec(compile(example, "example", "exec"), names)
        return
    test = doctest.DocTestParser().get_doctest(example, names, "example", None, 0)
    runner = doctest.DebugRunner(optionflags=doctest.ELLIPSIS)
    with contextlib.redirect_stdout(io.StringIO()):
        runner.run(test)


@pytest.mark.sampled
@pytest.mark.parametrize("public", OF_LOOP, ids=titled)
def test_the_examples_of_loop_run(public, names):
    for example in examples(documentation(*public)):
        run(example, names)


def test_the_code_of_the_home_page_runs(names):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/index.md").read_text(), re.S)
    run(code, names)


@pytest.mark.docs
@pytest.mark.parametrize("public", OF_COMPARE, ids=titled)
def test_the_examples_of_compare_run(public, names):
    for example in examples(documentation(*public)):
        run(example, names)
