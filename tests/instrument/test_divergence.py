"""Where two loops part, and why: of loops as people write them."""

import contextlib
import dataclasses
import pydoc
import runpy
import warnings
from functools import partial
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import loop
from compare import Recorder, assert_same, find, parity, record
from compare.diagnosis.broken import FitCall, fit_with, in_steps
from compare.diagnosis.diagnose import diagnose
from compare.diagnosis.rules import BROKEN, PATCHED, RULES
from compare.errors import ScenarioError
from compare.location.fingerprint import fingerprints
from compare.location.heat import heat_of
from compare.location.ingraph import InGraph
from compare.location.locate import locate, locate_in
from compare.location.tapped import TappedTrainings, run_tapped
from compare.recording.bits import same
from compare.recording.trials import Trainings
from compare.recording.ulps import farthest, ulps_between
from compare.scenario import Scenario

pytestmark = pytest.mark.bits


def build_lean():
    hidden = layers.Dense(5, "relu", kernel_regularizer="l2")
    model = keras.Sequential([keras.Input((6,)), hidden, layers.Dropout(0.3), layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


def data_lean():
    x = np.random.default_rng(5).normal(size=(40, 6)).astype("float32")
    return {"x": x, "y": (x[:, :1] > 0).astype("float32"), "batch_size": 8, "epochs": 2}


LEAN = Scenario("lean", "what trains in no time, 5 steps an epoch", build_lean, data_lean)


@pytest.mark.long
def test_where_a_loop_leaves_fit_is_found_inside_its_compiled_calls():
    found = locate(LEAN, BROKEN["training_flag"].fit)
    assert (found.epoch, found.step, found.stage) == (0, 0, "prediction"), found


@pytest.mark.long
def test_where_a_loop_leaves_fit_is_found_in_a_later_epoch():
    found = locate(LEAN, BROKEN["metric_reset"].fit)
    assert (found.epoch, found.step, found.stage) == (1, 0, "metrics"), found


@pytest.mark.long
def test_a_rule_is_named_by_the_bits_it_gives_and_the_missing_line_is_shown():
    some = [BROKEN[rule] for rule in ("epoch_mean", "regularization_losses", "training_flag")]
    (verdict, *_) = diagnose(LEAN, BROKEN["regularization_losses"].fit, rules=some)
    assert (verdict.rule, verdict.exact) == ("regularization_losses", True)
    assert "model.losses" in verdict.line
    assert verdict.line in str(verdict)


@pytest.mark.slow
def test_two_mistakes_are_named_together_as_the_readme_shows():
    example = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "two_mistakes.py"))
    found = diagnose(example["scenario"], example["fit"])
    assert [verdict.rule for verdict in found] == ["regularization_losses", "batch_size_weights"]
    assert found.rest in ("nothing", "rounding")  # a mean by NumPy may be another float


@pytest.mark.long
def test_the_weights_of_two_trainings_are_compared_step_by_step():
    heat = heat_of(LEAN, BROKEN["regularization_losses"].fit)
    assert heat.steps == list(range(10))
    kernel = heat.ulps[heat.variables.index("sequential/dense/kernel")]
    assert kernel[0] == 0
    assert (kernel[1:] > 0).all()
    (seeds,) = (heat.ulps[i] for i, one in enumerate(heat.variables) if "seed" in one)
    assert not seeds.any()
    assert "differ before step 1, in sequential/dense/kernel first" in str(heat)


@pytest.mark.long
def test_what_is_the_same_has_no_place_and_no_verdict():
    assert locate(LEAN) is None
    assert diagnose(LEAN) == []


def hand_written(model, x, y, batch_size, epochs, **_):
    """A loop as people write it: it returns plain lists, and calls no callback."""
    history = {"loss": []}
    for _ in range(epochs):
        model.reset_metrics()
        for start in range(0, len(x), batch_size):
            rows = slice(start, start + batch_size)
            logs = loop.train_step(model, (x[rows], y[rows]))
        history["loss"].append(float(logs["loss"]))
    return history


def plain():
    model = keras.Sequential([keras.Input((6,)), layers.Dense(1)])
    model.compile("sgd", "mse", run_eagerly=True)
    return model


def of_plain(seed=5):
    x = np.random.default_rng(seed).normal(size=(24, 6)).astype("float32")
    return {"x": x, "y": x[:, :1] * 2, "batch_size": 8, "epochs": 2, "shuffle": False}


PLAIN = Scenario("plain", "a loop of one's own", plain, of_plain)


