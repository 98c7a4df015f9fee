"""`fit_seeds`: each member has the bits of its own fit, or, all at once, numbers close to them."""

import itertools
import random as python_random

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, optimizers

import loop
from loop import seeds as seeds_module
from loop.engine import model_step, reuse
from loop.metrics import track_loss, update_metrics
from loop.objective import objective
from loop.seeds import Histories
from loop.vectorized import CLOSE_LOGS, CLOSE_WEIGHTS, Stack

X = np.random.default_rng(0).normal(size=(50, 6)).astype("float32")
Y = (X.sum(axis=1) > 0).astype("float32")
SEEDS = [3, 0, 11]
FIT = {"batch_size": 16, "epochs": 3, "validation_split": 0.2, "verbose": 0}
"""Of 40 samples, so the last batch is short."""


def build(between=lambda: layers.Dropout(0.3), optimizer=optimizers.Adam, **compiled):
    model = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(4, "relu", kernel_regularizer="l2"),
            between(),
            layers.Dense(1, "sigmoid"),
        ]
    )
    compiled = {"loss": "binary_crossentropy", "metrics": ["accuracy", "mse"], **compiled}
    model.compile(optimizer(0.01), **compiled)
    return model


def state(model):
    metrics = [variable for metric in model.metrics for variable in metric.variables]
    variables = [*model.variables, *model.optimizer.variables, *metrics]
    return [variable.numpy().tobytes() for variable in variables]


def random_states():
    name, keys, *rest = np.random.get_state()
    return python_random.getstate(), name, keys.tolist(), rest, tf.random.uniform([]).numpy()


def in_a_loop(build=build, fit=keras.Model.fit, **arguments):
    """Returns what the oracle leaves: set the seed, build, fit."""
    histories, states = [], []
    for seed in SEEDS:
        keras.utils.set_random_seed(seed)
        model = build()
        histories.append(fit(model, X, Y, **{**FIT, **arguments}).history)
        states.append(state(model))
    return histories, states, random_states()


def of_seeds(build=build, **arguments):
    histories = loop.fit_seeds(build, SEEDS, X, Y, **{**FIT, **arguments})
    left = random_states()
    return [h.history for h in histories], [state(h.model) for h in histories], left


def penalized(model, batch):
    """A step of the user's: the objective and a penalty on large predictions."""
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
    with tf.GradientTape() as tape:
        y_pred = model(x, training=True)
        loss = objective(model, x, y, y_pred, sample_weight)
        loss += 0.1 * tf.reduce_mean(y_pred**2)
        track_loss(model, loss, x)
    weights = model.trainable_weights
    model.optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
    return update_metrics(model, x, y, y_pred, sample_weight)


class Penalized(keras.Sequential):
    """The same step where Keras's users put it."""

    def train_step(self, batch):
        return penalized(self, batch)


def build_penalized():
    model = Penalized([keras.Input((6,)), *build().layers])
    model.compile(optimizers.Adam(0.01), "binary_crossentropy", metrics=["accuracy", "mse"])
    return model


@pytest.fixture
def traced(monkeypatch):
    """The steps that were traced since the test began, where no graph was kept."""
    seen, trace = [], model_step._traced
    monkeypatch.setattr(model_step, "_traced", lambda *a: seen.append(a[0]) or trace(*a))
    reuse.forget()
    yield seen
    reuse.forget()


@pytest.mark.long
@pytest.mark.parametrize("plan", ["step", "fused"])
@pytest.mark.parametrize("step", [None, penalized], ids=["own step", "given step"])
def test_each_member_has_the_bits_of_its_own_fit_and_only_the_first_is_traced(plan, step, traced):
    ours = of_seeds(plan=plan, train_step=step)
    assert len(traced) == 2, "a step of training and a step of validation"
    assert ours == in_a_loop(build if step is None else build_penalized)


