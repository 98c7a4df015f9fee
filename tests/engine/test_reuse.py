"""The second of two equal models traces nothing and has Keras's bits; any other model is traced."""

import functools
import gc
import weakref
from importlib import import_module

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, losses, optimizers, regularizers

import loop
from loop.engine import reuse
from loop.engine.likeness import IncomparableError, Likeness

X = np.random.default_rng(0).normal(size=(48, 6)).astype("float32")
Y = X.sum(axis=1, keepdims=True)
FIT = {"x": X, "y": Y, "batch_size": 16, "epochs": 2, "validation_split": 1 / 3, "verbose": 0}
STEP = {**FIT, "plan": "step"}
"""Plan "auto" builds a larger program where the measured time says so: it has other graphs then."""


def build(
    rate=0.01,
    activation="relu",
    l2=0.01,
    between=lambda: layers.Dropout(0.3),
    loss="mse",
    optimizer=optimizers.Adam,
    metrics=("mae",),
    dtype=None,
    **compiled,
):
    model = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(4, activation, kernel_regularizer=regularizers.L2(l2), dtype=dtype),
            between(),
            layers.Dense(1),
        ]
    )
    model.compile(optimizer(rate), loss, metrics=[*metrics], **compiled)
    return model


def two_outputs():
    inputs = keras.Input((6,))
    model = keras.Model(inputs, [layers.Dense(1)(inputs), layers.Dense(1)(inputs)])
    model.compile("adam", ["mse", "mae"])
    return model


@pytest.fixture(autouse=True)
def traced(monkeypatch):
    """What was traced since the test began, where nothing was kept."""
    seen, trace = [], reuse._traced
    monkeypatch.setattr(reuse, "_traced", lambda build: seen.append(build) or trace(build))
    reuse._kept.clear()
    yield seen
    reuse._kept.clear()


def state(model):
    metrics = [variable for metric in model.metrics for variable in metric.variables]
    variables = [*model.variables, *model.optimizer.variables, *metrics]
    return [variable.numpy().tobytes() for variable in variables]


def trained(seed, fit, **arguments):
    """Returns what two fits, an evaluation and a fit of Keras's own leave behind."""
    keras.utils.set_random_seed(seed)
    model = build(**arguments)
    seen = [fit(model, **FIT).history, state(model), list(model.get_metrics_result())]
    seen += [fit(model, **{**FIT, "batch_size": 8}).history, model.evaluate(X, Y, verbose=0)]
    seen += [model.fit(X, Y, verbose=0).history, state(model), model.metrics_names]
    return seen


@pytest.mark.long
@pytest.mark.parametrize("plan", ["step", "fused"])
def test_a_second_model_of_other_weights_and_rate_traces_nothing_and_has_the_same_bits(
    plan, traced
):
    def fit(model, **arguments):
        return loop.fit(model, plan=plan, **arguments)

    trained(1, fit)
    traced.clear()
    ours = trained(2, fit, rate=0.05)
    assert not traced
    assert ours == trained(2, keras.Model.fit, rate=0.05)


@pytest.mark.long
def test_a_model_that_traced_nothing_shows_and_saves_what_a_trained_model_does(traced, tmp_path):
    loop.fit(build(), **STEP)
    traced.clear()
    model = build()
    loop.fit(model, **STEP)
    assert not traced
    assert model.optimizer.built
    assert [metric.name for metric in model.metrics] == ["loss", "compile_metrics"]
    model.save(tmp_path / "model.keras")
    restored = keras.models.load_model(tmp_path / "model.keras")
    assert [v.numpy().tobytes() for v in restored.optimizer.variables] == [
        v.numpy().tobytes() for v in model.optimizer.variables
    ]


def test_a_subclass_is_traced_even_in_a_module_of_keras(traced):
    class Doubled(keras.Sequential):
        def compute_loss(self, *args, **arguments):
            return 2 * super().compute_loss(*args, **arguments)

    Doubled.__module__ = "keras.src.models.model_test"  # as the classes in Keras's own tests
    for _ in range(2):
        model = Doubled([keras.Input((6,)), layers.Dense(1)])
        model.compile("sgd", "mse")
        loop.fit(model, **STEP)
    assert not traced, "what is not shared is not asked for"
    assert not reuse._kept


def with_attribute(layer, name, value):
    def change(model):
        setattr(model.layers[layer] if layer is not None else model.optimizer, name, value)

    return change


def with_constraint(model):
    model.layers[0].kernel.constraint = keras.constraints.MaxNorm(0.5)


def without_decay_of_biases(model):
    model.optimizer.exclude_from_weight_decay(var_names=["bias"])


def adam(**hyperparameters):
    return {"optimizer": lambda rate: optimizers.Adam(rate, **hyperparameters)}


def decaying(factor):
    return {"rate": optimizers.schedules.ExponentialDecay(0.1, 3, factor)}


