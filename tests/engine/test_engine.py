"""Many steps in one call: the same bits however they are cut, and costs that are arithmetic."""

import dataclasses
import gc
import weakref
from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf
from references import differences_from_keras

import loop
from compare import Recorder, find, record
from compare.scenarios.first import perceptron, uniform
from loop.data import make_source
from loop.engine import program
from loop.engine.climb import SingleSteps
from loop.engine.kinds import TRAIN
from loop.engine.loops import MAX_EPOCHS, MAX_RECORDED
from loop.engine.measure import possible_compilations
from loop.engine.model_step import ModelStep
from loop.engine.plan import OnePass
from loop.engine.program import Programs, StepTimer
from loop.engine.run import Runner
from loop.types import Horizon, Segment

pytestmark = pytest.mark.bits

X, Y = uniform(160)
SMALL = {"x": X[:100], "y": Y[:100], "validation_data": (X[100:], Y[100:]), "verbose": 0}
STEPS, LOGS = 4, 2  # 100 samples in batches of 32; loss and accuracy


@pytest.fixture
def model():
    keras.utils.set_random_seed(3)
    return perceptron()


@pytest.fixture(autouse=True)
def _larger_programs_pay_at_once(monkeypatch):
    """As in long fits, which these tests cannot wait for; `test_climb.py` has the rule itself."""
    monkeypatch.setattr(SingleSteps, "pays", lambda self, program, left: True)


@pytest.fixture
def calls(monkeypatch):
    """The concrete function of every call of a program."""
    made = []
    original = program.flat_call

    def counting(function):
        run = original(function)
        return lambda *arguments: made.append(function) or run(*arguments)

    monkeypatch.setattr(program, "flat_call", counting)
    return made


@pytest.fixture
def reads(monkeypatch):
    """Every tensor whose value came from the device to Python."""
    made = []
    owner = next(base for base in type(tf.constant(0)).__mro__ if "numpy" in vars(base))
    original = owner.numpy
    monkeypatch.setattr(owner, "numpy", lambda self: made.append(self) or original(self))
    return made


@pytest.fixture
def no_time(monkeypatch):
    """Every call has no time left from its start, so it runs one step and hands back control."""
    monkeypatch.setattr(program, "_seconds", lambda _: tf.constant(0.0, tf.float64))


def warm(model, **arguments):
    for _ in range(2):
        loop.fit(model, **{**SMALL, **arguments})