@pytest.mark.long
def test_a_closure_that_changes_between_members_is_traced_for_each(traced):
    strength = 0.0

    def step(model, batch):
        x, y = batch
        with tf.GradientTape() as tape:
            y_pred = model(x, training=True)
            loss = (1 + strength) * objective(model, x, y, y_pred)
            track_loss(model, loss, x)
        weights = model.trainable_weights
        model.optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
        return update_metrics(model, x, y, y_pred)

    class Changing(keras.Sequential):
        def train_step(self, batch):
            return step(self, batch)

    def build_changing(kind=keras.Sequential):
        nonlocal strength
        strength = python_random.random()  # another one for each seed
        model = kind([keras.Input((6,)), *build().layers])
        model.compile("sgd", "mse")
        return model

    ours = of_seeds(build_changing, train_step=step, validation_split=0.0)
    assert ours == in_a_loop(lambda: build_changing(Changing), validation_split=0.0)
    assert len(traced) == len(SEEDS)


def drawing(draw):
    def step(model, batch):
        x, y = batch
        return loop.train_step(model, (x + draw(), y))

    return step


COUNT = keras.Variable(0.0)
SEEN = []


def counting(model, batch):
    COUNT.assign_add(1.0)
    return loop.train_step(model, batch)


def remembering(model, batch):
    SEEN.append(len(SEEN))
    return loop.train_step(model, batch)


def naming(model, batch):
    return loop.train_step(model, batch) | {model.layers[0].name: tf.zeros([])}


def without_metrics(model, batch):
    x, y = batch
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean((model(x, training=True) - y[:, None]) ** 2)
    weights = model.trainable_weights
    model.optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
    return {"loss": loss, "weights": tf.constant(len(weights))}


UNSHARED = {
    "draws a constant from NumPy": drawing(lambda: np.random.normal()),
    "draws a constant from Python": drawing(lambda: python_random.random()),
    "draws from a seed of the graph": drawing(lambda: tf.random.normal([])),
    "has a variable of its own": counting,
    "changes what it reads": remembering,
    "reads the name of a layer": naming,
    "leaves the model another than its own step does": without_metrics,
}


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:History and callbacks get the value")
@pytest.mark.parametrize("what", UNSHARED)
def test_every_member_is_traced_if_the_step(what, traced):
    def plain():
        return build(metrics=None)

    loop.fit_seeds(plain, [0, 1], X, Y, train_step=UNSHARED[what], verbose=0, plan="step")
    assert len(traced) == 2


@pytest.mark.long
def test_a_step_is_shared_within_fit_seeds_only(traced):
    for _ in range(2):
        loop.fit(build(), X, Y, train_step=penalized, verbose=0)
    assert len(traced) == 2


class StopAfter(keras.callbacks.Callback):
    def __init__(self, epochs):
        super().__init__()
        self.left = epochs

    def on_epoch_end(self, epoch, logs=None):
        self.left -= 1
        self.model.stop_training = self.left == 0


@pytest.mark.long
def test_callbacks_are_made_for_each_seed():
    histories = loop.fit_seeds(
        build, [1, 2], X, Y, epochs=5, callbacks=lambda seed: [StopAfter(seed)], verbose=0
    )
    assert histories.seeds == [1, 2]
    assert [len(history.epoch) for history in histories] == [1, 2]


def test_a_callback_that_another_seed_had_is_refused():
    mine = keras.callbacks.TerminateOnNaN()
    with pytest.raises(ValueError, match=r"another seed had.*lambda seed: \[EarlyStopping"):
        loop.fit_seeds(build, [0, 1], X, Y, callbacks=lambda seed: [mine], verbose=0)


@pytest.mark.long
def test_a_line_for_each_seed_is_printed_into_a_file_and_nothing_if_silent(capsys):
    loop.fit_seeds(build, [5, 7], X, Y)
    assert [line.split(" - ")[0] for line in capsys.readouterr().out.splitlines()] == [
        "seed 5",
        "seed 7",
    ]
    loop.fit_seeds(build, [5], X, Y, verbose=0)
    assert not capsys.readouterr().out


def histories_of(**logs):
    histories = Histories()
    for seed in range(len(next(iter(logs.values())))):
        histories.append(keras.callbacks.History())
        histories[-1].seed = seed
        histories[-1].history = {name: values[seed] for name, values in logs.items()}
    return histories


