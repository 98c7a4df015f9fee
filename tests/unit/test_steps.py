"""The loop in one's own hands: `loop.steps`, fit without data, every N steps, stops of readers."""

import gc
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.data.ops.iterator_ops import OwnedIterator

import loop
from loop.callbacks import BatchHooks, Callbacks, logs_only
from loop.engine.program import Programs
from loop.metrics import kept_metrics

X = np.random.default_rng(0).uniform(size=(44, 4)).astype("float32")
Y = X[:, :1] * X[:, 1:2]
VALIDATION = X[:20] / 2, Y[:20]
PLANS = ("step", "fused", "auto")
SMALL = {"epochs": 3, "batch_size": 8, "verbose": 0}


def model(optimizer="adam", **arguments):
    """A model whose step changes more than weights: seeds, moving averages, metrics."""
    keras.utils.set_random_seed(1)
    layers = [
        *(keras.Input((4,)), keras.layers.Dense(3), keras.layers.BatchNormalization()),
        *(keras.layers.Dropout(0.3), keras.layers.Dense(1)),
    ]
    built = keras.Sequential(layers)
    built.compile(optimizer, "mse", metrics=["mae"], **arguments)
    return built


def state(trained):
    """Every variable of a model, of its optimizer and of its metrics."""
    metrics = [variable for metric in trained.metrics for variable in metric.variables]
    return [
        keras.ops.convert_to_numpy(v)
        for v in (*trained.variables, *trained.optimizer.variables, *metrics)
    ]


def same_state(one, other):
    pairs = zip(state(one), state(other), strict=True)
    return all(np.array_equal(*pair) for pair in pairs)


def batches():
    """Batches of arrays, the last one short."""
    return ((X[at : at + 8], Y[at : at + 8]) for at in range(0, 44, 8))


def dataset():
    return tf.data.Dataset.from_tensor_slices((X, Y)).batch(8)


class Batches(keras.utils.PyDataset):
    """The batches by index; counts the calls of its hook."""

    ended = 0
    num_batches = 6

    def __getitem__(self, index):
        return X[index * 8 : index * 8 + 8], Y[index * 8 : index * 8 + 8]

    def on_epoch_end(self):
        self.ended += 1


SOURCES = {
    "arrays": (lambda: (X, Y), {"batch_size": 8}),
    "arrays in another number of steps": (lambda: (X, Y), {"batch_size": 8, "steps_per_epoch": 2}),
    "dataset": (lambda: (dataset(), None), {}),
    "dataset of unknown size": (lambda: (dataset().filter(lambda x, y: True), None), {}),
    "generator": (lambda: (batches(), None), {"steps_per_epoch": 2}),
    "workers": (lambda: (Batches(workers=2), None), {}),
}


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("kind", "plan"), [*((kind, "fused") for kind in SOURCES), *(("arrays", p) for p in PLANS[::2])]
)
@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_steps_have_the_bits_of_fit_whatever_one_does_between_them(kind, plan, tmp_path):
    make, arguments = SOURCES[kind]
    x, y = make()
    shuffle = kind.startswith("arrays")
    by_fit = model()
    expected = loop.fit(by_fit, x, y, epochs=3, plan=plan, shuffle=shuffle, verbose=0, **arguments)
    x, y = make()
    by_steps, seen = model(), {}
    data = (x,) if y is None else (x, y)
    for step, logs in loop.steps(
        by_steps, data, every=2, epochs=3, plan=plan, shuffle=shuffle, **arguments
    ):
        seen[step] = logs
        loop.evaluate(by_steps, *VALIDATION, verbose=0)
        by_steps.save_weights(tmp_path / "saved.weights.h5")
    assert same_state(by_fit, by_steps)
    assert by_steps.history.history == expected.history
    each = len(seen) * 2 // 3
    assert list(seen) == list(range(2, 3 * each + 1, 2))
    for epoch in range(3):
        for name, values in expected.history.items():
            assert seen[each * (epoch + 1)][name] == values[epoch]


