"""model.fit and its friends on this engine: by a call, inside a block, and for a script."""

import ast
import os
import pkgutil
import runpy
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from children import quick_start

import glassfit
import loop

METHODS = ["fit", "evaluate", "predict", "train_on_batch", "test_on_batch", "predict_on_batch"]


def methods():
    return [getattr(keras.Model, name) for name in METHODS]


def test_methods_are_ours_while_installed_and_keras_s_own_afterwards():
    before = methods()
    with loop.installed():
        assert methods() == [getattr(loop, name) for name in METHODS]
        with loop.installed():  # within another, it changes nothing
            pass
        assert keras.Model.fit is loop.fit
    assert methods() == before
    loop.install()
    loop.install()
    loop.uninstall()
    loop.uninstall()
    assert methods() == before


def test_a_failing_block_leaves_keras_as_it_was():
    before = methods()
    with pytest.raises(ZeroDivisionError), loop.installed():
        1 / 0  # noqa: B018
    assert methods() == before


def test_a_subclass_that_calls_super_reaches_us():
    class Speaking(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(1)
            self.said = []

        def call(self, x):
            return self.dense(x)

        def fit(self, *arguments, **options):
            self.said.append("fit")
            return super().fit(*arguments, **options)

    model = Speaking()
    model.compile("sgd", "mse")
    x = np.ones((8, 2))
    with loop.installed():
        history = model.fit(x, x[:, 0], epochs=2, verbose=0)
        assert model.evaluate(x, x[:, 0], verbose=0) == pytest.approx(history.history["loss"][1], 1)
    assert model.said == ["fit"]
    assert hasattr(model.train_function, "__dict__")
    assert "_glassfit_cache" in vars(model.train_function), "trained by our step"


ROOT = Path(glassfit.__file__).parent
PYTHON = [sys.executable]
GLASSFIT = [sys.executable, glassfit.__file__, "run"]
COMPARE = [sys.executable, "-m", "compare", "run"]

SCRIPT = """
import sys
import keras
import numpy as np
from neighbour import EPOCHS

keras.utils.set_random_seed(1)
x = np.random.default_rng(0).normal(size=(100, 4))
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "relu"), keras.layers.Dense(1)])
model.compile("adam", "mse", metrics=["mae"])
history = model.fit(x, x.sum(1), epochs=EPOCHS, validation_split=0.2, verbose=0)
print(sys.argv[1:], __name__, repr(history.history))
print(repr(model.evaluate(x, x.sum(1), verbose=0)), model.predict(x[:3], verbose=0).tolist())
print(keras.Model.fit.__module__, file=sys.stderr)
"""


def run(*command, folder, **environment):
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=folder, timeout=240,
        env={**quick_start(), **environment},
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def files(folder, **texts):
    for name, text in texts.items():
        (folder / f"{name}.py").parent.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.py").write_text(text)


@pytest.mark.long
def test_an_unmodified_script_prints_the_same_numbers(tmp_path):
    files(tmp_path, train=SCRIPT, neighbour="EPOCHS = 3")
    script = ["train.py", "an argument", "--epochs", "3"]
    status, theirs, errors = run(*PYTHON, *script, folder=tmp_path)
    assert status == 0, errors
    assert "loop.fit" not in errors
    assert theirs.startswith(f"{script[1:]} __main__ ")
    assert "val_mae" in theirs
    for command in ([sys.executable, "-m", "loop"], COMPARE):
        status, ours, errors = run(*command, *script, folder=tmp_path)
        assert status == 0, errors
        assert "loop.fit" in errors, "on our engine"
        assert ours == theirs, command


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [(["nothing.py"], "no file 'nothing.py'"), (["-"], "standard input"), ([], "usage")],
)
def test_a_script_that_is_not_there_and_none_at_all_say_so(monkeypatch, capsys, arguments, answer):
    monkeypatch.setattr(sys, "argv", ["loop", *arguments])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("loop", run_name="__main__")
    assert ended.value.code == 2
    told = capsys.readouterr()
    assert answer in told.out + told.err


OWN_MODULES = """
import dataclasses, multiprocessing, os, pickle, random, subprocess, sys
import compare, loop

@dataclasses.dataclass
class Point:
    x: int

def work(number):
    import compare, loop
    return number * loop.NUMBER, compare.WORD

if __name__ == "__main__":
    print(loop.NUMBER, compare.WORD, pickle.loads(pickle.dumps(Point(3))))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.map(work, [1, 2]))
    subprocess.run([sys.executable, "helper.py"], check=True)
    os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"  # counts where it is set before TensorFlow is there
    print([name for name in sys.modules if name in ("keras", "tensorflow", "tqdm")])
    import numpy as np
    random.seed(5)
    np.random.seed(5)
    import keras
    print(random.random(), np.random.normal(), "after seeds that were set before the import")
    print(loop.NUMBER, compare.WORD, "loop.fit" in sys.modules)
    keras.utils.set_random_seed(1)
    x = np.random.default_rng(0).normal(size=(100, 40))
    model = keras.Sequential([keras.Input((40,)), keras.layers.Dense(30, "relu")])
    model.compile("adam", "mse", metrics=["mae"])
    print(model.fit(x, x[:, :30], epochs=2, verbose=0, validation_split=0.2).history)
    print(model.evaluate(x, x[:, :30], verbose=0), model.predict(x[:2], verbose=0).tolist())
    print(keras.Model.fit.__module__, file=sys.stderr)
    import loop as again
    print(again is loop, again.__file__)
"""
HELPER = "import compare, loop; print('helper', loop.NUMBER, compare.WORD)"