@pytest.mark.long
def test_a_loop_that_returns_plain_lists_is_held_to_history_and_weights():
    assert_same(PLAIN, hand_written)
    assert "of history, weights and optimizer" in str(parity(PLAIN, hand_written))
    shuffled = dataclasses.replace(PLAIN, data=lambda: {**of_plain(), "shuffle": True})
    with pytest.raises(AssertionError, match="epoch 0, step 0, batch: batch/x/0"):
        assert_same(shuffled, hand_written)


@pytest.mark.long
def test_a_loop_with_metrics_of_its_own_is_not_blamed_for_them():
    def forgets_the_last_batch(model, x, y, batch_size, epochs, **_):
        mean, history = keras.metrics.Mean(), {"loss": []}
        for _ in range(epochs):
            mean.reset_state()
            for start in range(0, len(x) - batch_size, batch_size):
                rows = slice(start, start + batch_size)
                with tf.GradientTape() as tape:
                    loss = model.loss(y[rows], model(x[rows], training=True))
                gradients = tape.gradient(loss, model.trainable_variables)
                model.optimizer.apply(gradients, model.trainable_variables)
                mean.update_state(loss, sample_weight=batch_size)
            history["loss"].append(float(mean.result()))
        return history

    def compiled():
        model = plain()
        model.compile("sgd", keras.losses.MeanSquaredError(), run_eagerly=True)
        return model

    found = locate(dataclasses.replace(PLAIN, build=compiled), forgets_the_last_batch)
    assert (found.epoch, found.step, found.stage) == (0, 2, "batch"), found


@pytest.mark.long
# With such seeds the mean of (y_pred - y)**2 is another float than Keras's loss: with which ones,
# depends on the processor.
@pytest.mark.parametrize("seed", [5, 7])
def test_weights_updated_by_hand_are_followed_by_their_gradients(seed):
    def by_hand(model, x, y, batch_size, epochs, rate=0.01, **_):
        history = {"loss": []}
        for _ in range(epochs):
            total = 0.0
            for start in range(0, len(x), batch_size):
                rows = slice(start, start + batch_size)
                with tf.GradientTape() as tape:
                    loss = model.compute_loss(x[rows], y[rows], model(x[rows], training=True))
                weights = [variable.value for variable in model.trainable_variables]
                for weight, gradient in zip(weights, tape.gradient(loss, weights), strict=True):
                    weight.assign_sub(rate * gradient)
                total += float(loss) / 3
            history["loss"].append(total)
        return history

    scenario = dataclasses.replace(PLAIN, data=lambda: of_plain(seed) | {"epochs": 1})
    found = locate(scenario, partial(by_hand, rate=0.001))
    assert (found.epoch, found.step, found.stage) == (0, 0, "weights"), found


@pytest.mark.long
def test_another_optimizer_than_the_model_was_compiled_with_is_followed_too():
    def by_another(model, **arguments):
        optimizer = keras.optimizers.SGD(0.02)

        def step(model, batch):
            x, y, _ = keras.utils.unpack_x_y_sample_weight(batch)
            with tf.GradientTape() as tape:
                loss = model.compute_loss(x, y, model(x, training=True))
            weights = model.trainable_variables
            optimizer.apply(tape.gradient(loss, weights), weights)
            return {"loss": loss}

        return loop.fit(model, **arguments, train_step=step)

    found = locate(PLAIN, by_another)
    assert (found.epoch, found.step, found.stage) == (0, 0, "weights"), found


@pytest.mark.long
def test_callbacks_that_are_not_called_are_missed_between_epochs():
    def scheduled():
        halves = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / (1 + epoch))
        return of_plain() | {"callbacks": [halves]}

    of_schedule = dataclasses.replace(PLAIN, data=scheduled)
    for candidate in (hand_written, BROKEN["callbacks"].fit):
        found = locate(of_schedule, candidate)
        assert (found.epoch, found.step, found.stage) == (0, None, "between epochs"), found
        assert "learning_rate" in found.name


@pytest.mark.long
def test_a_reference_that_returns_plain_lists_is_as_good():
    assert locate(PLAIN, loop.fit, hand_written) is None
    assert_same(PLAIN, loop.fit, hand_written)


def test_a_reference_that_returns_nothing_is_no_training():
    with pytest.raises(ScenarioError, match="the reference: plain: a fit returns a History"):
        locate(PLAIN, loop.fit, lambda model, **_: None)


