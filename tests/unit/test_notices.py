"""What fit says once about a step of one's own: how to mend it, and where it was called."""

import dataclasses
import functools
import gc
import re
import types
import warnings
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf

import loop
from loop.advice.notices import say_once
from loop.advice.reads import read_by
from loop.engine.model_step import MOST_STEPS, cache_on
from loop.engine.run import FEW_STEPS

X = np.random.default_rng(0).uniform(size=(40, 4)).astype("float32")
Y = X.sum(axis=1, keepdims=True)
MANY = 2 * FEW_STEPS


def compiled(kind=keras.Sequential, **arguments):
    model = kind([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", **arguments)
    return model


@pytest.fixture
def model():
    return compiled()


def notices(model, train_step=None, epochs=1, fit=loop.fit, **arguments):
    """The notices of a fit of two steps an epoch, the second on a short batch."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        named = {"train_step": train_step} if train_step else {}
        fit(model, X, Y, batch_size=24, epochs=epochs, verbose=0, **named, **arguments)
    assert {warning.category for warning in caught} <= {UserWarning}
    assert {warning.filename for warning in caught} <= {__file__}
    texts = [str(warning.message) for warning in caught]
    assert not any("\n" in text for text in texts)
    return texts


def plain_step(model, batch):
    return loop.train_step(model, batch)


def test_a_notice_is_said_once_for_each_step_and_topic_and_names_the_line_of_the_call():
    def one(): ...

    def other(): ...

    with pytest.warns(UserWarning, match="first") as caught:
        say_once(one, "a", "first")
    assert caught[0].filename == __file__
    say_once(one, "a", "second")
    for step, topic in ((one, "b"), (other, "a")):
        with pytest.warns(UserWarning, match="third"):
            say_once(step, topic, "third")


def test_what_was_said_of_a_step_that_is_gone_is_forgotten():
    for _ in range(3):  # each function may take the address of the one before
        with pytest.warns(UserWarning, match="said"):
            say_once(lambda: None, "a", "said")
        gc.collect()


# Steps that run one by one.


def noise_of_tensorflow(model, batch):
    x, y = batch
    return loop.train_step(model, (x + tf.random.normal(tf.shape(x)), y))


def python(model, batch):
    tf.py_function(lambda: None, [], [])
    return loop.train_step(model, batch)


def logs_of_no_fixed_shape(model, batch):
    return {**loop.train_step(model, batch), "each": batch[0][:, 0] * 2}


def weighted_by_one(model, batch):
    logs = loop.train_step(model, batch)
    x, _ = batch
    model.total.update_state(tf.reduce_sum(x) + tf.reduce_max(x), sample_weight=1.0)
    return {**logs, "total": model.total.result()}


SINGLE = {
    "random": (noise_of_tensorflow, "RandomStandardNormal", "keras.random.normal(shape, seed="),
    "python": (python, "calls Python", "keras.ops or of TensorFlow"),
    "a shape": (logs_of_no_fixed_shape, "'each'", "loop.mean(values)"),
    "a weight": (weighted_by_one, "1 * (a + b)", "without sample_weight=1.0"),
}


@pytest.mark.sampled
@pytest.mark.parametrize("case", SINGLE)
@pytest.mark.filterwarnings("ignore:In History")
def test_fit_says_once_how_steps_that_run_one_by_one_could_share_calls(model, case):
    step, reason, change = SINGLE[case]
    model.total = keras.metrics.Mean(name="total")
    of_calls = [text for text in notices(model, step, MANY) if "a call of its own" in text]
    (text,) = of_calls
    assert reason in text
    assert change in text
    assert not notices(model, step, MANY)


@pytest.mark.long
def test_a_model_that_overrides_its_step_is_told_too():
    class Own(keras.Sequential):
        def train_step(self, data):
            x, y = data
            return super().train_step((x + tf.random.normal(tf.shape(x)), y))

    (text,) = notices(compiled(Own), None, MANY)
    assert "RandomStandardNormal" in text
    assert not notices(compiled(Own), None, MANY), "another model of the class"


@pytest.mark.parametrize(
    ("epochs", "arguments"),
    [(2, {}), (MANY, {"plan": "step"})],
    ids=["a few steps", "the plan"],
)
def test_nothing_is_said_where_single_steps_cost_nothing_or_are_the_plan(model, epochs, arguments):
    step = types.FunctionType(noise_of_tensorflow.__code__, globals(), "step")
    assert not notices(model, step, epochs, **arguments)


@pytest.mark.long
def test_nothing_is_said_of_a_model_that_runs_eagerly_or_of_layers():
    step = types.FunctionType(noise_of_tensorflow.__code__, globals(), "step")
    assert not notices(compiled(run_eagerly=True), step, MANY)
    noise = keras.layers.Lambda(lambda x: x + tf.random.normal(tf.shape(x)))
    model = keras.Sequential([keras.Input((4,)), noise, keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    assert not notices(model, None, MANY)


class Variational(keras.Sequential):
    """Updates a metric by a sum without a weight, as the VAE of Keras's examples does."""

    def train_step(self, data):
        x, _ = data
        with tf.GradientTape() as tape:
            y = self(x)
            one, other = 1.1 * tf.reduce_sum(tf.square(y)), 0.7 * tf.reduce_sum(tf.abs(y))
            loss = one + other
        self.optimizer.apply(tape.gradient(loss, self.trainable_weights), self.trainable_weights)
        self.total.update_state(loss)
        return {"total": self.total.result()}


@pytest.mark.bits
def test_a_sum_added_to_a_total_without_a_factor_fuses_with_the_bits_of_keras():
    found = []
    for fit in (keras.Model.fit, loop.fit):
        keras.utils.set_random_seed(0)
        model = compiled(Variational, steps_per_execution=1)
        model.total = keras.metrics.Mean(name="total")
        history = fit(model, X, Y, batch_size=3, epochs=3, shuffle=False, verbose=0)
        found.append(history.history)
    assert found[0] == found[1]
    assert loop.explain(model, X, Y, batch_size=3).plan == "fused"


# What a step reads from Python.

scale = 0.5


def reads_scale(model, batch):
    return {"loss": loop.mean(loop.train_step(model, batch)["loss"] * scale)}


def test_a_global_that_changed_since_the_trace_is_named_once(model, monkeypatch):
    assert not notices(model, reads_scale)
    monkeypatch.setitem(globals(), "scale", 0.25)
    (text,) = notices(model, reads_scale)
    assert "scale = 0.5" in text
    assert "scale is 0.25 now" in text
    assert "model.make_train_function(force=True)" in text
    assert not notices(model, reads_scale)
    model.make_train_function(force=True)
    assert not notices(model, reads_scale)


def scaled(factor):
    def my_step(model, batch):
        return {"loss": loop.mean(loop.train_step(model, batch)["loss"] * factor)}

    def change(value):
        nonlocal factor
        factor = value

    return my_step, change


@dataclasses.dataclass
class Scaled:
    """A step that is not hashable."""

    factor: float

    def __call__(self, model, batch):
        return {"loss": loop.mean(loop.train_step(model, batch)["loss"] * self.factor)}


def test_a_closure_variable_that_changed_is_named(model):
    my_step, change = scaled(0.5)
    assert not notices(model, my_step)
    change("half")
    (text,) = notices(model, my_step)
    assert "factor is 'half' now" in text


def test_an_attribute_of_a_step_that_changed_is_named_and_the_step_need_not_be_hashable(model):
    my_step = Scaled(0.5)
    with pytest.raises(TypeError, match="unhashable"):
        hash(my_step)
    assert not notices(model, my_step, validation_data=(X, Y), test_step=Scaled(1.0))
    my_step.factor = float("nan")
    (text,) = notices(model, my_step)
    assert "self.factor is nan now" in text
    assert len(cache_on(model.train_function).functions) == 1, "traced once"


def test_values_that_partial_gives_and_globals_that_its_function_reads_are_named(
    model, monkeypatch
):
    def my_step(power, model, batch, factor):
        loss = loop.train_step(model, batch)["loss"]
        return {"loss": loop.mean(loss**power * factor * scale)}

    my_step = functools.partial(my_step, 2, factor=0.5)
    assert not notices(model, my_step)
    my_step.keywords["factor"] = 0.25
    (text,) = notices(model, my_step)
    assert "factor = 0.5 and goes on with it: factor is 0.25 now" in text
    monkeypatch.setitem(globals(), "scale", True)
    (text,) = notices(model, my_step)
    assert "scale = 0.5" in text
    assert "scale is True now" in text


class WithBeta(keras.Sequential):
    beta = 0.5
    unread = 1

    def weighted(self, loss):
        return loss * self.beta

    def train_step(self, data):
        return {"loss": self.weighted(super().train_step(data)["loss"])}


def test_an_attribute_of_a_model_that_its_step_reads_is_named_also_within_a_fit():
    model = compiled(WithBeta)
    assert not notices(model)
    model.unread = 2
    assert not notices(model), "the step does not read it"
    anneal = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: setattr(model, "beta", 0.5 + epoch)
    )
    (text,) = notices(model, None, 3, callbacks=[anneal])
    assert "self.beta = 0.5" in text
    assert "self.beta is 1.5 now" in text


def test_names_that_a_step_reads_elsewhere_or_assigns_are_not_read():
    settings = types.SimpleNamespace(scale=1.0, calls=0)

    def my_step(model, batch):
        settings.calls += 1
        return settings.scale, settings.calls, [model.inner for _ in batch]

    found = read_by(my_step, types.SimpleNamespace(inner=3))
    values = {name: read() for name, read in found.items()}
    assert values.pop("settings") is settings
    assert values.pop("model").inner == 3
    assert values == {"settings.scale": 1.0, "model.inner": 3}


@pytest.mark.parametrize("step", [len, print, tf.function(plain_step), keras.Sequential()])
def test_steps_without_code_of_their_own_are_not_searched(step):
    assert set(read_by(step)) <= {"loop", "loop.train_step"}


# Metrics and functions.


def with_metric(metric):
    def my_step(model, batch):
        metric.update_state(loop.train_step(model, batch)["loss"])
        return {"mine": metric.result()}

    return my_step


def test_a_metric_that_nobody_resets_is_named_once(model):
    my_step = with_metric(keras.metrics.Mean())
    (text,) = notices(model, my_step)
    assert text.startswith("The metric metric of the step is not in model.metrics")
    assert "loop.mean(value)" in text
    assert not notices(model, my_step)


def test_nothing_is_said_of_a_metric_of_the_model_or_of_one_that_the_step_resets(model):
    def of_the_batch(model, batch):
        own.reset_state()
        own.update_state(loop.train_step(model, batch)["loss"])
        return {"mine": own.result()}

    own, model.mine = keras.metrics.Mean(), keras.metrics.Mean()
    assert not notices(model, with_metric(model.mine))
    assert not notices(model, of_the_batch)


class WithSize(keras.Sequential):
    def __init__(self, layers):
        super().__init__(layers)
        self.size = keras.metrics.Mean(name="size")

    def train_step(self, data):
        self.size.update_state(data[0])
        return super().train_step(data)


@pytest.mark.sampled
@pytest.mark.parametrize("updates_it", [False, True])
@pytest.mark.parametrize("is_passed", [True, False])
def test_a_metric_that_the_test_step_reports_and_never_updates_is_named_once(updates_it, is_passed):
    def test_step(model, batch):
        logs = loop.test_step(model, batch)
        if updates_it:
            model.size.update_state(batch[0])
        return {**logs, "size": model.size.result()}

    parts = {} if is_passed else {"test_step": test_step}
    model = compiled(type("Sized", (WithSize,), parts), metrics=["mae"])
    passed = {"test_step": test_step} if is_passed else {}
    said = notices(model, validation_data=(X, Y), epochs=2, **passed)
    assert [text.split(" with")[0] for text in said] == [
        "The test step returns the result of the metric 'size'"
    ] * (not updates_it)


def test_a_function_made_anew_for_each_fit_is_named_once(model):
    found = [notices(model, lambda model, batch: plain_step(model, batch)) for _ in range(4)]
    assert [len(texts) for texts in found] == [0, 1, 0, 0]
    assert "The step <lambda> is traced again" in found[1][0]
    assert "pass the same function to each fit" in found[1][0]


@pytest.mark.long
def test_nothing_is_said_of_functions_that_read_other_values(model):
    for factor in (0.5, 0.25, keras.Variable(0.5), keras.Variable(0.5)):
        assert not notices(model, scaled(factor)[0])


@pytest.mark.long
def test_only_the_steps_passed_last_stay_alive(model):
    held = []
    for _ in range(MOST_STEPS + 3):
        factor = keras.Variable(0.5)
        my_step, _ = scaled(factor)
        held.append(weakref.ref(my_step))
        notices(model, my_step, validation_data=(X, Y))
        notices(model)
    del my_step
    gc.collect()
    assert [ref() is None for ref in held] == [True] * 3 + [False] * MOST_STEPS
    compiled_steps = cache_on(model.train_function).compiled
    assert len(compiled_steps) == MOST_STEPS + 1, "that of the model is kept as well"


@pytest.mark.long
def test_a_step_that_is_used_again_stays(model):
    notices(model, plain_step)
    for _ in range(MOST_STEPS - 1):
        notices(model, scaled(keras.Variable(0.5))[0])
    notices(model, plain_step)
    notices(model, scaled(keras.Variable(0.5))[0])
    assert plain_step in cache_on(model.train_function).functions


# What is refused.


def test_a_step_that_returns_other_logs_for_a_later_batch_is_refused():
    def my_step(model, batch):
        logs = loop.train_step(model, batch)
        return {**logs, "full": loop.last(1.0)} if len(batch[0]) == 32 else logs

    with pytest.raises(ValueError, match=re.escape("Return ['full'] always, or never.")):
        loop.fit(compiled(run_eagerly=True), X, Y, train_step=my_step, verbose=0)


def test_validation_of_an_uncompiled_model_asks_for_a_test_step():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    before = model.get_weights()
    with pytest.raises(ValueError, match="Pass test_step=my_test_step"):
        loop.fit(model, X, Y, train_step=plain_step, validation_data=(X, Y))
    assert all(map(np.array_equal, before, model.get_weights()))


@pytest.mark.parametrize("fit", [loop.fit, loop.evaluate])
def test_a_step_that_returns_a_bare_loss_is_refused(model, fit):
    name = "train_step" if fit is loop.fit else "test_step"
    with pytest.raises(AttributeError, match=r"step to return a dict of logs, got a .*Tensor"):
        fit(model, X, Y, verbose=0, **{name: lambda model, batch: tf.reduce_sum(batch[0])})


def test_no_data_at_all_names_the_call(model):
    with pytest.raises(KeyError, match=r"loop.fit\(model, x, y\)"):
        loop.fit(model)
