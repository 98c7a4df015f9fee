"""Plan "fastest": what it tries, what it keeps, and what it never does."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

import loop
from compare.scenarios.first import perceptron, uniform
from loop.data import make_source
from loop.engine import measure
from loop.engine.kinds import TRAIN
from loop.engine.measure import measured
from loop.engine.model_step import ModelStep
from loop.engine.plan import OnePass, decide
from loop.engine.program import COMPILATIONS

X, Y = uniform(160)
SMALL = {"x": X[:100], "y": Y[:100], "validation_data": (X[100:], Y[100:]), "verbose": 0}


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch):
    """No model was measured in this process."""
    monkeypatch.setattr(measure, "_costs", {})
    monkeypatch.setattr(measure, "_overrun", 1.0)


@pytest.fixture
def model():
    return new_model()


def new_model():
    keras.utils.set_random_seed(3)
    return perceptron()


def compiled_of(model, source):
    return ModelStep(model, TRAIN).compiled(source.spec)


@pytest.fixture
def timed(monkeypatch):
    """Every compilation that was timed; steps take the seconds in `TOOK`."""
    names = []

    def seconds(_compiled, _source, compilation):
        names.append(compilation)
        return TOOK[compilation]

    monkeypatch.setattr(measure, "_seconds_per_step", seconds)
    return names


TOOK = {"fused": 3.0, "fused over XLA steps": 2.0, "xla": 1.0}


@pytest.mark.long
def test_fastest_leaves_a_dataset_alone_and_trains_on_it(model):
    dataset = tf.data.Dataset.from_tensor_slices((X, Y)).batch(32)
    said = loop.explain(model, dataset, shuffle=False, plan="fastest").measured
    assert "would draw from the dataset" in said
    history = loop.fit(model, dataset, shuffle=False, verbose=0, plan="fastest")
    assert len(history.history["loss"]) == 1
    loop.evaluate(model, dataset, verbose=0, plan="fastest")


@pytest.mark.long
def test_fastest_measures_once_says_so_and_does_not_disturb_the_training(model, capsys):
    before = [variable.numpy() for variable in model.variables]
    found = loop.explain(model, **SMALL, plan="fastest")
    assert found.plan in COMPILATIONS
    assert "us" in found.measured
    for value, variable in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(value, variable.numpy())
    assert int(model.optimizer.iterations) == 0
    said = "fastest for train_function: "
    loop.fit(model, **{**SMALL, "verbose": 2}, plan="fastest")
    assert said not in capsys.readouterr().out, "it was measured before"
    model.compile("adam", "binary_crossentropy")
    loop.fit(model, **{**SMALL, "verbose": 2}, plan="fastest")
    assert said in capsys.readouterr().out


@pytest.mark.long
def test_fastest_picks_the_compilation_that_took_least(monkeypatch, model):
    took = {"fused": 3.0, "fused over XLA steps": 2.0, "xla": 5.0}
    monkeypatch.setattr("loop.engine.measure._seconds_per_step", lambda *_: took[_[-1]])
    source = make_source(X, Y)
    decision = decide("fastest", ModelStep(model, TRAIN), source, OnePass(5), print)
    assert decision.compilation == "fused over XLA steps"


@pytest.mark.long
def test_a_compilation_that_fails_is_never_picked_and_is_named(monkeypatch, model):
    def seconds(_compiled, _source, compilation):
        if compilation != "fused":
            raise tf.errors.InvalidArgumentError(None, None, "XLA does not know this op")
        return 1.0

    monkeypatch.setattr("loop.engine.measure._seconds_per_step", seconds)
    said = []
    source = make_source(X, Y)
    found = measured(compiled_of(model, source), source, "train_function", said.append)
    assert found.compilation == "fused"
    assert "XLA does not know this op" in said[0]


def found_for(model, steps):
    source = make_source(X, Y)
    return measured(compiled_of(model, source), source, "train_function", lambda _: None, steps)


@pytest.mark.long
def test_a_short_fit_times_nothing(timed, model):
    found = found_for(model, measure.MIN_STEPS - 1)
    assert (found.compilation, timed) == ("fused", [])
    assert "20,000 steps" in str(found)


@pytest.mark.long
def test_a_short_fit_builds_what_plan_auto_builds():
    built = []
    for plan in ("auto", "fastest"):
        model = new_model()
        loop.fit(model, **SMALL, epochs=2, plan=plan)
        built.append(
            [key.runs for key in compiled_of(model, make_source(X[:100], Y[:100])).programs]
        )
    assert built[0] == built[1]


@pytest.mark.long
def test_a_long_fit_tries_what_may_pay_back_within_its_share(timed, model):
    found = found_for(model, measure.MIN_STEPS)  # of 3 seconds each
    assert timed == ["fused", "xla", "fused over XLA steps"]
    assert found.compilation == "xla"


@pytest.mark.long
def test_nothing_is_compiled_that_takes_more_than_the_share_of_the_fit(monkeypatch, timed, model):
    monkeypatch.setitem(TOOK, "fused", 1e-4)
    found = found_for(model, measure.MIN_STEPS)  # of two seconds in all
    assert timed == ["fused"]
    assert found.compilation == "fused"
    assert "more than it may save" in found.left_out["xla"]


@pytest.mark.long
def test_twenty_seeds_of_a_model_measure_once_and_compile_nothing_for_a_few_steps(timed):
    found = [found_for(new_model(), 1000) for _ in range(20)]
    assert timed == ["fused", "xla", "fused over XLA steps"], "when the seeds had 20,000 steps"
    assert {one.compilation for one in found[:19]} == {"fused"}


@pytest.mark.long
def test_what_is_known_of_a_class_is_weighed_against_compiling_it_again(timed):
    found_for(new_model(), math.inf)
    (costs,) = measure._costs.values()
    costs.to_build["xla"] = costs.to_build["fused over XLA steps"] = 100.0
    timed.clear()
    assert found_for(new_model(), 10).compilation == "fused", "20 seconds are less than 100"
    assert found_for(new_model(), 1000).compilation == "xla"
    assert not timed


@pytest.mark.long
def test_fits_of_a_model_add_up(timed, model):
    found_for(new_model(), math.inf)
    (costs,) = measure._costs.values()
    costs.to_build["xla"] = costs.to_build["fused over XLA steps"] = 100.0
    assert [found_for(model, 20).compilation for _ in range(4)] == ["fused"] * 2 + ["xla"] * 2


@pytest.mark.long
def test_a_compile_that_overruns_makes_the_next_one_expected_later(monkeypatch, timed, model):
    monkeypatch.setattr(measure, "SECONDS_PER_OP", 0.0)
    monkeypatch.setattr(measure, "SECONDS", 1e-9)
    found_for(model, math.inf)
    assert measure._overrun > 10


@pytest.mark.long
def test_the_share_of_a_fit_counts_all_of_its_epochs(timed, model):
    loop.fit(model, X, Y, batch_size=1, epochs=2, verbose=0, plan="fastest")
    assert not timed
    (costs,) = measure._costs.values()
    assert costs.steps == 2 * len(X)


@pytest.mark.long
def test_steps_that_print_are_neither_timed_nor_compiled_with_xla(timed, model, capfd):
    def my_step(model, batch):
        tf.print("a step")
        return loop.train_step(model, batch)

    found = loop.explain(model, **SMALL, train_step=my_step, plan="fastest")
    assert (found.plan, timed) == ("fused", [])
    assert "would repeat the effects of PrintV2" in found.measured
    assert "a step" not in capfd.readouterr().err
    loop.fit(model, **SMALL, train_step=my_step, plan="fastest")
    assert capfd.readouterr().err.count("a step") == 4


@pytest.mark.long
def test_random_ops_whose_state_is_in_the_graph_run_step_by_step_and_raise_nothing():
    noise = keras.layers.Lambda(lambda x: x + tf.random.normal(tf.shape(x)))
    model = keras.Sequential([keras.Input((10,)), noise, keras.layers.Dense(1)])
    model.compile("adam", "mse")
    assert loop.explain(model, **SMALL, plan="fastest").plan == "step"
    loop.fit(model, **SMALL, plan="fastest")


@pytest.mark.long
def test_ops_that_xla_does_not_know_leave_it_out(model):
    def my_step(model, batch):
        tf.strings.length(tf.strings.as_string(batch[0][0, 0]))
        logs = loop.train_step(model, batch)
        return {
            **logs,
            "length": tf.cast(tf.strings.length(tf.strings.as_string(logs["loss"])), "float32"),
        }

    before = [variable.numpy() for variable in model.variables]
    found = loop.explain(model, **SMALL, train_step=my_step, plan="fastest")
    assert found.plan == "fused"
    assert "xla: " in found.measured
    for value, variable in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(value, variable.numpy())


def test_it_says_where_xla_may_draw_other_random_numbers(timed):
    model = keras.Sequential([keras.Input((10,)), keras.layers.Dropout(0.5), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    assert "other random numbers" in str(found_for(model, math.inf))