@pytest.mark.long
def test_two_mistakes_about_the_same_part_add_up():
    seen = []

    def noted(name):
        def mistake(original, *arguments):
            seen.append(name)
            return original(*arguments)

        return dataclasses.replace(BROKEN["epoch_mean"], breaks=in_steps("track_loss", mistake))

    same_as_none = record(LEAN, partial(fit_with, (noted("one"), noted("other"))), "epochs")[0]
    assert seen == ["other", "one"]  # once, while it is traced
    assert same(same_as_none, record(LEAN, keras.Model.fit, "epochs")[0])


@pytest.mark.long
def test_a_rule_that_a_scenario_cannot_do_without_is_told():
    def impossible(call):
        raise ValueError("no such model")

    rule = dataclasses.replace(BROKEN["batch_size_weights"], breaks=impossible)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert diagnose(LEAN, BROKEN["epoch_mean"].fit, rules=[rule]) == []
    words = "lean cannot be trained without batch_size_weights: ValueError: no such model"
    assert words in [str(one.message) for one in told]


@pytest.mark.long
def test_what_leaves_history_and_weights_alone_is_named_all_the_same():
    some = [BROKEN[rule] for rule in ("shuffle", "callbacks")]
    (verdict, *_) = diagnose(LEAN, BROKEN["callbacks"].fit, rules=some)
    assert (verdict.rule, verdict.exact) == ("callbacks", True)


@pytest.mark.long
def test_what_parts_only_in_the_hooks_of_batches_parts():
    def deaf(model, callbacks, **arguments):  # to those who listen to batches
        callbacks = [one for one in callbacks if type(one) is not Recorder]
        return loop.fit(model, **arguments, callbacks=callbacks)

    assert locate(PLAIN, deaf).stage not in ("weights", "logs")


@pytest.mark.slow
def test_ragged_rows_are_tapped_as_well():
    (ragged,) = find(["ragged_tensor"])
    found = locate(ragged, BROKEN["epoch_mean"].fit)
    assert (found.epoch, found.step, found.stage) == (0, 1, "metrics"), found


@pytest.mark.slow
def test_steps_that_xla_compiles_are_tapped_as_well():
    (scenario,) = find(["jit_compile"])
    found = locate(scenario, BROKEN["optimizer_epsilon"].fit)
    assert (found.epoch, found.step, found.stage) == (0, 0, "weights")
    assert found.index is not None
    assert found.reference != found.candidate


def test_inputs_that_differ_are_named_without_their_values_where_nobody_asks():
    def fit(model, **arguments):
        return loop.fit(model, **{**arguments, "shuffle": True})

    (scenario,) = find(["no_shuffle"])
    tapped = TappedTrainings(Trainings(scenario, fit))
    found = locate_in(tapped, captures_inputs=False)
    assert str(found) == "epoch 0, step 0, batch: batch/x/0 differs"
    assert str(locate_in(tapped)).startswith("epoch 0, step 0, batch: batch/x/0[0] is ")


def prints_of(*arrays):
    """The fingerprint of each array, hashed alone, hashed with the others, and in a graph."""
    tensors = [tf.constant(array) for array in arrays]
    alone = [int(fingerprints([tensor])[0]) for tensor in tensors]
    assert fingerprints(tensors).numpy().tolist() == alone
    in_graph = tf.function(fingerprints, autograph=False, reduce_retracing=True)
    assert in_graph([*tensors[1:], tensors[0][:0]])[:-1].numpy().tolist() == alone[1:]
    return alone


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int32", "uint8", "bool"])
def test_one_bit_elsewhere_is_another_fingerprint(dtype):
    values = np.random.default_rng(1).integers(0, 2, 50).astype(dtype)
    others = [np.roll(values, 1), values[:-1], np.where(np.arange(50) == 7, 1 - values, values)]
    prints = prints_of(*(one.astype(dtype) for one in (values, *others, values.copy())))
    assert len(set(prints)) == 4
    assert prints[-1] == prints[0]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_signs_are_seen_even_where_they_cancel(dtype):
    values = np.random.default_rng(2).normal(size=8).astype(dtype)
    pair = np.array([3, -3], dtype)
    assert len(set(prints_of(values, -values, pair, -pair))) == 4


def test_tensors_of_several_dtypes_are_hashed_in_the_order_given():
    mixed = [np.array([1.5, 2]), np.int32(3), np.array(["a", "b"]), np.zeros([0]), np.float32(1.5)]
    prints = prints_of(*mixed)
    assert len(set(prints)) == len(mixed)
    assert 0 not in prints