def test_mean_and_spread_are_those_of_numpy_and_shown_for_the_last_epoch():
    losses = np.array([[3.0, 1.0], [2.0, 0.5], [4.0, 0.0]])
    histories = histories_of(loss=losses.tolist())
    assert histories.mean("loss").tolist() == losses.mean(axis=0).tolist() == [3.0, 0.5]
    assert histories.spread("loss").tolist() == losses.std(axis=0, ddof=1).tolist() == [1.0, 0.5]
    assert str(histories).splitlines() == [
        "3 seeds, last epoch, mean ± sample standard deviation",
        "loss  0.5000 ± 0.5000",
    ]
    assert np.isnan(histories_of(loss=[[1.0]]).spread("loss")).all()
    assert "0.5000 ±" not in str(histories_of(loss=[[0.5]]))


def test_what_has_no_mean_is_an_error_that_says_what_to_do():
    with pytest.raises(ValueError, match=r"different numbers of epochs, 1 to 2.*min\(h.history"):
        histories_of(loss=[[1.0], [1.0, 2.0]]).mean("loss")
    with pytest.raises(KeyError, match=r"Seed 0 has no log 'los': expected one of .'loss'"):
        histories_of(loss=[[1.0], [2.0]]).spread("los")


MODEL, OPTIMIZER, BACKBONE = build(), optimizers.SGD(), layers.Dense(1)
BACKBONE.build((None, 6))


def with_optimizer():
    model = keras.Sequential([keras.Input((6,)), layers.Dense(1)])
    model.compile(OPTIMIZER, "mse")
    return model


def with_backbone():
    model = keras.Sequential([keras.Input((6,)), BACKBONE])
    model.compile("sgd", "mse")
    return model


def uncompiled():
    return keras.Sequential([keras.Input((6,)), layers.Dense(1)])


BAD = {
    "no seeds": ({"seeds": []}, ValueError, "Unusable seeds: expected different integers"),
    "one number": ({"seeds": 3}, TypeError, "Expected `seeds` to be a list"),
    "a bool": ({"seeds": [0, True]}, TypeError, "Seed True is no integer"),
    "a float": ({"seeds": [0, 1.0]}, TypeError, "Seed 1.0 is no integer"),
    "repeated": ({"seeds": [1, 2, np.int64(1)]}, ValueError, r"Seeds \[1\] are repeated"),
    "negative": ({"seeds": [-1]}, ValueError, "from 0 to 2"),
    "too large": ({"seeds": [2**32]}, ValueError, "from 0 to 2"),
    "a model": ({"build": MODEL}, TypeError, "`build` to be a function .*def build"),
    "same model": ({"build": lambda: MODEL}, ValueError, "the same model.*inside `build`"),
    "same optimizer": ({"build": with_optimizer}, ValueError, "optimizer.*inside `build`"),
    "same weights": ({"build": with_backbone}, ValueError, "weights twice.*inside `build`"),
    "no model": ({"build": lambda: None}, TypeError, "got None. End it with `return model`"),
    "uncompiled": ({"build": uncompiled}, ValueError, r"compile\(\)"),
    "callbacks": (
        {"callbacks": [keras.callbacks.TerminateOnNaN()]},
        TypeError,
        r"Change it to callbacks=lambda seed: \[...\]",
    ),
    "generator": ({"x": (X for _ in range(2)), "y": None}, ValueError, "ends with the first seed"),
}


@pytest.mark.parametrize("vectorized", [False, True])
@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_refused_before_anything_trains(what, vectorized, monkeypatch):
    monkeypatch.setattr(seeds_module, "fit", None)
    monkeypatch.setattr(seeds_module, "Stack", None)
    bad, error, text = BAD[what]
    arguments = {"build": build, "seeds": [0, 1], "x": X, "y": Y, "vectorized": vectorized, **bad}
    with pytest.raises(error, match=text):
        loop.fit_seeds(**arguments)


def normalized(**compiled):
    return build(layers.BatchNormalization, **compiled)