@pytest.mark.long
def test_a_script_with_its_own_loop_and_compare_runs_as_under_python(tmp_path):
    files(tmp_path, train=OWN_MODULES, helper=HELPER, loop="NUMBER = 4", compare="WORD = 'own'")
    status, theirs, errors = run(*PYTHON, "train.py", folder=tmp_path)
    assert status == 0, errors
    status, ours, errors = run(*GLASSFIT, "train.py", folder=tmp_path)
    assert status == 0, errors
    assert "loop.fit" in errors, "on our engine"
    assert ours == theirs


def test_main_is_what_it_is_under_python(tmp_path):
    text = '''
"""Says what it is."""
from __future__ import annotations
import sys, threading, __main__
value: int = 1
print(sorted(vars(__main__)), __doc__, __file__, __name__, __package__, __spec__, __annotations__)
print(sys.argv, sys.path, type(__loader__).__name__, __main__ is sys.modules["__main__"])
print(__cached__, type(__builtins__), threading.current_thread().name, sys.flags)
'''
    files(tmp_path, **{"folder/show": text})
    for arguments in (["./folder/show.py", "--help", "-x", "a b"], ["folder/../folder/show.py"]):
        expected = run(*PYTHON, *arguments, folder=tmp_path)
        assert run(*GLASSFIT, *arguments, folder=tmp_path) == expected
    os.symlink(tmp_path / "folder/show.py", tmp_path / "link.py")
    assert run(*GLASSFIT, "link.py", folder=tmp_path) == run(*PYTHON, "link.py", folder=tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "import sys; sys.exit(7)",
        "raise SystemExit('a message')",
        "def f():\n    1 / 0\n\nf()",
        "x = (",
        "import os, signal; os.kill(os.getpid(), signal.SIGINT)",
        "import no_such_package",
        "import sys\nsys.excepthook = lambda kind, error, tb: print(kind, tb.tb_lineno)\n1 / 0",
        "import atexit; atexit.register(lambda: print('the end', __name__)); import loop.x",
    ],
)
def test_a_script_ends_as_under_python(tmp_path, text):
    files(tmp_path, train=text, loop="")
    expected = run(*PYTHON, "train.py", folder=tmp_path)
    assert run(*GLASSFIT, "train.py", folder=tmp_path) == expected


WHICH = "import loop; print(loop.__name__, getattr(loop, '__path__', 0), getattr(loop, 'X', 0))"
PLACES = {
    "a module beside it": ({"train": WHICH, "loop": "X = 1"}, ""),
    "a package beside it": ({"train": WHICH, "loop/__init__": "from loop.fit import X",
                             "loop/fit": "import loop.step; X = 2", "loop/step": ""}, ""),
    "on a path that it adds": ({"train": "import sys; sys.path.insert(0, 'src')\n" + WHICH,
                                "src/loop": "X = 3"}, ""),
    "on PYTHONPATH": ({"train": WHICH, "lib/loop": "X = 4", "lib/compare": ""}, "lib"),
}  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_the_loop_of_a_script_is_found_where_python_finds_it(tmp_path, place):
    texts, python_path = PLACES[place]
    files(tmp_path, **texts)
    expected = run(*PYTHON, "train.py", folder=tmp_path, PYTHONPATH=python_path)
    assert expected[0] == 0
    assert run(*GLASSFIT, "train.py", folder=tmp_path, PYTHONPATH=python_path) == expected


OURS = """
import pickle, sys
import loop, loop.step
import keras
from loop.objective import objective
assert keras.Model.fit is loop.fit
assert objective is sys.modules["loop.objective"].objective
fit = keras.Model.fit.__wrapped__  # without the advice below its errors
assert fit.__globals__ is vars(sys.modules["loop.fit"]), "the module is there once"
assert pickle.loads(pickle.dumps(loop.train_step)) is loop.train_step is loop.step.train_step
loop.uninstall()
assert keras.Model.fit is not loop.fit
import compare
assert compare.find
print(loop.__spec__.loader is loop.__loader__, loop.__file__)
"""


def test_a_script_without_a_loop_of_its_own_imports_the_one_that_it_runs_on(tmp_path):
    files(tmp_path, train=OURS)
    status, out, errors = run(*GLASSFIT, "train.py", folder=tmp_path)
    assert status == 0, errors
    assert out == f"True {loop.__file__}\n"


def test_no_function_of_loop_imports_later():
    """While a script runs that has its own `loop`, `import loop.x` would look there."""
    for path in (ROOT / "loop").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                inner = [n for n in ast.walk(node) if isinstance(n, ast.Import | ast.ImportFrom)]
                inner = [n for n in inner if getattr(n, "module", "loop") != "matplotlib.figure"]
                assert not inner, f"{path}:{node.lineno}"
    for module in pkgutil.walk_packages(loop.__path__, "loop."):
        if module.name != "loop.__main__":
            assert module.name in sys.modules, "imported with the package"
