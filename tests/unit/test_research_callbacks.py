"""What a research loop looks at: in the graph, in few calls, with no bit of training changed."""

import itertools
import sys
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import loop
from compare import find
from loop.callbacks import (
    BatchHistory,
    EvaluateEvery,
    GradientNorms,
    LearningRateFinder,
    NanHunter,
    Throughput,
    UpdateRatios,
    records,
)
from loop.engine import program

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(72, 8)).astype("float32")
Y = X.sum(axis=1, keepdims=True)
IMAGES = RANDOM.uniform(size=(40, 8, 8, 1)).astype("float32")
WORDS = RANDOM.integers(0, 9, size=(40, 5))
CLASSES = RANDOM.integers(0, 3, size=40)
FIT = {"batch_size": 16, "epochs": 3, "verbose": 0, "plan": "fused"}
STEPS = 5  # an epoch of X


class Scale(layers.Layer):
    """Multiplies by a weight of its inputs' shape: its gradient is a product and a sum."""

    def build(self, shape):
        self.scale = self.add_weight(shape=shape[1:], initializer="ones", regularizer="l2")

    def call(self, x):
        return x * self.scale


def mlp(optimizer="adam", *between, loss="mse", metrics=("mae",)):
    keras.utils.set_random_seed(1)
    hidden = [layers.Dense(16, "relu"), *between, layers.Dropout(0.2), layers.Dense(1)]
    model = keras.Sequential([keras.Input((8,)), *hidden])
    model.compile(optimizer, loss, metrics=[*metrics] or None)
    return model