def noisy():
    return build(lambda: layers.GaussianNoise(0.1), lambda rate: optimizers.SGD(rate, 0.9))


def averaged():
    return build(optimizer=lambda rate: optimizers.AdamW(rate, weight_decay=0.1, use_ema=True))


def unbuilt():
    model = keras.Sequential([layers.Dense(3, "tanh"), layers.Dense(1)])
    model.compile("rmsprop", lambda y, y_pred: tf.abs(y - y_pred))
    return model


STACKED = {
    "dropout and regularization": (build, {}),
    "batch normalization and full batches": (normalized, {"batch_size": 8}),
    "noise and weights of classes": (noisy, {"class_weight": {0: 2.0}, "shuffle": "batch"}),
    "averages of weights, validated now and then": (averaged, {"validation_freq": 2}),
    "an unbuilt model and a loss of the user's": (
        unbuilt,
        {"validation_split": 0.0, "validation_data": (X[:9], Y[:9]), "shuffle": False},
    ),
}


@pytest.mark.long
@pytest.mark.parametrize("what", STACKED)
def test_members_trained_at_once_are_close_to_members_trained_alone(what):
    of, arguments = STACKED[what]
    stacked = loop.fit_seeds(of, SEEDS, X, Y, vectorized=True, **{**FIT, **arguments})
    alone = loop.fit_seeds(of, SEEDS, X, Y, **{**FIT, **arguments})
    assert stacked.seeds == SEEDS
    for ours, theirs in zip(stacked, alone, strict=True):
        assert list(ours.history) == list(theirs.history)
        assert (ours.params, ours.epoch) == (theirs.params, theirs.epoch)
        for name in theirs.history:
            np.testing.assert_allclose(ours.history[name], theirs.history[name], CLOSE_LOGS)
        pairs = zip(variables(ours.model), variables(theirs.model), strict=True)
        exact = [(a, b) for a, b in pairs if b.dtype.kind != "f"]
        assert all(a.tobytes() == b.tobytes() for a, b in exact), "steps and seeds"
        assert distance(variables(ours.model), variables(theirs.model)) <= CLOSE_WEIGHTS
    assert len({history.history["loss"][0] for history in stacked}) == len(SEEDS)


def variables(model):
    return [v.numpy() for v in [*model.variables, *model.optimizer.variables]]


def distance(ours, theirs):
    flat = [
        np.concatenate([v.ravel() for v in each if v.dtype.kind == "f"]) for each in (ours, theirs)
    ]
    return np.linalg.norm(flat[0] - flat[1]) / np.linalg.norm(flat[1])


class Own(keras.Sequential):
    def train_step(self, batch):
        return super().train_step(batch)