UNLIKE = {
    "activation": {"activation": "tanh"},
    "own activation": {"activation": lambda x: 2 * x},
    "regularization": {"l2": 0.0100001},
    "dropout": {"between": lambda: layers.Dropout(0.31)},
    "layer": {"between": lambda: layers.GaussianNoise(0.3)},
    "own layer": {"between": lambda: type("Own", (layers.Dropout,), {})(0.3)},
    "loss": {"loss": "mae"},
    "own loss": {"loss": lambda y, y_pred: tf.abs(y - y_pred)},
    "reduction": {"loss": losses.MeanSquaredError(reduction="sum")},
    "loss weight": {"loss_weights": [0.5]},
    "optimizer": {"optimizer": optimizers.SGD},
    "clipping": adam(clipnorm=0.1),
    "momentum": adam(beta_1=0.8),
    "averages": adam(use_ema=True),
    "accumulation": adam(gradient_accumulation_steps=2),
    "schedule": decaying(0.5),
    "order of metrics": {"metrics": ("mse", "mae")},
    "name of a metric": {"metrics": (keras.metrics.MeanAbsoluteError(name="other"),)},
    "dtype": {"dtype": "mixed_bfloat16"},
    "steps per execution": {"steps_per_execution": 2},
    "XLA": {"jit_compile": True},
    "frozen": with_attribute(0, "trainable", False),
    "rate set later": with_attribute(1, "rate", 0.5),
    "activation set later": with_attribute(0, "activation", keras.activations.tanh),
    "method of an instance": with_attribute(0, "call", lambda x: x),
    "schedule set later": with_attribute(None, "learning_rate", decaying(0.5)["rate"]),
    "constraint": with_constraint,
    "what decays": without_decay_of_biases,
    "an optimizer that asks for paths": {"optimizer": optimizers.Muon},
    "an optimizer that assigns as it is built": {"optimizer": optimizers.ScheduleFreeAdamW},
}


def parts(model):
    try:
        return Likeness(model).parts
    except IncomparableError:
        return None


def test_models_that_are_built_alike_are_alike():
    assert parts(build()) == parts(build(rate=0.05)) is not None
    assert parts(build(**decaying(0.5))) == parts(build(**decaying(0.5)))


@pytest.mark.parametrize("what", UNLIKE)
def test_models_that_differ_in_one_thing_are_not(what):
    change = UNLIKE[what]
    model = build() if callable(change) else build(**change)
    if callable(change):
        change(model)
    assert parts(model) != parts(build())


def test_schedules_that_differ_make_models_that_differ():
    assert parts(build(**decaying(0.5))) != parts(build(**decaying(0.6)))


def test_layers_that_share_a_weight_are_told_from_layers_that_have_equal_ones():
    def stack(shared):
        inputs = keras.Input((6,))
        first, second = layers.Dense(6), layers.Dense(6)
        return keras.Model(inputs, (first if shared else second)(first(inputs)))

    assert parts(stack(shared=True)) == parts(stack(shared=True)) is not None
    assert parts(stack(shared=True)) != parts(stack(shared=False))


@pytest.mark.long
@pytest.mark.parametrize(
    ("owner", "name"),
    [(import_module("loop.objective"), "added_losses"), (layers.Dense, "call"), (tf, "stack")],
)
def test_a_model_is_traced_if_somebody_has_patched_code_that_tracing_runs(
    owner, name, traced, monkeypatch
):
    loop.fit(build(), **STEP)
    traced.clear()
    original = getattr(owner, name)
    patch = functools.wraps(original)(lambda *args, **more: original(*args, **more))
    monkeypatch.setattr(owner, name, patch)
    loop.fit(build(), **STEP)
    assert traced


def test_a_setting_of_keras_is_compared():
    before = reuse.settings()
    keras.config.set_epsilon(1e-6)
    try:
        assert reuse.settings() != before
    finally:
        keras.config.set_epsilon(1e-7)
    assert reuse.settings() == before


@pytest.mark.long
def test_a_model_is_traced_if_its_names_are_those_of_logs(traced):
    arguments = {"x": X, "y": [Y, Y], "verbose": 0, "plan": "step"}
    loop.fit(two_outputs(), **arguments)
    traced.clear()
    model = two_outputs()
    loop.fit(model, **arguments)
    assert traced
    assert {*model.history.history} == {"loss", *(f"{n}_loss" for n in model.output_names)}


@pytest.mark.long
def test_a_step_of_the_user_is_neither_shared_nor_kept():
    loop.fit(build(), X, Y, verbose=0, train_step=lambda *batch: loop.train_step(*batch))
    assert not reuse._kept


def test_a_warning_of_tracing_is_given_for_every_model():
    for _ in range(2):
        model = build()
        model.trainable = False
        with pytest.warns(UserWarning, match="does not have any trainable weights"):
            loop.fit(model, X, Y, verbose=0)


def test_graphs_that_are_kept_keep_no_model_and_none_of_its_variables(traced):
    model = build()
    loop.fit(model, **STEP)
    alive = [weakref.ref(model), *(weakref.ref(v.value) for v in model.variables)]
    del model
    traced.clear()
    gc.collect()
    assert reuse._kept
    assert not [reference for reference in alive if reference() is not None]


@pytest.mark.long
def test_few_graphs_are_kept(monkeypatch):
    monkeypatch.setattr(reuse, "MAX_KEPT", 3)
    for units in range(1, 4):
        loop.fit(build(between=lambda units=units: layers.Dense(units)), **STEP)
    assert len(reuse._kept) == 3
