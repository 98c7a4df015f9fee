"""The fit of one script against the loop of another, both run in this process, neither changed."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from compare import diagnose, locate, parity, two_scripts
from compare.cli import commands
from compare.diagnosis.rules import RULES
from compare.errors import (
    ExitedError,
    NeedsInputError,
    NeverTrainedError,
    NoGpuError,
    OtherBackendError,
    OtherWeightsError,
    Outcome,
    ScriptError,
    SeveralTrainingsError,
    TimeLimitError,
    UnreadableScriptError,
)
from compare.execution.loop_training import steps_of_epoch
from compare.execution.two_scripts import file_and_line

BEGIN = """
import keras, numpy as np, os, sys, tensorflow as tf
x = np.random.default_rng(5).uniform(-1, 1, (20, 2)).astype("float32")
y = x.sum(1, keepdims=True)
def make():
    return keras.Sequential([
        keras.Input((2,)), keras.layers.Dense(4, "relu"), keras.layers.Dropout(0.5),
        keras.layers.Dense(1),
    ])
"""
FIT = """
model = make()
model.compile("adam", "mse", metrics=["mae"])
model.fit(x, y, batch_size=8, epochs=2, shuffle=False, validation_split=0.1, verbose=2)
"""
LOOP = """
model = make()
optimizer = keras.optimizers.Adam()
@tf.function
def step(a, b):
    with tf.GradientTape() as tape:
        loss = keras.losses.MeanSquaredError()(b, model(a, training=True))
    gradients = tape.gradient(loss, model.trainable_variables)
    optimizer.apply_gradients(zip(gradients, model.trainable_variables))
    return loss
def train(data):
    for epoch in range(2):
        for a, b in data:
            loss = step(a, b)
        print(epoch, float(loss))
if __name__ == "__main__":
    train(tf.data.Dataset.from_tensor_slices((x[:18], y[:18])).batch(8))
"""
IN_BATCHES = """
class Net(keras.Model):
    def __init__(self):
        super().__init__()
        self.parts = make().layers
    def call(self, x, training=False):
        for part in self.parts:
            x = part(x, training=training) if isinstance(part, keras.layers.Dropout) else part(x)
        return x
model = Net()
model.compile("adam", "mse")
for _ in range(2):
    for at in range(0, 18, 8):
        model.train_on_batch(x[at : min(at + 8, 18)], y[at : min(at + 8, 18)])
sys.exit(0)
"""
WITHOUT_DROPOUT = BEGIN.replace("keras.layers.Dropout(0.5)", "keras.layers.Dropout(0.0)")
WRONG_RANK = """
model, optimizer = make(), keras.optimizers.Adam()
for epoch in range(2):
    for at in range(0, 16, 8):
        with tf.GradientTape() as tape:
            error = y[at : at + 8, 0] - model(x[at : at + 8], training=True)
            loss = tf.reduce_mean(tf.square(error))
        weights = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights))
"""


def line_of(words, text):
    return next(at for at, line in enumerate((BEGIN + text).splitlines(), 1) if words in line)


AT_FIT = f"train.py:{line_of('model.fit', FIT)}"


@pytest.fixture
def script(tmp_path, monkeypatch):
    """Writes a script into an empty current folder."""
    monkeypatch.chdir(tmp_path)

    def write(text, begin=BEGIN, name="train.py"):
        (tmp_path / name).write_text(begin + text)
        return name

    return write


@pytest.mark.long
@pytest.mark.parametrize("loop", [LOOP, IN_BATCHES], ids=["function", "train_on_batch"])
def test_a_loop_that_is_fit_has_its_bits_from_other_weights_and_seeds_of_its_own(script, loop):
    other_seed = "import keras; keras.utils.set_random_seed(9)" + BEGIN
    found = parity(*two_scripts(script(FIT), script(loop, other_seed, "loop.py")))
    assert found.identical, str(found)
    assert list(found.histories[1]) == ["loss"]
    assert found.compared > 20


OWN_STEP = """
class Own(keras.Sequential):
    def train_step(self, batch):
        a, b = batch
        with tf.GradientTape() as tape:
            loss = SCALE * self.compute_loss(a, b, self(a, training=True))
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables))
        return {"loss": loss}
