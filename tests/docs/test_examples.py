"""The steps that people copy: they hold in half precision, with frozen and with unused weights."""

import linecache
import re
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import loop

ROOT = Path(__file__).parents[2]
X = np.random.default_rng(0).normal(size=(70, 5)).astype("float32")
Y = (X[:, :1] > 0).astype("float32")
ARGUMENTS = {"x": X, "y": Y, "batch_size": 32, "epochs": 2, "shuffle": False}
KINDS = [
    ("float32", "frozen and spare"),
    ("mixed_float16", "frozen and spare"),
    ("mixed_float16", "plain"),
    ("mixed_float16", "all frozen"),
]
EAGERLY = ["frozen and spare", "all frozen"]
"""Kinds that are trained eagerly in half precision; the other two are traced."""

of_all_kinds = pytest.mark.parametrize(("policy", "kind"), KINDS, indirect=["policy"])

pytestmark = pytest.mark.filterwarnings(
    "ignore:Gradients do not exist",
    "ignore:The model does not have any trainable weights",
    "ignore:Even though the `tf.config",
)


def example(name, **replaced):
    """The names of an example, after parts of its text are replaced."""
    file, text = f"{name}, {[*replaced]}.py", (ROOT / f"examples/{name}.py").read_text()
    for before, after in replaced.values():
        assert text.count(before) == 1, before
        text = text.replace(before, after)
    linecache.cache[file] = len(text), None, text.splitlines(keepends=True), file  # for autograph
    names = {"__name__": name}
    exec(compile(text, file, "exec"), names)
    return names


@pytest.fixture(params=["float32", "mixed_float16"])
def policy(request):
    keras.config.set_dtype_policy(request.param)
    kind = request.node.callspec.params.get("kind")
    tf.config.run_functions_eagerly(request.param == "mixed_float16" and kind in EAGERLY)
    yield request.param
    tf.config.run_functions_eagerly(False)
    keras.config.set_dtype_policy("float32")


def network(kind, base=keras.Model, optimizer="adam", loss="binary_crossentropy", **compiled):
    class Network(base):
        def __init__(self):
            super().__init__()
            self.hidden = keras.layers.Dense(8, "relu", kernel_regularizer="l2")
            self.hidden.trainable = kind == "plain"
            self.outputs = keras.layers.Dense(1, "sigmoid", dtype="float32")
            self.outputs.trainable = kind != "all frozen"
            self.spare = keras.layers.Dense(3) if kind == "frozen and spare" else None

        def call(self, x):
            if self.spare:
                self.spare(x)
            return self.outputs(self.hidden(x))

    keras.utils.set_random_seed(3)
    model = Network()
    model(X[:1])
    model.compile(optimizer, loss, **compiled)
    return model


def left_behind(fit, model, **arguments):
    before = [weight.tobytes() for weight in model.get_weights()]
    returned = fit(model, **{**ARGUMENTS, **arguments})
    history = getattr(returned, "history", returned)
    after = [weight.tobytes() for weight in model.get_weights()]
    assert all(np.all(np.isfinite(weight)) for weight in model.get_weights())
    assert (after != before) == bool(model.trainable_weights)
    counted = model.optimizer.variables if model.trainable_weights else []
    return history, after, [variable.numpy().tobytes() for variable in counted]


@pytest.mark.sampled
@of_all_kinds
def test_signed_step_without_its_line_is_the_step_of_fit(policy, kind):
    signed = example("signed_step")["signed_step"]
    left_behind(loop.fit, network(kind), train_step=signed, verbose=0)
    line = "    gradients = [g if g is None else scale(sign(g)) for g in gradients]"
    plain = example("signed_step", line=(line, "    #"))["signed_step"]
    weights = {"sample_weight": np.arange(70.0), "verbose": 0}
    ours = left_behind(loop.fit, network(kind), train_step=plain, **weights)
    assert ours == left_behind(loop.fit, network(kind), **weights)