def own():
    model = Own([keras.Input((6,)), layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


def convolution():
    return keras.Sequential([layers.Reshape((4, 1)), layers.Conv1D(2, 2), layers.Flatten()])


def constrained():
    return layers.Dense(3, kernel_constraint="max_norm")


class Scaled(layers.Layer):
    def __init__(self, factor, **named):
        super().__init__(**named)
        self.factor = factor

    def call(self, x):
        return self.factor * x


class Squared(keras.losses.Loss):
    """A loss of a class of the user's: models with it cannot be compared whole."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def call(self, y, y_pred):
        return self.factor * tf.square(y - y_pred)

    def get_config(self):
        return {"factor": self.factor}


def powered(power):
    return lambda y, y_pred: tf.abs(y - y_pred) ** power


def members(make):
    """A `build` whose second member, after the spare and the first, is another one."""
    number = itertools.chain([1, 1], itertools.repeat(2))
    return lambda: make(next(number))


def of_loss(loss):
    def make(number):
        model = keras.Sequential([keras.Input((6,)), layers.Dense(1)])
        model.compile("sgd", loss(number), metrics=["mae"])
        return model

    return make


def own_optimizer(number):
    model = of_loss(lambda _: Squared(1))(number)
    model.compile(optimizers.SGD(0.1, momentum=number / 10), Squared(1))
    return model


DIFFERING = {
    "rate of the layer dropout": lambda number: build(lambda: layers.Dropout(number / 10)),
    "factor of the layer scaled": lambda number: build(lambda: Scaled(number)),
    "number of layers": lambda number: build(
        lambda: keras.Sequential([layers.ReLU() for _ in range(number)])
    ),
    "kind of the loss": of_loss(["", "mse", "mae"].__getitem__),
    "factor of the loss": of_loss(Squared),
    "values read by the loss": of_loss(powered),
    "momentum of the optimizer": own_optimizer,
    "learning_rate of the optimizer": lambda number: build(
        optimizer=lambda rate: optimizers.SGD(number / 10)
    ),
    "class of the metric mae": lambda number: build(metrics=[["", "mae", "mse"][number]]),
}


@pytest.mark.parametrize("what", DIFFERING)
def test_members_that_differ_are_refused_and_what_differs_is_named(what, monkeypatch):
    monkeypatch.setattr(Stack, "train", None)
    with pytest.raises(ValueError, match=rf"models that differ in the ({what}).*Leave out vector"):
        loop.fit_seeds(members(DIFFERING[what]), [0, 1], X, Y, vectorized=True)


@pytest.mark.sampled
@pytest.mark.parametrize("loss", [Squared, powered])
def test_members_may_differ_in_names_and_in_seeds_of_initializers(loss):
    def make(number):
        initial = keras.initializers.GlorotUniform(seed=number)
        between = layers.Dense(3, kernel_initializer=initial, name=f"layer_{number}")
        return build(lambda: between, loss=loss(2), metrics=[loss(1)])

    assert len(loop.fit_seeds(members(make), [0, 1], X, Y, vectorized=True, verbose=0)) == 2


UNSTACKABLE = {
    "convolutions": (
        {"build": lambda: build(convolution)},
        "of op 'Conv2D' expected to be loop inv",
    ),
    "Lamb": ({"build": lambda: build(optimizer=optimizers.Lamb)}, "a Lamb does not update each"),
    "clipnorm": (
        {"build": lambda: build(optimizer=lambda rate: optimizers.SGD(rate, clipnorm=1.0))},
        "norm of all members; use clipvalue=",
    ),
    "constraint": ({"build": lambda: build(constrained)}, "a weight has a constraint"),
    "own train_step": ({"build": own}, "overrides train_step"),
    "eager": ({"build": lambda: build(run_eagerly=True)}, "runs eagerly"),
    "train_step": ({"train_step": penalized}, "takes no train_step"),
    "callbacks": ({"callbacks": lambda seed: []}, "takes no callbacks"),
    "plan": ({"plan": "xla"}, "takes no plan"),
    "a dataset": (
        {"x": tf.data.Dataset.from_tensor_slices((X, Y)).batch(8), "y": None},
        "`x` must be dense arrays",
    ),
}


@pytest.mark.parametrize("what", UNSTACKABLE)
def test_what_cannot_be_stacked_is_refused_with_the_reason_before_anything_trains(
    what, monkeypatch
):
    monkeypatch.setattr(Stack, "train", None)
    bad, text = UNSTACKABLE[what]
    arguments = {"build": build, "seeds": [0, 1], "x": X, "y": Y, **bad}
    with pytest.raises(ValueError, match=text) as refused:
        loop.fit_seeds(**arguments, vectorized=True)
    assert str(refused.value).startswith("vectorized=True cannot train this: ")
    assert "Leave out vectorized=True" in str(refused.value)


def test_classes_are_counted_right_where_all_seeds_train_at_once():
    def classifier():
        model = keras.Sequential([keras.Input([8]), layers.Dense(4, "softmax")], name="classes")
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    numbers = np.random.default_rng(0)
    x, y = numbers.normal(size=(100, 8)).astype("float32"), numbers.integers(0, 4, 100)
    fit = {"epochs": 2, "verbose": 0}
    together = loop.fit_seeds(classifier, [1, 2], x, y, **fit, vectorized=True)
    in_turn = loop.fit_seeds(classifier, [1, 2], x, y, **fit)
    np.testing.assert_allclose(together.values("accuracy"), in_turn.values("accuracy"), atol=0.011)