own = Own(make().layers)
own.compile("sgd", "mse")
own.fit(x[:18], y[:18], batch_size=8, epochs=2, shuffle=False, verbose=0)
own.predict(x)
"""
BY_SGD = FIT.replace('"adam"', '"sgd"')


@pytest.mark.long
@pytest.mark.parametrize(("scale", "rules"), [(1, []), (3, ["loss_factor"])])
def test_the_fit_of_a_model_that_overrides_its_step_is_a_loop(script, scale, rules):
    file = script(BY_SGD + OWN_STEP.replace("SCALE", str(scale)))
    at = [line_of(words, BY_SGD + OWN_STEP) for words in ("model.fit", "own.fit")]
    found = diagnose(*two_scripts(f"{file}:{at[0]}", f"{file}:{at[1]}"))
    assert [verdict.rule for verdict in found] == rules, found
    assert found.rest in ("nothing", "rounding"), found


@pytest.mark.long
def test_a_loop_is_meant_where_a_model_that_overrides_its_step_is_fitted_beside_it(script):
    file = script(OWN_STEP.replace("SCALE", "1") + LOOP, name="loop.py")
    _, candidate = two_scripts(script(FIT), file)
    assert candidate.__self__.loop.place.line == line_of("for epoch", OWN_STEP + LOOP)


@pytest.mark.long
def test_samples_are_counted_where_a_functional_model_is_given_arrays(script):
    functional = (
        BEGIN
        + """
def make():
    inputs = keras.Input((2,))
    return keras.Model(inputs, keras.layers.Dense(1)(inputs))