def cnn():
    keras.utils.set_random_seed(1)
    parts = [layers.Conv2D(4, 3), layers.BatchNormalization(), layers.ReLU(), layers.MaxPool2D()]
    model = keras.Sequential([keras.Input((8, 8, 1)), *parts, layers.Flatten(), layers.Dense(3)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def lstm():
    keras.utils.set_random_seed(1)
    parts = [layers.Embedding(9, 4), layers.LSTM(6, dropout=0.1), layers.Dense(3, "softmax")]
    model = keras.Sequential([keras.Input((5,), dtype="int32"), *parts])
    model.compile(keras.optimizers.AdamW(1e-2, clipnorm=1.0), "sparse_categorical_crossentropy")
    return model


def half():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        return mlp(keras.optimizers.SGD(1e-2, momentum=0.9))
    finally:
        keras.config.set_dtype_policy("float32")


def averaged():
    return mlp(keras.optimizers.Adam(1e-2, use_ema=True, gradient_accumulation_steps=2), Scale())


MODELS = {
    "mlp": (mlp, X, Y),
    "products": (lambda: mlp(keras.optimizers.SGD(0.01, momentum=0.9), Scale()), X, Y),
    "averaged": (averaged, X, Y),
    "cnn": (cnn, IMAGES, CLASSES),
    "lstm": (lstm, WORDS, CLASSES),
    "half": (half, X, Y),
}
CALLBACKS = {
    "history": BatchHistory,
    "throughput": Throughput,
    "norms": GradientNorms,
    "ratios": UpdateRatios,
    "hunter": NanHunter,
    "evaluations": lambda: EvaluateEvery(X, Y, every=4),
}


def state(model):
    every = [*model.variables, *model.optimizer.variables, *model.metrics_variables]
    return [variable.numpy().tobytes() for variable in every]


def own_step(model, batch):
    """A step that calls no method of `loop`, nor `scale_loss`."""
    x, y = batch
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(model(x, training=True) - y))
    gradients = tape.gradient(loss, model.trainable_variables)
    norm = tf.linalg.global_norm(gradients[:2])
    model.optimizer.apply(gradients, model.trainable_variables)
    return {"loss": loop.last(loss), "norm": loop.last(norm)}


@pytest.fixture
def calls(monkeypatch):
    """The concrete function of every call of a program."""
    made, original = [], program.flat_call

    def counting(function):
        run = original(function)
        return lambda *arguments: made.append(function) or run(*arguments)

    monkeypatch.setattr(program, "flat_call", counting)
    return made


@pytest.mark.sampled
@pytest.mark.parametrize("name", CALLBACKS)
def test_steps_share_calls(name, calls):
    loop.fit(mlp(), X, Y, **FIT, callbacks=[CALLBACKS[name]()])
    expected = 3 * 2 if name == "evaluations" else 3
    assert len(calls) <= expected + (3 if name == "evaluations" else 0) < 3 * STEPS


@pytest.mark.sampled
@pytest.mark.bits
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("plan", ["step", "fused"])
def test_training_with_all_of_them_has_the_bits_of_training_without(name, plan):
    build, x, y = MODELS[name]
    arguments = {**FIT, "plan": plan, "validation_split": 0.2}
    plain, watched = build(), build()
    history = loop.fit(plain, x, y, **arguments).history
    mine = [GradientNorms(), UpdateRatios(), NanHunter(), BatchHistory(), Throughput()]
    mine.append(EvaluateEvery(x, y, every=2))
    logs = loop.fit(watched, x, y, **arguments, callbacks=mine).history
    assert {log: logs[log] for log in history} == history
    assert state(watched) == state(plain)


@pytest.mark.sampled
@pytest.mark.bits
@pytest.mark.parametrize("plan", ["step", "fused", "xla"])
def test_an_own_step_keeps_its_bits_and_shows_its_norms(plan):
    plain, watched = mlp(metrics=()), mlp(metrics=())
    arguments = {**FIT, "plan": plan, "train_step": own_step}
    loop.fit(plain, X, Y, **arguments)
    steps = BatchHistory()
    mine = [GradientNorms(), UpdateRatios(), NanHunter(), steps]
    logs = loop.fit(watched, X, Y, **arguments, callbacks=mine).history
    assert state(watched) == state(plain)
    first = watched.layers[0].name
    expected = np.reshape(steps.history["norm"], (3, STEPS)).mean(axis=1)
    np.testing.assert_allclose(logs[f"grad_norm/{first}"], expected, rtol=1e-5)


@pytest.mark.long
def test_norms_add_up_repeated_indices_and_are_those_before_clipping():
    model = lstm()
    with tf.GradientTape() as tape:
        loss = loop_loss(model, WORDS, CLASSES)
    gradients = tape.gradient(loss, model.trainable_variables)
    logs = loop.fit(
        model, WORDS, CLASSES, batch_size=40, verbose=0, callbacks=[GradientNorms()]
    ).history
    norms = {log: values for log, values in logs.items() if log.startswith("grad_norm/")}
    assert len(norms) == 3
    embedding = np.linalg.norm(tf.convert_to_tensor(gradients[0]))
    assert norms[f"grad_norm/{model.layers[0].name}"] == [pytest.approx(embedding, rel=1e-4)]
    cell = [log for log in norms if log.endswith("lstm_cell")]
    together = float(tf.linalg.global_norm(gradients[1:4]))
    assert norms[cell[0]] == [pytest.approx(together, rel=1e-4)]


def loop_loss(model, x, y):
    """The loss of a training step without dropout, which `lstm` is then built without."""
    for layer in model.layers:
        if hasattr(layer, "cell"):
            layer.cell.dropout = 0.0
    return tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(y, model(x, training=True)))


@pytest.mark.long
@pytest.mark.parametrize("scale", [2.0**4, 2.0**10])
def test_norms_are_those_of_unscaled_gradients(scale):
    plain = mlp(keras.optimizers.SGD(0.01))
    scaled = mlp(keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.01), scale))
    fixed = mlp(keras.optimizers.SGD(0.01, loss_scale_factor=scale))
    expected = loop.fit(plain, X, Y, **FIT, callbacks=[GradientNorms()]).history
    for model in (scaled, fixed):
        found = loop.fit(model, X, Y, **FIT, callbacks=[GradientNorms()]).history
        np.testing.assert_allclose(
            *([logs[log] for log in sorted(logs) if "norm" in log] for logs in (expected, found)),
            rtol=1e-5,
        )


@pytest.mark.long
def test_updates_that_a_loss_scale_skips_do_not_count():
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.01), 2.0**122)
    steps = GradientNorms()
    logs = loop.fit(mlp(optimizer), X, Y, **FIT, callbacks=[steps, NanHunter()]).history
    norms = [values for log, values in logs.items() if log.startswith("grad_norm")]
    assert norms
    assert np.isfinite(norms).all()


