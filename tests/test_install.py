"""model.fit and its friends on this engine: by a call, for a while, and for a script."""

import runpy
import subprocess
import sys

import keras
import numpy as np
import pytest

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
    assert "_glassfit_compiled" in vars(model.train_function), "trained by our step"


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


def run(*command, folder):
    done = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, cwd=folder, timeout=240
    )
    return done.returncode, done.stdout, done.stderr


def test_an_unmodified_script_prints_the_same_numbers(tmp_path):
    (tmp_path / "train.py").write_text(SCRIPT)
    (tmp_path / "neighbour.py").write_text("EPOCHS = 3")
    status, theirs, errors = run("train.py", "an argument", folder=tmp_path)
    assert status == 0, errors
    assert "loop.fit" not in errors
    status, ours, errors = run("-m", "loop", "train.py", "an argument", folder=tmp_path)
    assert status == 0, errors
    assert "loop.fit" in errors, "on our engine"
    assert ours == theirs
    assert "val_mae" in ours


@pytest.mark.parametrize(
    ("arguments", "answer"), [(["nothing.py"], "no file 'nothing.py'"), ([], "usage")]
)
def test_a_script_that_is_not_there_and_none_at_all_say_so(monkeypatch, capsys, arguments, answer):
    monkeypatch.setattr(sys, "argv", ["loop", *arguments])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("loop", run_name="__main__")
    assert ended.value.code == 2
    told = capsys.readouterr()
    assert answer in told.out + told.err