"""
    )
    in_arrays = "x, y = x[:18], y[:18]" + WRONG_RANK.replace("8, 0]", "8]").replace("16", "18")
    found = parity(*two_scripts(script(FIT, functional), script(in_arrays, functional, "loop.py")))
    assert np.allclose(*(of["loss"] for of in found.histories), rtol=1e-5)


@pytest.mark.long
def test_a_model_without_an_input_is_built_before_its_loop_begins(script):
    begin = BEGIN.replace("keras.Input((2,)), ", "")
    found = parity(*two_scripts(script(FIT, begin), script(LOOP, begin, "loop.py")))
    assert found.identical, str(found)


@pytest.mark.long
def test_the_layers_of_the_loop_stay_its_own(script):
    found = locate(*two_scripts(script(FIT), script(LOOP, WITHOUT_DROPOUT, "loop.py")))
    assert (found.epoch, found.step, found.stage) == (0, 0, "prediction")


@pytest.mark.long
def test_one_file_has_both_and_its_own_fit_is_not_followed(script):
    text = (
        FIT.replace("validation_split=0.1, ", "").replace("x, y,", "x[:16], y[:16, 0],")
        + WRONG_RANK
    )
    name = script(text)
    loop = line_of("for epoch", text)
    scenario, candidate = two_scripts(AT_FIT, f"{name}:{loop - 1}")
    assert scenario.shows == f"the fit at {AT_FIT} against the loop at train.py:{loop}"
    found = locate(scenario, candidate)
    assert (found.epoch, found.step, found.stage) == (0, 0, "loss")
    rules = [rule for rule in RULES if rule.rule in ("same_rank", "training_flag", "shuffle")]
    assert "same_rank" in [verdict.rule for verdict in diagnose(scenario, candidate, rules=rules)]


@pytest.mark.long
def test_a_script_keeps_its_modules_and_leaves_the_process_as_it_was(script):
    ours = sys.modules["loop"], sys.modules["compare"]
    before = list(sys.argv), list(sys.path), Path.cwd(), sys.stdin, dict(os.environ)
    main, names = sys.modules["__main__"], set(sys.modules)
    script("", "EPOCHS = 2\n", "loop.py")
    script("", "COUNT = []\n", "compare.py")
    script("", "SEEN = []\n", "settings.py")
    own = (
        "import compare, loop, settings; settings.SEEN.append(1); assert len(settings.SEEN) == 1\n"
    )
    other = LOOP.replace("range(2)", "range(loop.EPOCHS)") + "\nos.environ['SEEN'] = '1'\n"
    scenario, candidate = two_scripts(script(own + FIT), script(own + other, name="with_loop.py"))
    assert candidate(scenario.build(), **{**scenario.data(), "verbose": 0})["loss"][1] > 0
    assert (sys.modules["loop"], sys.modules["compare"]) == ours
    assert before == (list(sys.argv), list(sys.path), Path.cwd(), sys.stdin, dict(os.environ))
    assert sys.modules["__main__"] is main
    assert "settings" not in set(sys.modules) - names


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("input('name? ')", NeedsInputError, "asks for input"),
        ("data = sys.argv[1]", NeedsInputError, "asks for argument 1"),
        (
            "import argparse as a; p = a.ArgumentParser(); p.add_argument('data'); p.parse_args()",
            NeedsInputError,
            "arguments are required: data",
        ),
        ("sys.exit('no data')", ExitedError, "sys.exit.'no data'. before it trains"),
        ("1 / 0", ScriptError, rf"train.py:{line_of('1 / 0', '1 / 0')}: ZeroDivisionError"),
        ("tf.config.list_physical_devices('GPU')[0]", NoGpuError, "no GPU here"),
        ("os.environ['KERAS_BACKEND'] = 'jax'", OtherBackendError, "KERAS_BACKEND=tensorflow"),
        ("while True: pass", TimeLimitError, "takes longer than 2 seconds"),
        ("print('done')", NeverTrainedError, "trains nothing: it never calls fit"),
        (FIT + "model.fit(x, y, verbose=0)", SeveralTrainingsError, f"--fit {AT_FIT}"),
        (FIT + "1 / 0", ScriptError, f"With --fit {AT_FIT} it runs up to that fit only"),
    ],
)
def test_a_script_whose_fit_cannot_be_taken_says_why(script, text, error, words):
    with pytest.raises(error, match=words):
        two_scripts(script(text), script(LOOP, name="loop.py"), limit=2 if "while" in text else 60)


@pytest.mark.long
@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        (FIT, NeverTrainedError, "in no loop of its own: its fit at line .. has Keras's own step"),
        ("model = make()", NeverTrainedError, "trains in no loop of its own"),
        ("sys.exit()", ExitedError, "before it trains"),
        (LOOP + WRONG_RANK, SeveralTrainingsError, "2 times, at line .., ..: .* --loop loop.py:.."),
        (
            WRONG_RANK.replace("model(x", "model.layers[2](model.layers[0](x").replace(
                ", training=True)", "))"
            ),
            SeveralTrainingsError,
            "not all of one model that it calls",
        ),
    ],
)
def test_a_script_without_one_loop_says_why(script, text, error, words):
    script(FIT)
    with pytest.raises(error, match=words):
        two_scripts(AT_FIT, script(text, name="loop.py"))


@pytest.mark.long
def test_weights_of_other_shapes_have_an_error_and_a_status(script, monkeypatch, capsys):
    begin = BEGIN.replace("Dense(4", "Dense(5")
    script(FIT)
    names = ["--fit", AT_FIT, "--loop", script(LOOP, begin, "loop.py")]
    with pytest.raises(OtherWeightsError, match=r"weight 0 is \(2, 5\) in the loop and \(2, 4\)"):
        parity(*two_scripts(names[1], names[3]))
    monkeypatch.setattr(sys, "argv", ["glassfit", "locate", *names])
    with pytest.raises(SystemExit) as ended:
        commands.main()
    assert ended.value.code == Outcome.OTHER_WEIGHTS
    assert "build the same layers in the same order" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["--fit", "train.py"],
        ["no_shuffle", "--fit", "train.py", "--loop", "train.py"],
        [],
    ],
)
def test_two_scripts_are_named_together_and_without_a_scenario(monkeypatch, capsys, words):
    monkeypatch.setattr(sys, "argv", ["glassfit", "diagnose", *words])
    with pytest.raises(SystemExit) as ended:
        commands.main()
    assert ended.value.code == Outcome.WRONG_USAGE
    assert "--loop FILE[:LINE]" in " ".join(capsys.readouterr().err.replace("│", "").split())


def test_a_line_may_follow_the_name_of_a_file(script):
    assert file_and_line("train.py:12") == (Path("train.py"), 12)
    assert file_and_line("of:old/train.py") == (Path("of:old/train.py"), None)
    with pytest.raises(UnreadableScriptError, match="No such file"):
        two_scripts("missing.py", "missing.py")


@pytest.mark.parametrize(
    ("count", "epochs", "steps", "size"),
    [(90, 3, 30, 30), (60, 3, 30, 30), (87, 3, 30, 29), (88, 3, 30, 30), (90, 3, None, 30)],
)
def test_the_steps_of_a_loop_are_divided_into_epochs_as_those_of_fit(count, epochs, steps, size):
    assert steps_of_epoch(count, epochs, steps) == size