@pytest.mark.long
def test_update_ratios_are_those_of_the_weights_before_and_after():
    class Weights(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            self.seen = [self.model.layers[0].get_weights()]

        def on_train_batch_end(self, batch, logs=None):
            self.seen.append(self.model.layers[0].get_weights())

    weights, model = Weights(), mlp()
    arguments = {**FIT, "epochs": 1, "callbacks": [UpdateRatios(), weights]}
    logs = loop.fit(model, X, Y, **arguments).history
    flat = [np.concatenate([part.ravel() for part in seen]) for seen in weights.seen]
    norm = np.linalg.norm
    ratios = [norm(b - a) / norm(a) for a, b in itertools.pairwise(flat)]
    assert logs[f"update_ratio/{model.layers[0].name}"] == [
        pytest.approx(np.mean(ratios), rel=1e-4)
    ]


@pytest.mark.long
def test_two_optimizers_held_by_a_model_are_watched():
    def step(model, batch):
        x, y = batch
        for optimizer, layer in ((model.first, 0), (model.second, -1)):
            variables = model.layers[layer].trainable_variables
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.square(model(x, training=True) - y))
            optimizer.apply(tape.gradient(loss, variables), variables)
        return {"loss": loop.mean(loss)}

    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((8,)), layers.Dense(4), layers.Dense(1)])
    model.first, model.second = keras.optimizers.SGD(0.01), keras.optimizers.Adam()
    for optimizer, layer in ((model.first, 0), (model.second, 1)):
        optimizer.build(model.layers[layer].trainable_variables)
    logs = loop.fit(model, X, Y, **FIT, train_step=step, callbacks=[GradientNorms()]).history
    assert set(logs) == {"loss", *(f"grad_norm/{layer.name}" for layer in model.layers)}


def test_a_model_without_an_optimizer_is_refused_by_what_to_do():
    model = keras.Sequential([keras.Input((8,)), layers.Dense(1)])
    for callback in (GradientNorms(), UpdateRatios(), NanHunter()):
        with pytest.raises(ValueError, match=r"model\.my_optimizer = optimizer"):
            loop.fit(model, X, Y, train_step=own_step, verbose=0, callbacks=[callback])


def watched(model):
    parts = [model, *model.layers, model.optimizer]
    return [part for part in parts if {"apply", "call", "scale_loss"} & set(vars(part))]


WATCHING = (GradientNorms, UpdateRatios, NanHunter, LearningRateFinder)


@pytest.mark.long
@pytest.mark.parametrize("fit", [loop.fit, keras.Model.fit])
def test_methods_are_the_own_ones_after_a_fit_and_the_next_has_its_bits(fit):
    model, plain = mlp(), mlp()
    for epochs in (1, 2):
        fit(model, X, Y, epochs=epochs, verbose=0, callbacks=[kind() for kind in WATCHING[:3]])
        assert not watched(model)
        fit(plain, X, Y, epochs=epochs, verbose=0)
    fit(model, X, Y, verbose=0)
    fit(plain, X, Y, verbose=0)
    assert state(model) == state(plain)
    own = model.make_train_function() or model.train_function
    assert own is model.train_function


