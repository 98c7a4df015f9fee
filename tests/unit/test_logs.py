"""Logs of one's own: `loop.mean`, `loop.total` and `loop.last`, under every plan."""

import contextlib
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import loop
from loop.engine.model_step import MOST_STEPS

PLANS = ("step", "fused", "auto", "xla")
SAMPLES, BATCH = 70, 32  # the last batch is short


def data(samples=SAMPLES):
    numbers = np.random.default_rng(0)
    return (
        numbers.normal(size=(samples, 3)).astype("float32"),
        numbers.normal(size=(samples, 1)).astype("float32"),
    )


def network():
    keras.utils.set_random_seed(1)
    return keras.Sequential([keras.Input([3]), keras.layers.Dense(1)])


def values_of(model, batch):
    """Return the loss of a batch, a weight and a count: what the logs below are made of."""
    x, y, *_ = batch  # a batch of its own has a sample weight, None
    loss = tf.reduce_mean(tf.square(model(x, training=True) - y))
    return loss, tf.reduce_sum(tf.abs(x)), tf.cast(tf.shape(x)[0], tf.float32)


def update(model, batch, optimizer):
    with tf.GradientTape() as tape:
        loss, weight, count = values_of(model, batch)
    weights = model.trainable_weights
    optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
    return loss, weight, count


def marked(loss, weight, count):
    return {
        "loss": loop.mean(loss),
        "weighted": loop.mean(loss, weight=weight),
        "seen": loop.total(count),
        "latest": loop.last(loss),
    }


def training_step():
    optimizer = keras.optimizers.SGD(0.1)
    return lambda model, batch: marked(*update(model, batch, optimizer))


def judge(model, batch):
    return marked(*values_of(model, batch))


class WithMetrics(keras.Model):
    """The same under Keras: metrics of one's own, held as attributes of the model."""

    def __init__(self, net):
        super().__init__()
        self.net = net
        self.sgd = keras.optimizers.SGD(0.1)
        self.means = [keras.metrics.Mean("loss"), keras.metrics.Mean("weighted")]
        self.seen = keras.metrics.Sum("seen")

    def call(self, x, training=None):
        return self.net(x, training=training)

    def logs(self, loss, weight, count):
        self.means[0].update_state(loss, sample_weight=tf.cast(count, tf.int32))
        self.means[1].update_state(loss, sample_weight=weight)
        self.seen.update_state(count)
        results = {metric.name: metric.result() for metric in [*self.means, self.seen]}
        return results | {"latest": loss}

    def train_step(self, batch):
        return self.logs(*update(self.net, batch, self.sgd))

    def test_step(self, batch):
        return self.logs(*values_of(self.net, batch))


@pytest.fixture(scope="module")
def under_keras():
    model = WithMetrics(network())
    model.compile(optimizer="sgd")
    history = model.fit(
        *data(), epochs=3, validation_data=data(20), batch_size=BATCH, shuffle=False, verbose=0
    )
    return history.history, model.evaluate(*data(20), verbose=0, return_dict=True)


@pytest.mark.sampled
@pytest.mark.bits
@pytest.mark.parametrize("plan", PLANS)
def test_marked_logs_are_metrics_of_keras_of_training_validation_and_evaluate(plan, under_keras):
    model = network()
    histories = [
        loop.fit(
            model, *data(), epochs=epochs, validation_data=data(20), batch_size=BATCH,
            shuffle=False, verbose=0, plan=plan, train_step=step, test_step=judge,
            initial_epoch=epochs - count,
        ).history
        for step in [training_step()]
        for epochs, count in [(1, 1), (3, 2)]  # the second fit begins anew
    ]  # fmt: skip
    history = {name: histories[0][name] + histories[1][name] for name in histories[0]}
    evaluated = loop.evaluate(
        model, *data(20), verbose=0, return_dict=True, test_step=judge, plan=plan
    )
    if plan == "xla":
        assert history.keys() == under_keras[0].keys()
        for name, values in under_keras[0].items():
            np.testing.assert_allclose(history[name], values, rtol=1e-5)
    else:
        assert (history, evaluated) == under_keras