def test_the_farthest_element_counts_and_what_has_no_distance_is_infinitely_far():
    one = np.array([1, 2, 3], np.float32)
    assert farthest(one, one) == 0
    assert farthest(one, np.nextafter(one, np.float32(9)) * [1, 1, 0] + [0, 0, 3]) == np.inf
    assert farthest(one, np.nextafter(one, np.float32(9))) == 1
    assert farthest(one, np.array([1, 2, np.nan], np.float32)) == np.inf
    assert farthest(np.array([1]), np.array([2])) == np.inf
    assert farthest(np.array([1.0]), np.array([-1.0])) == 2 * 0x3FF0000000000000


def test_ulps_are_steps_between_numbers():
    one = np.float32(1)
    assert ulps_between(one, np.nextafter(one, np.float32(2))) == 1
    assert ulps_between(np.float32(0.0), np.float32(-0.0)) == 0
    assert ulps_between(np.float32(-1e-45), np.float32(1e-45)) == 2
    assert ulps_between(one, np.float32(np.nan)) is None
    assert ulps_between(1.0, float(np.nextafter(one, np.float32(2)))) == 1, "a log of float32"
    assert ulps_between(1.0, np.nextafter(1.0, 2.0).item()) == 1, "and one of float64"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.rule)
def test_what_a_rule_mirrors_exists(rule):
    assert pydoc.locate(rule.mirrors) is not None


@pytest.mark.parametrize(("owner", "name", "reason"), PATCHED)
def test_what_is_patched_while_a_rule_is_broken_exists(owner, name, reason):
    assert callable(getattr(owner, name)) or isinstance(vars(owner)[name], property)
    assert reason


@pytest.mark.long
def test_only_what_is_listed_is_patched_while_a_rule_is_broken(monkeypatch):
    listed = [(owner, name) for owner, name, _ in PATCHED]
    seen = []
    monkeypatch.setattr(FitCall, "patch", lambda call, owner, name, _: seen.append((owner, name)))
    for rule in RULES:
        rule.breaks(FitCall(build_lean(), data_lean(), contextlib.ExitStack()))
    assert len(set(seen)) == len(listed)
    for owner, name in seen:
        kinds = [of for of, listed_name in listed if listed_name == name]
        assert any(owner is of or issubclass(owner, of) for of in kinds), f"{name} is not listed"


def test_a_model_with_a_step_of_its_own_keeps_it_when_a_rule_is_broken():
    class Own(keras.Sequential):
        def train_step(self, data):
            return super().train_step(data)

    def build_own():
        model = Own([keras.Input((6,)), layers.Dense(1)])
        model.compile("sgd", "mse", run_eagerly=True)
        return model

    own = dataclasses.replace(PLAIN, build=build_own)
    trace = record(own, BROKEN["training_flag"].fit, "epochs")[0]
    assert same(trace, record(own, keras.Model.fit, "epochs")[0])


@pytest.mark.long
def test_the_former_order_of_assert_same_still_works_and_warns():
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        assert_same(hand_written, PLAIN)
    message = "assert_same(candidate, scenario) is now assert_same(scenario, candidate)"
    (ours,) = [warning for warning in warned if str(warning.message) == message]
    assert ours.category is DeprecationWarning
    assert ours.filename == __file__
    with pytest.raises(TypeError, match="needs a Scenario as its first argument"):
        assert_same(hand_written, hand_written)


@pytest.mark.slow
def test_products_and_sums_are_tapped_without_changing_what_grappler_makes_of_them():
    # Grappler multiplies the learning rate into the factors of gamma's gradient.
    def build_normalized():
        model = keras.Sequential(
            [keras.Input((6,)), layers.BatchNormalization(), layers.Dense(8), layers.Dense(1)]
        )
        model.compile(keras.optimizers.SGD(0.05, momentum=0.9, nesterov=True), "mse")
        return model

    normalized = dataclasses.replace(LEAN, build=build_normalized)  # `wine` in small
    for scenario in (*find(["single_samples"]), normalized):
        untapped = record(scenario, keras.Model.fit, "epochs")[0]
        assert same(untapped, run_tapped(scenario, keras.Model.fit).trace)


def test_a_tapped_eager_loop_makes_tensorflow_warn_of_no_traces(caplog):
    total = tf.Variable(0.0)
    add = InGraph(lambda tensors: total.assign_add(tf.add_n([tf.reduce_sum(it) for it in tensors])))
    tf.get_logger().addHandler(caplog.handler)
    try:
        for count in range(1, 9):
            add([tf.ones([count])] * count)
            add([tf.ones([count + 1])] * count)
    finally:
        tf.get_logger().removeHandler(caplog.handler)
    assert total.numpy() == sum(count * (2 * count + 1) for count in range(1, 9))
    assert not caplog.records