@pytest.mark.long
def test_control_comes_at_every_multiple_and_once_after_the_last_step():
    def yielded(**arguments):
        return [step for step, _ in loop.steps(model(), (X, Y), batch_size=8, **arguments)]

    assert yielded(every=4, epochs=3) == [4, 8, 12, 16, 18]
    assert yielded(every=6, epochs=2) == [6, 12]
    assert yielded(every=100) == [6]
    assert yielded(every=1, steps_per_epoch=3) == [1, 2, 3]
    assert yielded(epochs=0) == []
    in_executions = model(steps_per_execution=2)
    steps = loop.steps(in_executions, (X, Y), every=3, epochs=2, batch_size=8)
    assert [step for step, _ in steps] == [4, 6, 10, 12]


@pytest.mark.long
def test_the_steps_between_two_yields_share_a_call(monkeypatch):
    calls = []
    original = Programs.run_steps

    def counted(self, inputs, start, count, *rest):
        calls.append(count)
        return original(self, inputs, start, count, *rest)

    monkeypatch.setattr(Programs, "run_steps", counted)
    list(loop.steps(model(), (X, Y), every=5, epochs=2, batch_size=8, plan="fused"))
    assert calls == [5, 1, 4, 2]


@pytest.mark.long
@pytest.mark.parametrize("plan", PLANS)
def test_a_rate_set_between_two_steps_holds_from_the_next_one_on(plan):
    class Halves(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch in (1, 3):
                self.model.optimizer.learning_rate = float(self.model.optimizer.learning_rate) / 2

    by_fit, by_steps = model(), model()
    loop.fit(by_fit, X, Y, batch_size=8, callbacks=[Halves()], verbose=0, plan=plan)
    for step, _ in loop.steps(by_steps, (X, Y), every=2, batch_size=8, plan=plan):
        if step < 6:
            by_steps.optimizer.learning_rate = float(by_steps.optimizer.learning_rate) / 2
    assert same_state(by_fit, by_steps)


@pytest.mark.long
def test_without_epochs_it_goes_on_until_the_break():
    trained = model()
    for step, _ in loop.steps(trained, (X, Y), every=7, epochs=None, batch_size=8):
        if step == 21:
            break
    assert int(trained.optimizer.iterations) == 21
    by_fit = model()
    loop.fit(by_fit, X, Y, steps_per_epoch=21, batch_size=8, verbose=0, epochs=0)
    loop.fit(by_fit, *(np.concatenate([part] * 3) for part in (X, Y)), batch_size=8, verbose=0)
    assert int(by_fit.optimizer.iterations) == 17


@pytest.mark.long
def test_averages_become_the_weights_at_the_end_and_not_after_a_break():
    def with_averages():
        return model(keras.optimizers.Adam(use_ema=True, ema_momentum=0.5))

    by_fit, to_the_end, broken = with_averages(), with_averages(), with_averages()
    loop.fit(by_fit, X, Y, batch_size=8, verbose=0)
    for _, _ in loop.steps(to_the_end, (X, Y), every=6, batch_size=8):
        before = to_the_end.get_weights()
    assert same_state(by_fit, to_the_end)
    for _ in loop.steps(broken, (X, Y), every=6, batch_size=8):
        break
    assert all(map(np.array_equal, broken.get_weights(), before))
    broken.optimizer.finalize_variable_values(broken.trainable_weights)
    assert all(map(np.array_equal, broken.get_weights(), by_fit.get_weights()))


def count_of(kind):
    gc.collect()
    return sum(isinstance(each, kind) for each in gc.get_objects())


@pytest.mark.long
def test_a_break_leaves_no_iterator_and_no_thread_behind():
    trained = model()
    list(loop.steps(trained, batches(), every=3, steps_per_epoch=3))
    iterators, threads = count_of(OwnedIterator), threading.active_count()
    with_workers = Batches(workers=2)
    for source in (dataset(), batches(), with_workers):
        for _ in loop.steps(trained, source, every=1, steps_per_epoch=3):
            break
    assert count_of(OwnedIterator) == iterators
    assert threading.active_count() == threads
    assert with_workers.ended == 2  # before the first epoch, as in Keras, and at the break


@pytest.mark.long
def test_metrics_are_kept_around_an_evaluation_those_of_attributes_too():
    class Counts(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(1)
            self.seen = keras.metrics.Sum(name="seen")

        def call(self, inputs):
            return self.dense(inputs)

        def train_step(self, data):
            self.seen.update_state(tf.shape(data[0])[0])
            return super().train_step(data)

    trained = Counts()
    trained.compile("sgd", "mse", metrics=["mae"])
    trained.fit(X, Y, verbose=0, batch_size=11)
    before = trained.get_metrics_result()
    assert before["seen"] == 44
    with kept_metrics(trained):
        loop.evaluate(trained, *VALIDATION, verbose=0)
        assert trained.get_metrics_result()["seen"] == 0
    assert trained.get_metrics_result() == before


def test_advice_reaches_the_errors_of_later_steps():
    def shapes():
        yield from [(X[:8], Y[:8])] * 2
        yield X[:8, :3], Y[:8]

    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        list(loop.steps(model(), shapes(), every=1, plan="step"))
    assert any("another shape than its first two" in note for note in caught.value.__notes__)


# Without data.


def draws(trained, batch):
    """A step that makes its own data; it counts how often the batch is None while it is traced."""
    assert batch is None
    x = keras.random.uniform((8, 4), seed=trained.seed)
    return loop.train_step(trained, (x, x[:, :1]))


def with_seed():
    trained = model()
    trained.seed = keras.random.SeedGenerator(3)
    return trained


class Draws(keras.Sequential):
    """The same as a `train_step` of Keras, which needs batches to ignore."""

    def train_step(self, data):
        x = keras.random.uniform((8, 4), seed=self.seed)
        return super().train_step((x, x[:, :1]))


@pytest.mark.long
@pytest.mark.parametrize("plan", PLANS)
def test_a_step_without_data_trains_as_one_that_ignores_its_batches(plan):
    trained, by_steps, built = with_seed(), with_seed(), model()
    by_keras = Draws(built.layers)
    by_keras.seed = keras.random.SeedGenerator(3)
    by_keras.compile("adam", "mse", metrics=["mae"])
    ignored = np.zeros((20, 1), "float32")
    expected = keras.Model.fit(by_keras, ignored, batch_size=1, epochs=3, verbose=0)
    arguments = {"steps_per_epoch": 20, "epochs": 3, "train_step": draws, "plan": plan}
    history = loop.fit(trained, verbose=0, **arguments)
    assert history.history == expected.history
    assert all(map(np.array_equal, trained.get_weights(), by_keras.get_weights()))
    assert [step for step, _ in loop.steps(by_steps, None, every=25, **arguments)] == [25, 50, 60]
    assert same_state(trained, by_steps)


@pytest.mark.long
@pytest.mark.parametrize("plan", ["fused", "xla"])
def test_whole_epochs_without_data_share_a_call(plan, monkeypatch):
    calls = []
    original = Programs.run_epochs

    def counted(self, *arguments):
        progress, *logs = original(self, *arguments)
        calls.append(progress.epochs)
        return progress, *logs

    monkeypatch.setattr(Programs, "run_epochs", counted)
    trained = with_seed()
    arguments = {"steps_per_epoch": 4, "epochs": 30, "verbose": 0, "train_step": draws}
    loop.fit(trained, plan=plan, **arguments)
    assert sum(calls) == 30
    assert len(calls) < 10
    assert int(trained.optimizer.iterations) == 120


@pytest.mark.long
def test_explain_says_that_there_are_no_data():
    arguments = {"steps_per_epoch": 4, "epochs": 30, "verbose": 0, "train_step": draws}
    described = str(loop.explain(with_seed(), **arguments, step=True))
    assert "none: the step gets None in place of a batch" in described
    assert "4 batches an epoch\n" in described


# Without the short last batch.


@pytest.mark.long
@pytest.mark.parametrize("plan", [*PLANS, "xla"])
def test_a_remainder_is_dropped_as_tf_data_drops_it(plan):
    keras.utils.set_random_seed(1)
    order = loop.data.make_source(X, shuffle=True).new_pass().inputs[1].numpy()
    assert not np.array_equal(order, np.arange(44))
    rows = tf.data.Dataset.from_tensor_slices((X[order], Y[order]))
    batched = rows.batch(8, drop_remainder=True)
    trained, by_steps, by_keras = model(), model(), model(jit_compile=plan == "xla")
    expected = keras.Model.fit(by_keras, batched, epochs=3, verbose=0, shuffle=False)
    history = loop.fit(trained, X, Y, **SMALL, plan=plan, drop_remainder=True)
    assert int(trained.optimizer.iterations) == 15
    for _ in loop.steps(by_steps, (X, Y), epochs=3, batch_size=8, plan=plan, drop_remainder=True):
        pass
    assert same_state(trained, by_steps)
    if plan != "xla":
        assert history.history == expected.history
        assert same_state(trained, by_keras)


@pytest.mark.sampled
@pytest.mark.parametrize("kind", ["sparse", "weighted", "split", "batch"])
def test_a_remainder_is_dropped_from_all_kinds_of_arrays(kind):
    x = tf.sparse.from_dense(X) if kind == "sparse" else X
    more = {"weighted": {"sample_weight": Y[:, 0]}, "split": {"validation_split": 0.1}}
    arguments = {**SMALL, **more.get(kind, {}), "shuffle": "batch" if kind == "batch" else False}
    trained = model()
    loop.fit(trained, x, Y, drop_remainder=True, **arguments)
    assert int(trained.optimizer.iterations) == 3 * (4 if kind == "split" else 5)
    if kind != "batch":
        leading, rows = model(), 32 if kind == "split" else 40
        first = tf.sparse.from_dense(X[:rows]) if kind == "sparse" else X[:rows]
        if kind == "weighted":
            arguments["sample_weight"] = Y[:rows, 0]
        elif kind == "split":
            del arguments["validation_split"]
        loop.fit(leading, first, Y[:rows], **arguments)
        assert all(map(np.array_equal, trained.get_weights(), leading.get_weights()))


# Every N steps.


@pytest.mark.sampled
@pytest.mark.parametrize(("plan", "every"), [*((p, 4) for p in (*PLANS, "xla")), ("fused", 9)])
def test_evaluations_every_few_steps_leave_the_training_as_it_is(plan, every):
    alone, evaluated, by_steps = model(), model(), model()
    arguments = {**SMALL, "validation_data": VALIDATION, "plan": plan}
    expected = loop.fit(alone, X, Y, **arguments)
    history = loop.fit(evaluated, X, Y, **arguments, eval_every=every)
    assert history.history == expected.history
    assert same_state(alone, evaluated)
    by_hand = {"step": [], "val_loss": [], "val_mae": []}
    evaluation = {"batch_size": 8, "return_dict": True, "verbose": 0, "plan": plan}
    for step, _ in loop.steps(by_steps, (X, Y), every=every, epochs=3, batch_size=8, plan=plan):
        if step % every == 0:
            logs = loop.evaluate(by_steps, *VALIDATION, **evaluation)
            by_hand["step"].append(step)
            by_hand["val_loss"].append(logs["loss"])
            by_hand["val_mae"].append(logs["mae"])
    assert history.evaluations == by_hand
    assert by_hand["step"] == list(range(every, 19, every))


@pytest.mark.long
def test_the_steps_between_evaluations_are_fused_and_so_are_epochs_without_any(monkeypatch):
    calls = []
    for name in ("run_steps", "run_epochs"):
        original = getattr(Programs, name)

        def counted(self, *arguments, original=original, name=name):
            calls.append((name, self.compiled.on_batch))
            return original(self, *arguments)

        monkeypatch.setattr(Programs, name, counted)
    trained = model()
    history = loop.fit(trained, X, Y, **SMALL, validation_split=0.2, eval_every=12, plan="fused")
    assert history.evaluations["step"] == [12]
    (step,) = {step for name, step in calls if name == "run_epochs"}
    names = [name for name, used in calls if used is step]
    assert names == ["run_epochs", "run_epochs", "run_steps", "run_steps"]


def test_explain_takes_what_fit_takes():
    described = loop.explain(
        model(), X, Y, **SMALL, validation_split=0.2, eval_every=3, drop_remainder=True
    )
    assert "after each epoch, and every 3 steps" in str(described)
    assert "3 samples left out by drop_remainder" in " ".join(str(described).split())
    assert "EvaluateValidation looks at some batches" in str(described)


# Callbacks that read logs and stop.


class Stops(keras.callbacks.Callback):
    """Stops after so many batches, and remembers its calls."""

    def __init__(self, at):
        super().__init__()
        self.at, self.calls, self.ended = at, [], 0

    def on_train_batch_begin(self, batch, logs=None):
        self.calls.append(("begin", batch))

    def on_train_batch_end(self, batch, logs=None):
        self.calls.append(("end", batch, logs["loss"]))
        self.ended += 1
        if self.ended == self.at:
            self.model.stop_training = True


@pytest.mark.long
@pytest.mark.parametrize(
    ("plan", "at"), [*((p, 9) for p in (*PLANS, "xla")), *(("fused", at) for at in (1, 3, 6))]
)
def test_a_reader_that_stops_leaves_the_state_of_that_very_step(at, plan):
    ordinary, reader = Stops(at), logs_only(Stops(at))
    expected, trained = model(), model()
    arguments = {**SMALL, "validation_data": VALIDATION, "plan": plan}
    stopped = loop.fit(expected, X, Y, callbacks=[ordinary], **arguments)
    history = loop.fit(trained, X, Y, callbacks=[reader], **arguments)
    assert int(trained.optimizer.iterations) == at
    assert same_state(expected, trained)
    assert history.history == stopped.history
    assert history.epoch == stopped.epoch
    assert reader.calls == ordinary.calls


@pytest.mark.long
def test_other_callbacks_are_called_for_the_step_of_the_stop_with_its_state():
    class Looks(keras.callbacks.Callback):
        seen = ()

        def on_train_batch_end(self, batch, logs=None):
            self.seen = (*self.seen, (batch, int(self.model.optimizer.iterations)))

    loop.callbacks.register_cadence(Looks, 60)
    looks = Looks()
    callbacks = [logs_only(Stops(4)), looks]
    loop.fit(model(), X, Y, **SMALL, callbacks=callbacks, plan="fused")
    assert looks.seen == ((3, 4),)


@pytest.mark.long
def test_over_a_dataset_a_reader_stops_after_the_call_and_fit_says_so_once():
    reader, trained = logs_only(Stops(2)), model()
    with pytest.warns(UserWarning, match="remove `logs_only` or pass arrays") as caught:
        loop.fit(
            trained, dataset(), epochs=2, shuffle=False, verbose=0, callbacks=[reader], plan="fused"
        )
    assert len(caught) == 1
    assert int(trained.optimizer.iterations) == reader.ended == 6


def test_copies_are_kept_only_for_readers_that_may_stop(tmp_path):
    board = keras.callbacks.TensorBoard(tmp_path, update_freq="batch", write_graph=False)

    def may_stop(*callbacks):
        hooks: BatchHooks = Callbacks(list(callbacks)).training
        assert hooks.horizon(0).record
        return hooks.horizon(0).may_stop

    assert not may_stop(board)
    assert may_stop(board, logs_only(Stops(1)))


@pytest.mark.long
def test_steps_are_counted_as_they_run_where_an_execution_is_longer_than_the_data():
    def model_of_executions():
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input([3]), keras.layers.Dense(1)])
        model.compile("sgd", "mse", steps_per_execution=4)
        return model

    x, y = np.ones([100, 3], "float32"), np.ones([100, 1], "float32")
    fit = {"batch_size": 20, "epochs": 2}  # 5 steps an epoch: an execution of 4, and one of 1
    model, seen = model_of_executions(), []
    for step, _ in loop.steps(model, (x, y), every=4, **fit):
        seen.append((step, int(model.optimizer.iterations)))
    assert seen == [(4, 4), (9, 9), (10, 10)]
    callback = loop.callbacks.EvaluateEvery(x, y, every=4)
    evaluated = loop.fit(
        model_of_executions(), x, y, **fit, validation_data=(x, y), eval_every=4, verbose=0,
        callbacks=[callback],
    ).evaluations  # fmt: skip
    assert evaluated["step"] == callback.history["step"] == [4, 9]
