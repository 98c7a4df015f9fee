"""`loop.explain` describes the call of fit that it is given, and leaves everything as it was."""

import random

import keras
import numpy as np
import pytest
import tensorflow as tf

import loop
from compare import differences, find, record
from compare.scenarios.first import perceptron, uniform
from loop.engine.reuse import forget

X, Y = uniform(100)


@pytest.fixture
def model():
    forget()  # no graph, and none of its times, of an equal model in another test
    keras.utils.set_random_seed(3)
    return perceptron()


class Recorded(keras.callbacks.Callback):
    """Notes every call of a method that fit calls on it."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def set_model(self, model):
        self.calls.append("set_model")

    def set_params(self, params):
        self.calls.append("set_params")

    def on_train_begin(self, logs=None):
        self.calls.append("on_train_begin")

    def on_train_batch_end(self, batch, logs=None):
        self.calls.append("on_train_batch_end")


class Batches(keras.utils.PyDataset):
    def __init__(self):
        super().__init__()
        self.epochs = 0

    def __len__(self):
        return 4

    def __getitem__(self, place):
        return X[place * 25 : place * 25 + 25], Y[place * 25 : place * 25 + 25]

    def on_epoch_begin(self):
        self.epochs += 1

    def on_epoch_end(self):
        self.epochs += 1


def test_the_bar_that_fit_shows_by_default_is_part_of_the_explanation(model):
    shown = loop.explain(model, X, Y, epochs=3)
    assert shown.watchers == ("ProgressBar looks every 0.1 seconds",)
    assert not shown.epochs_share_calls
    assert "a callback looks at batches" in shown.reason
    silent = loop.explain(model, X, Y, epochs=3, verbose=0)
    assert silent.watchers == ()
    assert silent.epochs_share_calls
    assert silent.reason is None


def test_auto_says_that_it_begins_with_single_steps_and_when_it_builds_more(model):
    before = loop.explain(model, X, Y, epochs=3, verbose=0)
    assert before.begins.startswith("begins with one step a call")
    assert "pay for it" in str(before)
    loop.fit(model, X, Y, verbose=0)
    after = loop.explain(model, X, Y, epochs=3, verbose=0)
    assert "steps on: 4 ran so far" in after.begins
    assert loop.explain(model, X, Y, plan="fused", verbose=0).begins is None


def test_every_reason_is_given(model):
    model.compile("adam", "binary_crossentropy", metrics=["AUC"])
    batches = tf.data.Dataset.from_tensor_slices((X, Y)).batch(32)
    cut = {"batch_size": 32, "steps_per_epoch": 2}
    found = loop.explain(model, X, Y, **cut, validation_data=batches, verbose=0)
    for reason in ("not one pass", "'AUC' is not a mean", "in validation, the data are not arrays"):
        assert reason in found.reason


def test_no_callback_is_called(model):
    callback = Recorded()
    found = loop.explain(model, X, Y, callbacks=[callback])
    assert "Recorded looks at every batch" in found.watchers
    assert callback.calls == []
    assert "history" not in vars(model) or model.history is None


@pytest.mark.long
def test_a_pydataset_is_told_of_no_epoch(model):
    batches = Batches()
    found = loop.explain(model, batches, verbose=0)
    assert (found.plan, found.steps) == ("fused", 4)
    assert batches.epochs == 0


@pytest.mark.sampled
@pytest.mark.parametrize("role", ["x", "validation_data"])
def test_a_generator_keeps_all_of_its_batches(model, role):
    drawn = []

    def batches():
        for place in range(4):
            drawn.append(place)
            yield X[:25], Y[:25]

    given = {"x": X, "y": Y} if role == "validation_data" else {}
    found = loop.explain(model, **given, **{role: batches()}, shuffle=False, verbose=0)
    assert drawn == []
    assert "arrays in memory" in found.reason or "until the first is drawn" in found.reason


@pytest.mark.long
def test_a_torch_loader_is_not_drawn_from(model):
    torch = pytest.importorskip("torch")
    data = torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(Y))
    loader = torch.utils.data.DataLoader(data, batch_size=25, shuffle=True)
    state = torch.random.get_rng_state()
    found = loop.explain(model, loader, shuffle=False)
    assert (found.plan, found.steps) == ("unknown", 4)
    assert torch.equal(state, torch.random.get_rng_state())


def test_a_model_that_is_not_compiled_is_explained_with_its_step():
    model = keras.Sequential([keras.Input((10,)), keras.layers.Dense(1)])

    def my_step(model, batch):
        x, y = batch
        error = tf.reduce_mean((tf.cast(y[:, None], tf.float32) - model(x)) ** 2)
        return {"error": loop.mean(error)}

    found = loop.explain(model, X, Y, train_step=my_step, verbose=0)
    assert (found.plan, found.steps) == ("fused", 4)


def test_a_model_without_weights_gets_none():
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    found = loop.explain(model, X, Y)
    assert (found.plan, found.steps) == ("unknown", 4)
    assert not model.built


@pytest.mark.long
@pytest.mark.parametrize("name", ["random_labels", "dataset", "generator", "pydataset", "files"])
def test_a_fit_that_was_explained_before_has_the_same_bits(name):
    (scenario,) = find([name])

    def explained(model, **arguments):
        loop.explain(model, **arguments)
        return loop.fit(model, **arguments)

    reference = record(scenario, loop.fit, "epochs")[0]
    compared, found = differences(reference, record(scenario, explained, "epochs")[0])
    assert not found, found[0]
    assert compared > 20


@pytest.mark.long
def test_no_weight_changes_and_the_history_stays(model):
    history = loop.fit(model, X, Y, verbose=0)
    variables = [*model.variables, *model.optimizer.variables]
    before = [variable.numpy() for variable in variables]
    loop.explain(model, X, Y, epochs=3)
    assert model.history is history
    for value, variable in zip(before, variables, strict=True):
        np.testing.assert_array_equal(value, variable.numpy())


def test_a_plan_that_cannot_be_is_refused_as_by_fit(model):
    model.compile("sgd", "mse", run_eagerly=True)
    with pytest.raises(ValueError, match="plan='fused' needs steps that can share a call"):
        loop.explain(model, X, Y, plan="fused")


@pytest.mark.long
def test_batches_of_a_generator_may_share_a_call(model):
    def batches():
        return ((X[start : start + 25], Y[start : start + 25]) for start in range(0, 100, 25))

    arguments = {"steps_per_epoch": 4, "shuffle": False, "verbose": 0, "plan": "fused"}
    found = loop.explain(model, batches(), **arguments)
    assert (found.plan, found.steps) == ("unknown", 4)
    assert len(loop.fit(model, batches(), **arguments).history["loss"]) == 1


@pytest.mark.long
def test_what_is_printed_fits_what_is_there(model):
    shown = str(loop.explain(model, X, Y, batch_size=100, verbose=0))
    assert shown.startswith(
        "plan: fused; 1 step an epoch\n"
        "whole epochs run in one call\n"
        "begins with one step a call; builds the larger program if the steps ahead pay for it\n"
        "\n"
        "DATA\n"
    )
    shown = str(loop.explain(model, X, Y, validation_split=0.2, verbose=0, plan="step"))
    assert "\none step a call: the plan is to run step by step\n\nDATA\n" in shown


@pytest.mark.sampled
@pytest.mark.parametrize("step", [False, True])
def test_a_change_of_the_model_after_explain_counts_as_in_keras(step):
    def trained(fit, explained):
        keras.utils.set_random_seed(4)
        layers = [keras.Input((3,)), keras.layers.Dropout(0.5), keras.layers.Dense(1)]
        model = keras.Sequential(layers)
        model.compile("sgd", "mse")
        x = np.ones((8, 3), "float32")
        if explained:
            loop.explain(model, x, x[:, :1], step=step)
        model.layers[0].rate = 0.0
        return fit(model, x, x[:, :1], epochs=2, verbose=0).history

    assert trained(loop.fit, True) == trained(loop.fit, False) == trained(keras.Model.fit, False)


def test_random_numbers_that_tracing_draws_are_given_back():
    class Noisy(keras.layers.Layer):
        def call(self, x):
            return x * float(np.random.rand()) + random.random()

    model = keras.Sequential([keras.Input((3,)), Noisy(), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    before = random.getstate(), np.random.get_state()[1].tolist()
    loop.explain(model, np.ones((8, 3)), np.ones((8, 1)))
    assert before == (random.getstate(), np.random.get_state()[1].tolist())