@pytest.mark.long
def test_methods_are_the_own_ones_after_a_fit_that_raises():
    class Fails(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise KeyboardInterrupt

    model = mlp()
    kept = state(model)
    with pytest.raises(KeyboardInterrupt):
        loop.fit(model, X, Y, **FIT, callbacks=[*(kind() for kind in WATCHING), Fails()])
    assert not watched(model)
    assert state(model)[:4] == kept[:4], "the finder restores the weights"
    assert "grad_norm" not in str(loop.fit(model, X, Y, **FIT).history)


@pytest.mark.long
def test_a_method_that_somebody_has_replaced_is_put_back():
    model, seen = mlp(), []
    apply = model.optimizer.apply
    model.optimizer.apply = lambda *arguments, **named: seen.append(1) or apply(*arguments, **named)
    mine = model.optimizer.apply
    loop.fit(model, X, Y, **FIT, callbacks=[GradientNorms(), UpdateRatios()])
    assert model.optimizer.apply is mine
    assert seen


def nan_in_data():
    x = X.copy()
    x[37, 2] = np.nan
    return mlp(), x, "the input of sequential", "at step 3 of epoch 1"


def nan_in_a_layer():
    return (
        mlp(
            "adam",
            layers.Lambda(tf.sqrt, name="root"),
            layers.Lambda(lambda t: tf.sqrt(t - 9), name="bad"),
        ),
        X,
        "the output of layer bad",
        "at step 1 of",
    )


def nan_in_the_loss():
    return mlp(loss=lambda y, p: tf.math.log(-tf.square(p))), X, "in the loss", "log(0)"


def nan_in_a_gradient():
    return mlp(loss=lambda y, p: tf.sqrt(0.0 * p)), X, "the gradient of", "infinite gradients at 0"


def nan_in_a_weight():
    return mlp(keras.optimizers.SGD(1e38), loss="mae"), X * 1e8, "after the update", "learning rate"


NANS = (nan_in_data, nan_in_a_layer, nan_in_the_loss, nan_in_a_gradient, nan_in_a_weight)


@pytest.mark.sampled
@pytest.mark.parametrize("run_eagerly", [False, True])
@pytest.mark.parametrize("broken", ["y", "sample_weight"])
def test_the_hunter_names_data_that_no_layer_sees(broken, run_eagerly):
    data = {"y": Y.copy(), "sample_weight": np.ones(len(Y), "float32")}
    data[broken][37] = np.inf
    model = mlp()
    model.run_eagerly = run_eagerly
    place = "loss" if run_eagerly else r"batch \(x, y or sample_weight\)"
    with pytest.raises(FloatingPointError, match=f"in the {place}, at step 3 .*isfinite\\(y\\)"):
        loop.fit(model, X, **data, batch_size=16, shuffle=False, callbacks=[NanHunter()])


@pytest.mark.long
def test_the_hunter_leaves_data_alone_that_the_loss_masks():
    y = np.where(np.arange(72)[:, None] % 3, Y, np.nan)
    model = mlp(loss=lambda y, p: tf.square(tf.where(tf.math.is_nan(y), 0.0, y - p)), metrics=())
    assert len(loop.fit(model, X, y, **FIT, callbacks=[NanHunter()]).history["loss"]) == 3


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("broken", "plan"),
    [*((broken, plan) for broken in NANS for plan in ("step", "fused")), (nan_in_data, "xla")],
)
def test_the_hunter_names_step_and_tensor(broken, plan):
    keras.utils.clear_session()
    model, x, place, more = broken()
    with pytest.raises(FloatingPointError) as error:
        loop.fit(model, x, Y, **{**FIT, "plan": plan}, shuffle=False, callbacks=[NanHunter()])
    assert place in str(error.value)
    assert more in str(error.value)
    assert not watched(model)