@pytest.mark.parametrize("plan", PLANS)
def test_mean_is_numpys_mean_weighted_by_the_samples_of_each_batch(plan):
    model, recorded = network(), []

    def step(model, batch):
        loss, *_ = values_of(model, batch)
        return {"mean": loop.mean(loss), "last": loop.last(loss)}

    class Record(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            recorded.append(logs)

    callbacks = [loop.callbacks.logs_only(Record())]
    arguments = {"batch_size": BATCH, "verbose": 0, "callbacks": callbacks}
    history = loop.fit(model, *data(), train_step=step, plan=plan, **arguments).history
    losses, sizes = [logs["last"] for logs in recorded], [32, 32, 6]
    assert len(set(losses)) == 3
    np.testing.assert_allclose(history["mean"], [np.average(losses, weights=sizes)], rtol=1e-6)
    for so_far in (1, 2, 3):  # the logs of a step are running values
        mean = np.average(losses[:so_far], weights=sizes[:so_far])
        np.testing.assert_allclose(recorded[so_far - 1]["mean"], mean, rtol=1e-6)


@pytest.mark.parametrize("plan", PLANS)
def test_values_of_samples_count_alike_and_may_have_weights(plan):
    def step(model, batch):
        x, _ = batch
        return {
            "mean": loop.mean(x),
            "rows": loop.mean(x[:, 0]),
            "weighted": loop.mean(x[:, 0], weight=tf.abs(x[:, 1])),
            "total": loop.total(x),
        }

    x, y = data()
    history = loop.fit(network(), x, y, train_step=step, plan=plan, verbose=0).history
    expected = {
        "mean": x.mean(),
        "rows": x[:, 0].mean(),
        "weighted": np.average(x[:, 0], weights=abs(x[:, 1])),
        "total": x.sum(),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(history[name], [value], rtol=2e-5)


@pytest.mark.parametrize("run_eagerly", [False, True])
@pytest.mark.parametrize(
    ("value", "weight", "expected"),
    [
        (lambda e: e, lambda x: x[:, :2], r"\((70|None), 2\), its value \((70|None), 1\)"),
        (lambda e: e, lambda x: x[:5, 0], r"one of \[\(\), \((70|None),\), \((70|None), 1\)\]"),
        (tf.reduce_mean, lambda x: x[:, 0], r"its value \(\): expected one of \[\(\)\]"),
    ],
)
def test_a_weight_of_another_shape_than_its_value_is_refused(value, weight, expected, run_eagerly):
    def step(model, batch):
        x, y = batch
        return {"error": loop.mean(value(tf.abs(model(x) - y)), weight(x))}

    model = network()
    model.compile(run_eagerly=run_eagerly)
    with pytest.raises(ValueError, match=f"weight of the log 'error' .*{expected}"):
        loop.evaluate(model, *data(), batch_size=SAMPLES, test_step=step, verbose=0)


@pytest.mark.parametrize("plan", PLANS)
def test_a_marked_log_is_not_replaced_by_the_compiled_metric_of_its_name(plan):
    def step(model, batch):
        return {"loss": loop.mean(values_of(model, batch)[0])}

    model = network()
    model.compile("sgd", "mse")
    history = loop.fit(model, *data(), train_step=step, plan=plan, verbose=0, epochs=2).history
    expected = network().predict(data()[0], verbose=0) - data()[1]
    np.testing.assert_allclose(history["loss"], 2 * [np.mean(expected**2)], rtol=1e-5)


@pytest.mark.parametrize("plan", PLANS)
def test_compiled_metrics_that_the_step_does_not_update_may_stay_unbuilt(plan):
    model = network()
    model.compile("sgd", "mse", metrics=["mae"])
    history = loop.fit(model, *data(), train_step=training_step(), plan=plan, verbose=0).history
    assert history.keys() == {"loss", "weighted", "seen", "latest"}


@pytest.mark.parametrize(
    "inside",
    [lambda mark: {"a": mark}, lambda mark: [mark, 1.0], lambda mark: (mark, mark)],
)
def test_a_mark_inside_of_a_log_is_refused_by_name(inside):
    def step(model, batch):
        return {"nested": inside(loop.mean(values_of(model, batch)[0]))}

    with pytest.raises(ValueError, match=r"The log 'nested' is a .*expected the mark outermost"):
        loop.fit(network(), *data(), train_step=step, verbose=0)


@pytest.mark.parametrize("mark", [loop.mean, loop.total, loop.last])
def test_marked_logs_are_no_numbers(mark):
    for compute in (lambda log: log * 2, lambda log: 1 + log, lambda log: log / log):
        with pytest.raises(TypeError, match="compute first, then mark"):
            compute(mark(1.0))


@pytest.mark.parametrize("plan", ["step", "auto"])
def test_a_log_that_is_none_stays_none_as_under_keras(plan):
    class Silent(keras.Model):
        def __init__(self):
            super().__init__()
            self.net = network()

        def train_step(self, batch):
            return {"a": tf.reduce_mean(batch[0]), "nothing": None}

    histories = []
    for fit in (keras.Model.fit, lambda *a, **k: loop.fit(*a, **k, plan=plan)):
        model = Silent()
        model.compile("sgd", "mse")
        histories.append(fit(model, *data(), verbose=0, shuffle=False).history)
    assert histories[0] == histories[1]
    assert histories[0]["nothing"] == [None]


def test_marks_pass_through_a_tf_function_and_run_eagerly():
    step = tf.function(judge)
    compiled = loop.fit(network(), *data(), train_step=step, verbose=0).history
    eager = network()
    eager.run_eagerly = True
    eagerly = loop.fit(eager, *data(), train_step=judge, verbose=0).history
    assert compiled.keys() == eagerly.keys() == {"loss", "weighted", "seen", "latest"}
    for name in compiled:
        np.testing.assert_allclose(compiled[name], eagerly[name], rtol=1e-6)


def test_marked_logs_of_a_single_batch_are_those_of_the_batch():
    model, (x, y) = network(), data()
    for rows in (slice(0, 32), slice(32, 64)):
        logs = loop.test_on_batch(model, x[rows], y[rows], return_dict=True, test_step=judge)
        assert logs["seen"] == 32
        assert logs["loss"] == logs["weighted"] == logs["latest"]


@pytest.mark.sampled
@pytest.mark.parametrize("plan", PLANS)
def test_marked_logs_are_reduced_over_executions_of_several_steps(plan):
    model = network()
    model.steps_per_execution = 2
    history = loop.fit(model, *data(), train_step=training_step(), plan=plan, verbose=0, epochs=2)
    assert history.history["seen"] == [SAMPLES, SAMPLES]


@pytest.mark.long
def test_marked_logs_are_reset_though_a_callback_trains_with_many_other_steps():
    class TrainsWithOthers(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            for _ in range(MOST_STEPS + 1):
                loop.train_on_batch(
                    self.model, *data(8), train_step=lambda model, batch: judge(model, batch)
                )

    model = network()
    others = [TrainsWithOthers()]
    history = loop.fit(
        model, *data(), train_step=training_step(), verbose=0, epochs=3, callbacks=others
    )
    assert history.history["seen"] == 3 * [SAMPLES]


def test_marks_are_refused_on_replicas():
    with tf.distribute.OneDeviceStrategy("/cpu:0").scope():
        model = network()
        model.compile("sgd", "mse")
    with pytest.raises(NotImplementedError, match=r"'loss' is marked by loop\.mean, which is not"):
        loop.fit(model, *data(), train_step=judge, verbose=0)


def plain_step(model, batch):
    loss, _, count = values_of(model, batch)
    return {"mean": loop.mean(loss), "plain": loss, "rate": model.scale.value, "seen": count}


def scaled():
    model = network()
    model.scale = keras.Variable(0.5, trainable=False)
    return model


PLAIN = (
    r"History and callbacks get the value of the last batch only for what the step {} returns as "
    r"'plain', 'seen'\. Return \{{'plain': loop\.mean\(value\)\}} for the mean over the epoch, or "
    r"loop\.last\(value\) if the last batch is meant\."
)


@pytest.mark.parametrize("plan", PLANS)
def test_values_of_the_last_batch_are_named_once_and_stay_as_under_keras(plan):
    def step(model, batch):
        return plain_step(model, batch)

    model = scaled()
    with pytest.warns(UserWarning, match=PLAIN.format("step")) as caught:
        history = loop.fit(model, *data(), train_step=step, plan=plan, verbose=0, shuffle=False)
    assert [warning.filename for warning in caught] == [__file__]
    x, y = data()
    last = network().predict(x[-6:], verbose=0) - y[-6:]
    np.testing.assert_allclose(history.history["plain"], [np.mean(last**2)], rtol=1e-5)
    loop.fit(model, *data(), train_step=step, plan=plan, verbose=0)  # says no more


def test_values_of_the_last_batch_are_named_where_steps_run_eagerly():
    def step(model, batch):
        logs = loop.train_step(model, batch)
        rate = tf.convert_to_tensor(model.optimizer.learning_rate)
        known = {"rate": rate, "mine": model.mine.result(), "none": None}
        return {**logs, **known, **plain_step(model, batch)}

    def silent(model, batch):
        return {name: log for name, log in step(model, batch).items() if name not in plain}

    model, plain = scaled(), ("plain", "seen")
    model.mine = keras.metrics.Mean(name="of_another_name")
    model.compile("sgd", "mse", metrics=["mae"], run_eagerly=True)
    with pytest.warns(UserWarning, match=PLAIN.format("step")) as caught:
        loop.fit(model, *data(), train_step=step, verbose=0, epochs=2)
    assert [warning.filename for warning in caught] == [__file__]
    loop.fit(model, *data(), train_step=step, verbose=0)  # says no more
    loop.fit(model, *data(), train_step=silent, verbose=0)


def test_values_of_the_last_batch_are_named_in_validation_too():
    def judge_plainly(model, batch):
        return plain_step(model, batch)

    with pytest.warns(UserWarning, match=PLAIN.format("judge_plainly")):
        loop.evaluate(scaled(), *data(), test_step=judge_plainly, verbose=0)


@pytest.mark.parametrize("within", [contextlib.nullcontext(), loop.strict()])
def test_strict_refuses_values_of_the_last_batch_before_a_weight_moves(within):
    model = scaled()
    before = [weight.numpy() for weight in model.weights]
    strict = isinstance(within, contextlib.nullcontext)
    with within, pytest.raises(ValueError, match=PLAIN.format("plain_step")):
        loop.fit(model, *data(), train_step=plain_step, verbose=0, strict=strict)
    np.testing.assert_equal([weight.numpy() for weight in model.weights], before)


def test_results_of_metrics_and_rates_are_no_values_of_the_last_batch():
    def step(model, batch):
        rate = tf.convert_to_tensor(model.optimizer.learning_rate)
        return loop.train_step(model, batch) | {"rate": rate}

    model = network()
    model.compile("sgd", "mse", metrics=["mae"])
    loop.fit(model, *data(), train_step=step, verbose=0, strict=True)


@pytest.mark.parametrize("plan", PLANS)
def test_a_log_that_a_metric_would_replace_is_an_error_that_names_it(plan):
    def step(model, batch):
        return {"loss": values_of(model, batch)[0]}

    model = network()
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"The log 'loss' of the step would not be seen: the comp"):
        loop.fit(model, *data(), train_step=step, plan=plan, verbose=0)


def compiled():
    model = network()
    model.compile("sgd", "mse", metrics=["mae"])
    return model


def step_of_metrics(model, batch):
    return loop.train_step(model, batch)


@pytest.mark.parametrize("step", [loop.train_step, step_of_metrics])
def test_nothing_is_said_of_metrics_in_graphs_that_models_share(step):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        loop.fit(compiled(), *data(), verbose=0, train_step=step)
        loop.fit_seeds(compiled, [1, 2], *data(), verbose=0, train_step=step)
    assert not said