class Watching(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append((batch, dict(logs)))


class Looking(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        self.logs = logs


PROGRESS = 1  # the read that says how far a call came


@pytest.mark.long
def test_a_fit_that_no_callback_looks_into_is_one_call_and_one_read_for_each_log(
    model, calls, reads
):
    warm(model, epochs=7)
    calls.clear(), reads.clear()
    loop.fit(model, **SMALL, epochs=7)
    assert len(calls) == 1
    assert len(reads) == 2 * LOGS + PROGRESS, "training and validation"


@pytest.mark.long
def test_a_callback_that_looks_between_epochs_makes_one_call_and_its_reads_an_epoch(
    model, calls, reads
):
    warm(model, epochs=2)
    calls.clear(), reads.clear()
    loop.fit(model, **SMALL, epochs=7, callbacks=[Looking()])
    assert len(calls) == 7
    assert len(reads) == 7 * (2 * LOGS + PROGRESS)


@pytest.mark.long
def test_a_callback_that_looks_at_batches_makes_one_call_a_batch(model, calls):
    warm(model, callbacks=[Watching()])
    calls.clear()
    loop.fit(model, **SMALL, epochs=3, callbacks=[Watching()])
    assert len(calls) == 3 * (STEPS + 1), "validation is not looked at"


@pytest.mark.long
def test_a_callback_that_only_reads_logs_makes_one_call_an_epoch(model, calls):
    warm(model, callbacks=[loop.callbacks.logs_only(Watching())])
    calls.clear()
    loop.fit(model, **SMALL, epochs=3, callbacks=[loop.callbacks.logs_only(Watching())])
    assert len(calls) == 3 * (1 + 1), "training and validation"


@pytest.mark.long
def test_plan_step_reads_logs_once_an_epoch_where_no_callback_reads_them(model, reads):
    loop.fit(model, **SMALL, plan="step")
    reads.clear()
    loop.fit(model, **SMALL, epochs=3, plan="step")
    assert len(reads) == 3 * 2 * LOGS + LOGS, "and those of the last batch where it all ends"


def test_the_first_fit_of_a_model_is_one_call_and_builds_one_program(model, calls):
    loop.fit(model, **SMALL, epochs=7)
    assert len(calls) == 1


def busy(seconds):
    """Keep the processor busy inside a graph."""
    end = tf.timestamp() + seconds
    tf.while_loop(lambda _: tf.timestamp() < end, lambda turn: (turn + 1,), (tf.constant(0),))


def steps_of(samples):
    return {"x": X[:samples], "y": Y[:samples], "batch_size": 1, "verbose": 0}


def test_a_call_of_a_step_that_is_slow_from_the_start_ends_after_about_a_second(model, calls):
    def slow_step(model, batch):
        busy(0.1)
        return loop.train_step(model, batch)

    for _ in range(2):
        loop.fit(model, **steps_of(150))  # what is known of these steps says nothing of others
    calls.clear()
    loop.fit(model, **steps_of(25), train_step=slow_step)
    assert 3 <= len(calls) <= 25, "2.5 seconds"


def test_a_call_of_a_step_that_becomes_slow_ends_after_about_a_second(model, calls):
    is_slow = tf.Variable(False)

    def slows_down(model, batch):
        tf.cond(is_slow, lambda: busy(0.1) or 0, lambda: 0)
        logs = loop.train_step(model, batch)
        is_slow.assign(model.optimizer.iterations >= 250)
        return logs

    loop.fit(model, **steps_of(125), train_step=slows_down)
    calls.clear()
    loop.fit(model, **steps_of(25), epochs=6, train_step=slows_down)
    assert 3 <= len(calls) <= 26, "125 fast steps, then 2.5 seconds"


@pytest.mark.long
def test_a_validation_that_is_slow_is_run_in_calls_of_about_a_second(model, calls):
    def slow_step(model, batch):
        busy(0.1)
        return loop.test_step(model, batch)

    data = {"validation_data": (X[:25], Y[:25]), "validation_batch_size": 1}
    loop.fit(model, **steps_of(5), **data, test_step=slow_step)
    assert 3 <= len(calls) <= 25, "2.5 seconds"


def test_a_call_in_xla_runs_as_many_steps_as_the_last_call_allows():
    timer = StepTimer()
    assert timer.steps_within(1.0) == 1
    timer.measure(1, 0.0)  # hours ago: it compiled
    assert timer.steps_within(1.0) == 1
    timer.seconds_per_step = 0.3
    assert timer.steps_within(1.0) == 3
    timer.seconds_per_step = 30.0
    assert timer.steps_within(1.0) == 1


@pytest.mark.long
def test_the_first_call_of_a_fit_in_xla_is_short_since_the_step_may_have_become_slower(model):
    source = make_source(X, Y)
    programs = Programs(compiled_of(model, source), source, "xla")
    timer = StepTimer()
    timer.seconds_per_step = 0.01
    assert [programs._most_steps(timer, 1.0) for _ in range(3)] == [6, 100, 100]


@pytest.mark.parametrize("plan", ["fused", "xla", "fastest"])
def test_a_plan_that_must_fuse_says_why_it_cannot_and_trains_nothing(plan):
    model = perceptron()
    model.compile("sgd", "mse", run_eagerly=True)
    before = [weight.numpy() for weight in model.weights]
    with pytest.raises(ValueError, match="the step runs eagerly"):
        loop.fit(model, **SMALL, plan=plan)
    for value, weight in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(value, weight.numpy())


@pytest.mark.sampled
@pytest.mark.parametrize("callbacks", [[], [Watching()]], ids=["unwatched", "watched"])
def test_a_plan_that_must_fuse_refuses_a_validation_that_cannot_before_a_weight_moves(
    model, callbacks
):
    def my_test_step(model, batch):
        tf.py_function(lambda: None, [], [])
        return loop.test_step(model, batch)

    before = [weight.numpy() for weight in model.weights]
    with pytest.raises(ValueError, match="the step calls Python"):
        loop.fit(
            model, **SMALL, epochs=2, plan="fused", test_step=my_test_step, callbacks=callbacks
        )
    for value, weight in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(value, weight.numpy())


@pytest.mark.long
def test_another_learning_rate_holds_without_a_new_trace(model, calls):
    warm(model)
    traced = set(calls)
    model.optimizer.learning_rate = 0.0
    before = model.weights[0].numpy()
    loop.fit(model, **SMALL)
    np.testing.assert_array_equal(before, model.weights[0].numpy())
    assert set(calls) == traced


@pytest.mark.long
@pytest.mark.parametrize("plan", ["step", "auto"])
def test_a_first_fit_traces_the_step_once_where_keras_traces_it_twice(plan):
    traced = []

    class Counting(keras.layers.Layer):
        def call(self, x, training=False):
            traced.append(training)
            return x

    def traces_in_a_first_fit(fit):
        model = keras.Sequential([keras.Input((10,)), Counting(), keras.layers.Dense(1)])
        model.compile("adam", "mse", metrics=["mae"])
        traced.clear()
        fit(model, X, Y, verbose=0)
        return traced.count(True)

    assert traces_in_a_first_fit(keras.Model.fit) == 2
    assert traces_in_a_first_fit(partial(loop.fit, plan=plan)) == 1


@pytest.mark.long
def test_data_come_as_arguments_and_not_as_constants(model, calls):
    x = np.ones((50_000, 10), "float32")
    loop.fit(model, x, x[:, :1], verbose=0)
    assert all(one.graph.as_graph_def().ByteSize() < 500_000 < x.nbytes for one in calls)


@pytest.mark.long
def test_the_step_is_a_function_of_its_own_in_a_loop_that_is_lowered(model, calls):
    warm(model, epochs=2)
    library = calls[0].graph.as_graph_def().library.function
    nodes = [node for one in library for node in one.node_def]
    loops = [node for node in nodes if node.op in ("While", "StatelessWhile")]
    loops += [node for node in calls[0].graph.as_graph_def().node if node.op == "While"]
    assert len(loops) >= 2, "steps within epochs"
    assert all(node.attr["_lower_using_switch_merge"].b for node in loops)
    body = loops[-1].attr["body"].func.name
    assert any(node.op.endswith("PartitionedCall") for node in nodes), body


@pytest.mark.sampled
@pytest.mark.parametrize(("samples", "batch"), [(96, 32), (100, None)])
def test_the_batch_size_is_static_only_where_every_batch_has_it(model, samples, batch):
    source = make_source(X[:samples], Y[:samples])
    step = ModelStep(model, TRAIN).compiled(source.spec).on_batch
    assert step.structured_input_signature[0][0][0].shape[0] == batch


# However the steps of a scenario are cut into calls, its bits are those of Keras.

CUT = ["random_labels", "dataset", "steps_cut_the_pass", "steps_per_execution", "averages_swapped"]


def found_apart(scenario, candidate=loop.fit, watched="nothing"):
    """What differs from Keras where only so much is watched; one training under each."""
    ours = record(scenario, candidate, watched)[0]
    compared, found = differences_from_keras(scenario, ours, watched)
    assert compared > 20
    return [str(one) for one in found]


CUT += ["validation_freq_int", "early_stopping", "jit_compile", "learning_rates", "dataset_endless"]


@pytest.mark.sampled
@pytest.mark.parametrize("name", CUT)
def test_calls_that_end_after_each_step_have_the_same_bits(no_time, name):
    assert not found_apart(find([name])[0])


@pytest.mark.long
def test_an_execution_of_several_steps_is_completed_before_hooks_are_called(no_time):
    assert not found_apart(find(["steps_per_execution"])[0], watched="batches")


@pytest.mark.long
def test_calls_that_end_anywhere_have_the_same_bits(monkeypatch):
    moments = np.random.default_rng(0)
    monkeypatch.setattr(
        program, "_seconds", lambda _: tf.constant(moments.exponential(0.001), tf.float64)
    )
    assert not found_apart(find(["random_labels"])[0])


@pytest.mark.long
@pytest.mark.parametrize("name", ["random_labels", "early_stopping", "learning_rates", "files"])
def test_epochs_that_callbacks_look_at_have_the_same_bits(name):
    assert not found_apart(find([name])[0], watched="epochs")


READ_ONLY = [
    "random_labels",
    "dataset",
    "steps_cut_the_pass",
    "own_train_step",
    "steps_per_execution",
]


@pytest.mark.long
@pytest.mark.parametrize("name", READ_ONLY)
def test_a_callback_that_only_reads_logs_sees_the_same_in_the_same_order(monkeypatch, name):
    monkeypatch.setattr(Recorder, "logs_only", True, raising=False)  # Keras does not ask
    assert not found_apart(find([name])[0], watched="batches")


@pytest.mark.long
def test_of_more_steps_than_one_call_records_every_one_is_seen(model):
    reader = loop.callbacks.logs_only(Watching())
    samples = MAX_RECORDED + 5
    x, y = np.ones((samples, 10)), np.ones(samples)
    loop.fit(model, x, y, batch_size=1, callbacks=[reader], verbose=0)
    assert [batch for batch, _ in reader.seen] == list(range(samples))


@pytest.mark.long
def test_more_epochs_than_one_call_holds_are_the_same():
    (scenario,) = find(["validation_freq_list"])
    data = {**scenario.data(), "epochs": MAX_EPOCHS + 3, "validation_freq": [1, 2, 5, 60, 66]}
    assert not found_apart(dataclasses.replace(scenario, data=lambda: dict(data)))


def other_metrics():
    model = perceptron()
    model.compile("adam", "binary_crossentropy", metrics=["AUC", "Precision"])
    return model


@pytest.mark.long
def test_metrics_that_are_not_means_are_read_outside_of_graphs_and_are_the_same():
    (scenario,) = find(["last_partial_batch"])
    scenario = dataclasses.replace(scenario, build=other_metrics)
    assert not found_apart(scenario)
    found = loop.explain(other_metrics(), **scenario.data())
    assert "is not a mean" in found.reason


@pytest.mark.long
def test_a_step_that_writes_summaries_runs_step_by_step(tmp_path, model):
    def my_step(model, batch):
        tf.summary.write("one", 1.0, step=0)
        return loop.train_step(model, batch)

    with tf.summary.create_file_writer(str(tmp_path)).as_default():
        found = loop.explain(model, **SMALL, train_step=my_step)
    assert found.plan == "step"
    assert "summaries" in found.reason


@pytest.mark.long
def test_logs_of_no_fixed_shape_run_step_by_step(model):
    def my_step(model, batch):
        return {**loop.train_step(model, batch), "each": loop.last(batch[0][:, 0])}

    found = loop.explain(model, **SMALL, train_step=my_step)
    assert found.plan == "step"
    assert "'each'" in found.reason


@pytest.mark.long
def test_a_sum_added_to_a_total_keeps_the_bits_of_keras():
    alone, in_loops = find(["single_samples", "single_samples_in_loops"])
    by_keras = [record(one, keras.Model.fit)[0].history["loss"] for one in (alone, in_loops)]
    assert by_keras[0] != by_keras[1]  # otherwise there was nothing to keep
    assert "regroups" in loop.explain(alone.build(), **alone.data()).reason
    assert loop.explain(in_loops.build(), **in_loops.data()).plan == "fused"


def segment_of(source, steps, **horizon):
    return Segment(source.new_pass(), 0, 0, steps, Horizon(None, 1.0, **horizon))


@pytest.mark.long
def test_what_is_cached_with_the_model_does_not_hold_the_data(model):
    source = make_source(X, Y)
    held = weakref.ref(source)
    runner = Runner(ModelStep(model, TRAIN), source, "fused", OnePass(5), print)
    runner.run_steps(segment_of(source, 3)), runner.run_steps(segment_of(source, 1, record=True))
    del source, runner
    gc.collect()
    assert held() is None


def test_without_a_seed_each_epoch_of_a_call_has_an_order_of_its_own():
    tf.random.set_seed(None)
    try:
        orders = make_source(X, Y, shuffle=True).orders(3).numpy()
    finally:
        keras.utils.set_random_seed(0)
    assert len({tuple(one) for one in orders}) == 3
    assert all(sorted(one) == list(range(len(X))) for one in orders)


# What was broken once, by those who tried.


class Hooks(keras.callbacks.Callback):
    def __init__(self, **hooks):
        super().__init__()
        for name, hook in hooks.items():
            setattr(self, name, partial(hook, self))


def stop_training(self, *_, **__):
    self.model.stop_training = True


def stop_evaluating(self, *_, **__):
    self.model.stop_evaluating = True


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("name", "hooks"),
    [
        ("validation_steps", {"on_train_begin": stop_training}),
        ("validation_steps", {"on_epoch_begin": stop_training}),
        ("validation_steps", {"on_epoch_end": stop_training}),
        ("validation_steps", {"on_test_begin": stop_evaluating}),
        ("dataset", {"on_epoch_end": stop_training}),
    ],
    ids=lambda one: one if isinstance(one, str) else "-".join(one),
)
def test_a_stop_takes_effect_as_soon_as_in_keras(name, hooks):
    (scenario,) = find([name])
    original = scenario.data

    def data():
        return {**original(), "callbacks": [Hooks(**hooks)]}

    assert not found_apart(dataclasses.replace(scenario, data=data))


@pytest.mark.long
def test_random_ops_whose_state_is_in_the_graph_run_step_by_step():
    def build():
        noise = keras.layers.Lambda(lambda x: x + tf.random.normal(tf.shape(x)))
        model = keras.Sequential([keras.Input((10,)), noise, keras.layers.Dense(1)])
        model.compile("adam", "mse")
        return model

    (scenario,) = find(["no_shuffle"])
    scenario = dataclasses.replace(scenario, build=build)
    assert not found_apart(scenario)
    assert "RandomStandardNormal" in loop.explain(build(), **scenario.data()).reason


@pytest.mark.long
def test_a_step_that_calls_python_runs_step_by_step(model):
    def my_step(model, batch):
        tf.py_function(lambda: None, [], [])
        return loop.train_step(model, batch)

    found = loop.explain(model, **SMALL, train_step=my_step)
    assert found.plan == "step"
    assert "calls Python" in found.reason


@pytest.mark.long
def test_logs_of_another_dtype_than_the_metrics_of_that_name_are_the_same():
    class Wide(keras.Model):
        def train_step(self, data):
            return {key: tf.cast(v, tf.float64) for key, v in super().train_step(data).items()}

    def build():
        inputs = keras.Input((10,))
        model = Wide(inputs, keras.layers.Dense(1)(inputs))
        model.compile("sgd", "mse")
        return model

    (scenario,) = find(["no_shuffle"])
    assert not found_apart(dataclasses.replace(scenario, build=build))


@pytest.mark.long
def test_the_hook_set_on_a_history_is_called_at_every_epoch(model):
    history, seen = keras.callbacks.History(), []
    original = history.on_epoch_end

    def on_epoch_end(epoch, logs=None):
        original(epoch, logs)
        seen.append(float(model.weights[0][0, 0]))

    history.on_epoch_end = on_epoch_end
    loop.fit(model, **SMALL, epochs=4, callbacks=[history])
    assert len(set(seen)) == 4


# XLA, and what is measured.


@pytest.mark.long
@pytest.mark.parametrize("name", ["last_partial_batch"])
def test_plan_xla_has_the_bits_of_keras_with_jit_compile(name):
    scenario = find([name])[0].under_xla()
    assert not found_apart(scenario, partial(loop.fit, plan="xla"))


def compiled_of(model, source):
    return ModelStep(model, TRAIN).compiled(source.spec)


def test_convolutions_never_run_in_an_xla_loop_on_cpu():
    (scenario,) = find(["digits_cnn"])
    data = scenario.data()
    source = make_source(data["x"], data["y"])
    possible, left_out = possible_compilations(compiled_of(scenario.build(), source), source)
    assert possible[-1] == "fused over XLA steps"
    assert "convolutions" in left_out["xla"]