@pytest.mark.sampled
def test_signed_step_moves_each_weight_by_the_learning_rate(policy):
    signed = example("signed_step")["signed_step"]
    model = network("frozen and spare", optimizer=keras.optimizers.SGD(0.125))
    before = model.get_weights()
    loop.fit(model, X, Y, batch_size=70, train_step=signed, verbose=0)
    moved = [np.abs(b - a) for a, b in zip(before, model.get_weights(), strict=True)]
    assert all(np.all(np.isclose(m, 0.125) | (m == 0)) for m in moved)
    assert [bool(np.any(m)) for m in moved] == [False, False, True, True, False, False]


@pytest.mark.long
def test_signed_step_leaves_out_steps_whose_gradients_overflow():
    keras.config.set_dtype_policy("mixed_float16")
    signed = example("signed_step")["signed_step"]
    try:
        model = network("plain")
        before = model.get_weights()
        loop.fit(model, X * 6e4, Y, batch_size=70, train_step=signed, verbose=0)
        assert all(map(np.array_equal, before, model.get_weights()))
        assert model.optimizer.dynamic_scale.numpy() == model.optimizer.initial_scale / 2
    finally:
        keras.config.set_dtype_policy("float32")


@pytest.mark.long
@of_all_kinds
def test_the_custom_train_step_without_its_noise_is_the_one_of_keras(policy, kind):
    base = example("custom_train_step")["CustomModel"]
    metrics = {"metrics": ["accuracy"], "weighted_metrics": ["mae"]}
    weights = {"class_weight": {0: 1.0, 1: 3.0}, "verbose": 0, "y": Y[:, 0]}
    left_behind(loop.fit, network(kind, base, **metrics), **weights)
    noise = " + 0.05 * tf.random.normal(tf.shape(x), dtype=x.dtype)"
    base = example("custom_train_step", noise=(noise, ""))["CustomModel"]
    expected = left_behind(keras.Model.fit, network(kind, **metrics), **weights)
    for fit in (loop.fit, keras.Model.fit):
        assert left_behind(fit, network(kind, base, **metrics), **weights) == expected


@pytest.mark.long
@of_all_kinds
def test_the_loop_that_is_tested_is_fit(policy, kind):
    my_fit = example("test_my_loop")["my_fit"]
    own = left_behind(my_fit, network(kind, loss="mse"))
    assert own == left_behind(keras.Model.fit, network(kind, loss="mse"), verbose=0)


@pytest.mark.long
@of_all_kinds
def test_the_two_mistakes_are_two(policy, kind):
    left_behind(example("two_mistakes")["fit"], network(kind))
    loss = "loss_of(y, model(x, training=True))\n"
    mended = example(
        "two_mistakes",
        regularizers=(loss, "keras.ops.sum([" + loss.strip() + ", *model.losses])\n"),
        sizes=("np.mean(losses)", "keras_mean(losses)"),
    )
    mended["keras_mean"] = mean_by_size
    own = left_behind(mended["fit"], network(kind))
    assert own == left_behind(keras.Model.fit, network(kind), verbose=0)


@pytest.mark.long
@of_all_kinds
def test_the_whole_of_fit_in_one_file_is_fit(policy, kind):
    base, arguments = example("base")["fit"], {"metrics": ["accuracy"]}
    own = left_behind(base, network(kind, **arguments), verbose=0)
    assert own == left_behind(keras.Model.fit, network(kind, **arguments), verbose=0)


def mean_by_size(losses):
    mean = keras.metrics.Mean()
    for loss, size in zip(losses, [32, 32, 6], strict=True):
        mean.update_state(loss, sample_weight=size)
    return mean.result()


def test_every_example_with_a_step_is_tested_here():
    here = Path(__file__).read_text()
    for path in (ROOT / "examples").glob("*.py"):
        if "GradientTape" in path.read_text():
            assert re.search(rf'example\(\s*"{path.stem}"', here), path.name