@pytest.mark.long
def test_the_hunter_counts_steps_in_their_epoch_and_leaves_validation_alone():
    class Breaks(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                self.model.layers[-1].kernel.assign(np.full((16, 1), np.inf, "float32"))

    infinite = np.full_like(X, np.inf)
    arguments = {**FIT, "validation_data": (infinite, Y), "callbacks": [NanHunter(), Breaks()]}
    model = mlp()
    with pytest.raises(FloatingPointError, match=f"{model.layers[-1].name}, at step 1 of epoch 3"):
        loop.fit(model, X, Y, **arguments)


def test_the_hunter_works_on_steps_that_run_eagerly():
    model, x, place, step = nan_in_data()
    model.run_eagerly = True
    with pytest.raises(FloatingPointError, match=f"{place}.*{step}"):
        loop.fit(model, x, Y, batch_size=16, shuffle=False, verbose=0, callbacks=[NanHunter()])


@pytest.mark.long
def test_batch_history_is_what_a_hook_of_every_batch_gets_from_keras():
    class Sees(keras.callbacks.Callback):
        seen = None

        def on_train_batch_end(self, batch, logs=None):
            self.seen = [*(self.seen or []), dict(logs)]

    sees, steps = Sees(), BatchHistory()
    mlp().fit(X, Y, batch_size=16, epochs=3, verbose=0, callbacks=[sees])
    for _ in range(2):  # a second fit begins anew
        loop.fit(mlp(), X, Y, **FIT, callbacks=[steps])
    assert steps.epoch == np.repeat(range(3), STEPS).tolist()
    assert steps.history == {log: [logs[log] for logs in sees.seen] for log in ("loss", "mae")}


@pytest.mark.long
def test_throughput_is_steps_and_samples_by_seconds(monkeypatch):
    ticks = iter(range(0, 100, 2))
    monkeypatch.setattr(records, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    logs = loop.fit(mlp(), X, Y, **FIT, callbacks=[Throughput(samples=72)]).history
    assert logs["steps_per_second"] == [STEPS / 2] * 3
    assert logs["samples_per_second"] == [72 / 2] * 3
    assert logs["compiling"] == [1.0, 0.0, 0.0]


@pytest.mark.long
def test_throughput_counts_the_steps_of_an_epoch_that_is_cut_or_of_unknown_length(monkeypatch):
    class Stops(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = batch == 1

    ticks = iter(range(0, 100, 2))
    monkeypatch.setattr(records, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    logs = loop.fit(mlp(), X, Y, **FIT, callbacks=[Stops(), Throughput(samples=80)]).history
    assert logs["steps_per_second"] == [1.0]
    assert logs["samples_per_second"] == [16.0]
    data = tf.data.Dataset.from_tensor_slices((X, Y)).batch(16).filter(lambda x, y: True)
    with pytest.warns(UserWarning, match="ran out of data"):
        logs = loop.fit(mlp(), data, shuffle=False, verbose=0, callbacks=[Throughput()]).history
    assert logs["steps_per_second"] == [(STEPS + 1) / 2], "one more has found the end of the data"
    assert "samples_per_second" not in logs


@pytest.mark.long
@pytest.mark.bits
@pytest.mark.parametrize("plan", ["step", "fused"])
def test_evaluations_are_those_of_the_weights_after_that_step(plan):
    class Keeps(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            self.seen = []

        def on_train_batch_end(self, batch, logs=None):
            self.seen.append(self.model.get_weights())

    keeps, model = Keeps(), mlp()
    loop.fit(model, X, Y, **FIT, callbacks=[keeps])
    every = EvaluateEvery(X[:20], Y[:20], every=4, batch_size=10)
    loop.fit(mlp(), X, Y, **{**FIT, "plan": plan}, callbacks=[every])
    assert every.history["step"] == [4, 8, 12]
    for place, step in enumerate(every.history["step"]):
        model.set_weights(keeps.seen[step - 1])
        logs = loop.evaluate(model, X[:20], Y[:20], 10, verbose=0, return_dict=True)
        assert logs == {log: every.history[f"val_{log}"][place] for log in logs}


@pytest.mark.long
def test_the_finder_records_the_losses_of_a_sweep_and_restores_everything():
    model, by_hand = mlp(), mlp()
    kept = state(model)[:4], [v.numpy().tobytes() for v in model.variables]
    finder = LearningRateFinder(1e-4, 10.0, steps=12)
    loop.fit(model, X, Y, **FIT, shuffle=False, callbacks=[finder])
    losses = []
    for step, rate in enumerate(np.geomspace(1e-4, 10.0, 12)):
        by_hand.optimizer.learning_rate = rate
        rows = slice(step % STEPS * 16, step % STEPS * 16 + 16)
        by_hand.reset_metrics()
        losses.append(by_hand.train_on_batch(X[rows], Y[rows])[0])
    np.testing.assert_allclose(finder.rates, np.geomspace(1e-4, 10.0, 12))
    np.testing.assert_allclose(finder.losses, losses, rtol=1e-4)
    assert (state(model)[:4], [v.numpy().tobytes() for v in model.variables]) == kept
    assert float(model.optimizer.learning_rate) == pytest.approx(1e-3)
    assert int(model.optimizer.iterations) == 0
    assert not watched(model)


@pytest.mark.long
@pytest.mark.bits
def test_a_fit_after_a_sweep_has_the_bits_of_a_fit_without():
    plain, swept = mlp(), mlp()
    loop.fit(swept, X, Y, **FIT, callbacks=[LearningRateFinder(steps=10)])
    for model in (plain, swept):
        keras.utils.set_random_seed(2)
        loop.fit(model, X, Y, **FIT)
    assert state(swept) == state(plain)


@pytest.mark.long
def test_a_sweep_stops_at_its_last_rate_in_few_calls(calls):
    finder = LearningRateFinder(steps=7)
    history = loop.fit(mlp(), X, Y, **FIT, callbacks=[finder])
    assert len(history.epoch) == 2
    assert len(calls) <= 3
    assert len(finder.losses) == 7
    short = LearningRateFinder(steps=100)
    loop.fit(mlp(), X, Y, **FIT, callbacks=[short])
    assert len(short.rates) == len(short.losses) == 3 * STEPS


@pytest.mark.long
def test_the_finder_works_with_a_loss_scale():
    model = half()
    finder = LearningRateFinder(1e-5, 1.0, steps=10)
    loop.fit(model, X, Y, **FIT, callbacks=[finder])
    assert np.isfinite(finder.losses).all()
    assert finder.losses.max() < 1e4, "not scaled up"


def test_the_suggestion_is_where_the_loss_falls_most_steeply():
    finder = LearningRateFinder(1e-6, 1.0, steps=100)
    finder.rates = np.geomspace(1e-6, 1.0, 100)
    place = np.log10(finder.rates)
    finder.losses = 2 - 1 / (1 + np.exp(-4 * (place + 3))) + np.exp(8 * (place + 0.5))
    assert finder.suggestion == pytest.approx(1e-3, rel=0.2)
    finder.losses[80:] = np.nan
    assert finder.suggestion == pytest.approx(1e-3, rel=0.2)
    finder.losses = np.arange(100.0)
    assert finder.suggestion is None
    assert LearningRateFinder().suggestion is None


@pytest.mark.long
def test_the_plot_is_a_picture_and_names_what_it_needs(tmp_path, monkeypatch):
    finder = LearningRateFinder(steps=20)
    loop.fit(mlp(), X, Y, **{**FIT, "epochs": 4}, callbacks=[finder])
    finder.plot(tmp_path / "rates.png")
    assert (tmp_path / "rates.png").read_bytes().startswith(b"\x89PNG")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match="pip install matplotlib"):
        finder.plot(tmp_path / "again.png")


@pytest.mark.long
def test_what_the_finder_cannot_sweep_is_refused_before_training():
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)
    with pytest.raises(ValueError, match="must be a number"):
        loop.fit(mlp(keras.optimizers.SGD(schedule)), X, Y, **FIT, callbacks=[LearningRateFinder()])
    model = keras.Sequential([layers.Dense(1)])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="call it once"):
        loop.fit(model, X, Y, **FIT, callbacks=[LearningRateFinder()])
    model = mlp(metrics=())
    kept = state(model)[:4]
    with pytest.raises(ValueError, match="scale_loss"):
        loop.fit(model, X, Y, **FIT, train_step=own_step, callbacks=[LearningRateFinder()])
    assert state(model)[:4] == kept
    assert not watched(model)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LearningRateFinder(1.0, 0.1), "0 < start < end"),
        (lambda: LearningRateFinder(0.0, 0.1), "0 < start < end"),
        (lambda: LearningRateFinder(0.1, float("nan")), "0 < start < end"),
        (lambda: LearningRateFinder(steps=0), "2 or more, got 0"),
        (lambda: LearningRateFinder(steps=2.5), "an integer"),
        (lambda: EvaluateEvery(X, Y, every=0), "`every` to be 1 or more, got 0"),
        (lambda: Throughput(samples=0), "1 or more, got 0"),
    ],
)
def test_bad_arguments_are_refused_at_once(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.long
def test_a_model_on_replicas_is_refused():
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        model = mlp()
    with pytest.raises(NotImplementedError, match="replicas"):
        loop.fit(model, X, Y, verbose=0, callbacks=[GradientNorms()])


def test_an_evaluation_every_few_steps_is_explained_before_any_fit():
    found = loop.explain(mlp(), X, Y, **FIT, callbacks=[EvaluateEvery(X, Y, every=4)])
    assert "EvaluateEvery looks at some batches" in " ".join(str(found).split())


@pytest.mark.long
def test_steps_of_epochs_without_an_evaluation_are_counted():
    every = EvaluateEvery(X, Y, every=STEPS + 2)
    loop.fit(mlp(), X, Y, **{**FIT, "epochs": 4}, callbacks=[every])
    assert every.history["step"] == [STEPS + 2, 2 * (STEPS + 2)]


@pytest.mark.long
@pytest.mark.bits
def test_a_loss_that_is_a_sum_keeps_its_bits_while_it_is_read():
    (scenario,) = find(["single_samples"])  # TensorFlow regroups the sum unless others read it
    histories = []
    for callbacks in ([], [NanHunter()]):
        keras.utils.set_random_seed(0)
        model = scenario.build()
        fit = {**scenario.data(), "verbose": 0, "plan": "step", "callbacks": callbacks}
        histories.append(loop.fit(model, **fit).history)
    assert histories[0] == histories[1]
