"""Whole scripts under Keras and under `loop.install()`, in processes of their own."""

import re
from pathlib import Path

import pytest
from children import quick_start

from compare.errors import (
    NeedsInputError,
    NeverTrainedError,
    NoGpuError,
    Outcome,
    TimeLimitError,
    TrainedOutsideError,
    UnreadableScriptError,
)
from compare.execution.script import OF_TENSORFLOW, compare_script

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(autouse=True)
def _scripts_start_quickly(monkeypatch, request):
    if not request.node.get_closest_marker("slow"):
        monkeypatch.setenv("PYTHONPATH", quick_start()["PYTHONPATH"])


BEGIN = """
import keras, numpy as np, sys
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
model.compile("sgd", "mse")
x = np.random.normal(size=(64, 4))
"""


LOGGED = """\
WARNING: All log messages before absl::InitializeLog() is called are written to STDERR
I0000 00:00:1795897365.398956    5482 cudart_stub.cc:31] Could not find cuda drivers here.
W0000 00:00:1795897366.122217    5482 gpu_device.cc:2342] Cannot dlopen some GPU libraries.
To enable the following instructions: AVX2 FMA, in other operations, rebuild TensorFlow
Traceback (most recent call last):
WARNING: All of it is wrong
Error0000 is no number of ours"""


def test_what_tensorflow_logs_is_told_from_what_a_script_says():
    kept = [line for line in LOGGED.split("\n") if not re.match(OF_TENSORFLOW, line)]
    assert kept == LOGGED.split("\n")[4:]


def script(tmp_path, text):
    path = tmp_path / "train.py"
    path.write_text(BEGIN + text)
    return path


@pytest.mark.slow
def test_every_call_of_a_script_is_compared_in_its_order():
    found = compare_script(EXAMPLES / "custom_train_step.py", ["--epochs", "1"])
    assert found.outcome is Outcome.IDENTICAL, str(found)
    methods = [one.reference.method for one in found.calls]
    assert methods == ["fit", "train_on_batch", "train_on_batch", "train_on_batch", "evaluate"]
    assert found.calls[0].reference.steps == 16
    assert found.compared > 1000
    assert all(one.reference.place.startswith("custom_train_step.py:") for one in found.calls)


@pytest.mark.long
def test_a_script_that_trains_otherwise_here_is_caught(tmp_path):
    text = """
ours = keras.Model.evaluate.__wrapped__.__module__.startswith("loop")
model.fit(x, x[:, :1], epochs=2, verbose=0)
model.evaluate(x, x[:, :1] + ours, verbose=0)
print(model.predict(x, verbose=0)[0])
model.layers[0].bias.assign([float(ours)])
model.predict(x, verbose=0)[:] = 0
"""
    found = compare_script(script(tmp_path, text))
    assert found.outcome is Outcome.PARTED
    methods = ["fit", "evaluate", "predict", "predict"]
    assert [one.reference.method for one in found.calls] == methods
    assert [len(one.differences) for one in found.calls[:3]] == [0, 1, 0]
    assert found.calls[3].differences, "what the script made of the array does not hide it"
    assert "values differ" in str(found)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "outcome", "words"),
    [
        (
            "model.fit(np.random.default_rng().normal(size=(64, 4)), x)",
            Outcome.UNREPEATABLE,
            "itself",
        ),
        (
            "model.fit(x, x)\nif 'loop' in keras.Model.fit.__wrapped__.__module__: sys.exit('no')",
            Outcome.CANDIDATE_FAILED,
            "not under glassfit: no",
        ),
        (
            "for _ in range(1 + ('loop' in keras.Model.fit.__wrapped__.__module__)):\n"
            "    model.fit(x, x)",
            Outcome.PARTED,
            "1 calls under Keras, 2 under glassfit",
        ),
    ],
)
def test_what_else_may_come_of_a_script(tmp_path, text, outcome, words):
    found = compare_script(script(tmp_path, text))
    assert found.outcome is outcome
    assert words in str(found)


LOOP = """
optimizer = keras.optimizers.SGD()
def step():
    weights = model.trainable_variables
    optimizer.apply([keras.ops.ones(weight.shape) for weight in weights], weights)
import tensorflow as tf
compiled = tf.function(step)
for _ in range(3):
    compiled()
step()
"""


def test_what_is_trained_outside_of_all_calls_is_named_and_never_called_identical(tmp_path):
    found = compare_script(script(tmp_path, f"model.fit(x, x[:, :1], verbose=0)\n{LOOP}"))
    assert found.outcome is Outcome.TRAINED_OUTSIDE
    assert list(found.outside.values()) == [3, 1], "in the graph as well, and none of those of fit"
    assert "NOT compared: 3 steps at train.py:" in str(found)
    assert "identical" not in str(found)


@pytest.mark.slow
def test_a_script_with_nothing_but_a_loop_has_nothing_to_compare(tmp_path):
    with pytest.raises(TrainedOutsideError, match=r"glassfit diagnose --fit FILE --loop train.py:"):
        compare_script(script(tmp_path, LOOP))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "error", "limit"),
    [
        ("input()", NeedsInputError, None),
        ("import argparse as a; a.ArgumentParser().parse_args(['x'])", NeedsInputError, None),
        ("sys.exit('no GPU')", NoGpuError, None),
        ("while True: pass", TimeLimitError, 15),
    ],
)
def test_a_script_that_cannot_run_here_has_an_error_of_its_own(tmp_path, text, error, limit):
    with pytest.raises(error, match=r"train\.py"):
        compare_script(script(tmp_path, text), limit=limit)


def test_what_is_no_script_is_refused(tmp_path):
    with pytest.raises(UnreadableScriptError, match="No such file"):
        compare_script(tmp_path / "train.py")
    (tmp_path / "train.py").write_text("model.fit(")
    with pytest.raises(UnreadableScriptError, match="never closed"):
        compare_script(tmp_path / "train.py")


@pytest.mark.slow
def test_a_script_that_trains_nothing_has_nothing_to_compare(tmp_path):
    with pytest.raises(NeverTrainedError, match="calls no fit, evaluate or predict"):
        compare_script(script(tmp_path, "print('done')"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["custom_train_step", "digits_convnet", "timeseries_lstm"])
def test_every_example_is_the_same(name):
    found = compare_script(EXAMPLES / f"{name}.py")
    assert found.outcome is Outcome.IDENTICAL, str(found)


@pytest.mark.long
def test_batches_may_be_made_by_processes_and_modules_may_have_our_names(tmp_path):
    (tmp_path / "loop.py").write_text("EPOCHS = 3")
    (tmp_path / "compare.py").write_text("SAMPLES = 40")
    path = tmp_path / "train.py"
    path.write_text("""
import compare, keras, loop, numpy as np

class Batches(keras.utils.PyDataset):
    x = np.random.default_rng(0).normal(size=(compare.SAMPLES, 4)).astype("float32")
    def __len__(self):
        return 5
    def __getitem__(self, index):
        rows = slice(8 * index, 8 * index + 8)
        return self.x[rows], self.x[rows, :1]
    def on_epoch_end(self):
        self.x = self.x[::-1]

if __name__ == "__main__":
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    by_two = {"workers": 2, "use_multiprocessing": True}
    data = {"x": Batches(**by_two), "validation_data": Batches(**by_two), "shuffle": False}
    model.fit(**data, epochs=loop.EPOCHS, verbose=0)
""")
    found = compare_script(path)
    assert found.outcome is Outcome.IDENTICAL, str(found)
    assert found.calls[0].reference.steps == 15
    assert found.calls[0].reference.place == "train.py:19"
