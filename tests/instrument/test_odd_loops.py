"""Loops and models at the edges of what `diagnose` looks for: a true answer, or a clear one."""

import dataclasses
import warnings
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import loop
from compare.cli import answers
from compare.diagnosis import batches, by_hand, settings, stops
from compare.diagnosis.answer import Diagnosis, Verdict, answer
from compare.diagnosis.diagnose import diagnose, diagnose_in
from compare.diagnosis.layout import capture_of
from compare.diagnosis.mistakes import validation_first
from compare.diagnosis.needs import may_change, may_matter
from compare.diagnosis.peel import ROUNDS, Peel
from compare.diagnosis.prepared import preparation_of
from compare.diagnosis.rates import rate_rules, rebuilt
from compare.diagnosis.retrain import Retraining
from compare.diagnosis.rules import BROKEN
from compare.diagnosis.samples import Samples, prints_of
from compare.diagnosis.search import FAR, Cause, Score, Search
from compare.diagnosis.trained import trained_rules
from compare.errors import CandidateError
from compare.location.divergence import Divergence, first_difference
from compare.location.locate import locate_in
from compare.location.tapped import TappedTrainings, run_tapped
from compare.recording.trials import Trainings
from compare.scenario import Scenario

X = np.random.default_rng(3).normal(size=(30, 4)).astype("float32")
Y = np.sin(X[:, :1])


def build():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, "tanh"), layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.05), "mse", run_eagerly=True)
    return model


def data():
    return {"x": X, "y": Y, "batch_size": 8, "epochs": 2, "shuffle": False}


PLAIN = Scenario("plain", "arrays in order, a short last batch", build, data)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:plain cannot be trained without last_partial_batch")
def test_batches_that_fit_cannot_be_given_are_named_and_what_follows_is_left_open():
    def of_unknown_size():
        dataset = tf.data.Dataset.from_tensor_slices((X, Y)).filter(lambda *_: True).batch(8)
        return {"x": dataset, "epochs": 2}

    def whole_batches_only(model, x, **more):
        return loop.fit(model, x.filter(lambda x, _: tf.shape(x)[0] == 8), **more)

    scenario = dataclasses.replace(PLAIN, data=of_unknown_size)
    found = diagnose(scenario, whole_batches_only)
    assert [verdict.rule for verdict in found] == ["last_partial_batch"], found
    assert found.rest == "more"
    assert "what follows from these batches" in str(found)


@pytest.mark.long
def test_a_loop_with_more_logs_and_numpy_floats_has_the_same_bits():
    def fit(model, **arguments):
        losses = loop.fit(model, **arguments).history["loss"]
        return {"loss": [*map(np.float32, losses)], "lr": [0.05] * len(losses)}

    found = diagnose(PLAIN, fit)
    assert (len(found), found.rest, found.left_out) == (0, "nothing", ("lr",))
    assert str(found).startswith("History and weights are the same, to the last bit.")


@pytest.mark.long
@pytest.mark.parametrize("trains", [True, False])
def test_a_model_inside_of_a_model_is_called_as_one_of_its_layers(trains):
    def build_nested():
        base = keras.Sequential(
            [keras.Input((4,)), layers.Dense(3, "tanh"), layers.BatchNormalization()], name="base"
        )
        inputs = keras.Input((4,))
        outputs = layers.Dense(1)(layers.Dropout(0.3, seed=1)(base(inputs)))
        model = keras.Model(inputs, outputs)
        model.compile(keras.optimizers.SGD(0.05), "mse", run_eagerly=True)
        return model

    def fit(model, x, y, batch_size, epochs, **_):
        _, base, dropout, dense = model.layers
        losses = []
        for _ in range(epochs):
            mean = keras.metrics.Mean()
            for at in range(0, len(x), batch_size):
                batch, targets = (of[at : at + batch_size] for of in (x, y))
                with tf.GradientTape() as tape:
                    y_pred = dense(dropout(base(batch, training=trains), training=True))
                    loss = model.loss_of_loop(targets, y_pred)
                gradients = tape.gradient(loss, model.trainable_variables)
                model.optimizer.apply_gradients(
                    zip(gradients, model.trainable_variables, strict=True)
                )
                mean.update_state(loss, sample_weight=len(batch))
            losses.append(float(mean.result()))
        return {"loss": losses}

    def with_a_loss(model, **arguments):
        model.loss_of_loop = keras.losses.MeanSquaredError()
        return fit(model, **arguments)

    found = diagnose(dataclasses.replace(PLAIN, build=build_nested), with_a_loss)
    assert [verdict.rule for verdict in found] == ["batch_statistics"] * (not trains), found
    assert found.rest in ("nothing", "rounding"), found


@pytest.mark.long
def test_history_and_weights_that_are_the_same_have_no_cause_in_what_taps_see():
    def fit(model, **arguments):
        doubled = keras.Model(model.inputs, model.outputs[0])  # whose call the taps see as well
        history = loop.fit(model, **arguments).history
        doubled(2 * X)
        return history

    found = diagnose(PLAIN, fit)
    assert (len(found), found.rest) == (0, "nothing"), found
    assert "The first difference" not in "\n".join(answer(found, "somewhere"))


@pytest.mark.long
def test_what_a_loop_draws_after_its_last_step_is_no_part_of_the_training():
    def build_noisy():
        noise = layers.GaussianNoise(0.1, seed=1)
        model = keras.Sequential([keras.Input((4,)), noise, layers.Dense(1)])
        model.compile(keras.optimizers.SGD(0.05), "mse", run_eagerly=True)
        return model

    def fit(model, **arguments):
        history = loop.fit(model, **{**arguments, "shuffle": True}).history
        model(X, training=True)
        return history

    found = diagnose(dataclasses.replace(PLAIN, build=build_noisy), fit)
    assert [verdict.rule for verdict in found] == ["shuffles"], found
    assert found.rest == "rounding", found  # the state of the seed


def test_targets_are_not_compared_where_taps_see_only_some_of_the_losses():
    def run(**prints):
        rows = {name: np.array([value, value]) for name, value in prints.items()}
        taps = SimpleNamespace(prints=lambda: rows, steps=1, first=0, seen_late=(), uses_own=True)
        return SimpleNamespace(taps=taps, ends=[1], trace=SimpleNamespace(is_plain=False))

    both = {"batch/y/0/0": 5, "batch/y/1/0": 6, "loss/objective/0": 7}
    theirs = run(**both)
    assert first_difference(theirs, run(**{**both, "batch/y/0/0": 6}))[1] == "batch"
    assert first_difference(theirs, run(**{"batch/y/0/0": 6, "loss/objective/0": 8}))[1] == "loss"
    more = {**both, "batch/y/0/0": 6, "batch/y/2/0": 9}
    assert first_difference(theirs, run(**more))[1] == "batch"


def test_the_command_does_not_say_which_rules_cannot_be_broken(monkeypatch, recwarn):
    def warning(*_, **__):
        warnings.warn("plain cannot be trained without masks: ValueError", stacklevel=1)
        warnings.warn("another", stacklevel=1)
        return Diagnosis()

    monkeypatch.setattr(answers, "diagnose_in", warning)
    place = Divergence(0, 0, "loss", "loss/0")
    tapped = TappedTrainings(Trainings(PLAIN, loop.fit))
    answers._explained(tapped, place, "", Retraining(tapped))
    assert [str(warned.message) for warned in recwarn] == ["another"]


@pytest.mark.long
def test_a_loop_that_raises_when_it_is_watched_is_blamed_for_it():
    calls = []

    def only_once(model, **arguments):
        calls.append(model)
        if len(calls) > 1:
            raise RuntimeError("called again")
        return loop.fit(model, **{**arguments, "epochs": 1})

    with pytest.raises(CandidateError, match="RuntimeError: called again"):
        diagnose(PLAIN, only_once)


def test_rules_may_matter_to_models_and_layers_that_people_wrote():
    class Quiet(layers.Dense):
        def call(self, inputs):
            self.add_loss(tf.reduce_mean(inputs))
            return super().call(inputs)

    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(1)

        def call(self, inputs):
            self.add_loss(tf.reduce_mean(inputs))
            return self.dense(inputs)

    for rule in ("regularization_losses", "training_flag"):
        assert not may_matter(BROKEN[rule], build(), {})
        assert may_matter(BROKEN[rule], keras.Sequential([keras.Input((4,)), Quiet(1)]), {})
        assert may_matter(BROKEN[rule], Own(), {})
    for averages in (False, True):
        model = build()
        inner = keras.optimizers.SGD(0.05, use_ema=averages)
        model.compile(keras.optimizers.LossScaleOptimizer(inner), "mse")
        assert may_matter(BROKEN["final_averages"], model, {}) is averages


def test_nothing_explains_a_training_that_cannot_be_made():
    far = Score(lambda _: FAR, list)
    search = Search([*BROKEN.values()], far, 0.0, far)
    assert search.causes() == []


@pytest.mark.parametrize(
    ("of_factor", "of_pair", "found"),
    [
        (0.0, 0.0, ["factor"]),
        (0.1, 0.0, ["shuffle", "masks"]),
        (0.1, 1.0, ["factor"]),
        (0.6, 1.0, []),
    ],
)
def test_a_factor_read_off_is_taken_before_pairs_only_if_it_explains_all(of_factor, of_pair, found):
    asked, expected = [], []

    def expect(groups):
        expected.extend([rule.rule for rule in rules] for rules in groups)

    def score(rules):
        names = [rule.rule for rule in rules]
        asked.append(names)
        if "factor" in names:
            return of_factor
        return of_pair if names == ["shuffle", "masks"] else 1.0

    rules = [BROKEN[name] for name in ("shuffle", "masks", "epoch_mean")]
    factor = dataclasses.replace(rules[0], rule="factor")
    same = Score(lambda _: 0.0, list)
    search = Search(rules, Score(score, expect), 0.0, same, [factor])
    assert [cause.rule.rule for cause in search.causes()] == found
    assert (["shuffle", "masks"] in asked) == (of_factor > 0)
    assert [names for names in asked if names] == expected


@pytest.mark.parametrize("causes", [0, 1, ROUNDS, ROUNDS + 1])
def test_steps_are_compared_once_more_after_the_last_cause_was_found(causes):
    peel = object.__new__(Peel)
    peel.causes, peel.unexplained = [], None
    places = iter([("gradients", step) for step in range(causes)])
    peel._different_step = lambda: next(places, None)
    peel._search_in_step = lambda layer, step: [Cause(BROKEN["shuffle"])]
    looked_at_settings = []
    peel._settings = lambda: looked_at_settings.append(True)
    peel.find_in_steps()
    assert len(peel.causes) == min(causes, ROUNDS)
    expected = None if causes <= ROUNDS else f"the gradients of step {ROUNDS}"
    assert peel.unexplained == expected
    assert bool(looked_at_settings) == (causes <= ROUNDS)


def test_settings_within_an_optimizer_that_scales_the_loss_are_set():
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)
    scaled = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(schedule))
    anew = rebuilt(scaled, beta_1=0.5, learning_rate=0.25)
    assert isinstance(anew, keras.optimizers.LossScaleOptimizer)
    assert (anew.inner_optimizer.beta_1, float(anew.inner_optimizer.learning_rate)) == (0.5, 0.25)
    assert rebuilt(keras.optimizers.Adam(0.1), beta_1=0.5).beta_1 == 0.5


@pytest.mark.parametrize("limit", [1.0, 1.5, 0.25, 100.0])
def test_clipping_by_hand_is_read_off_at_any_round_limit(limit):
    gradients = {
        "a": np.full((3, 4), 7.5, np.float32),
        "b": np.linspace(0, 900, 9, dtype="float32"),
    }
    clipped = {name: np.minimum(value, np.float32(limit)) for name, value in gradients.items()}
    found = {rule.rule: rule for rule in by_hand._clips(gradients, clipped)}
    assert f"clipvalue={limit:g}" in found["clipvalue_by_hand"].mistake


def test_a_setting_is_named_with_the_values_that_it_has():
    known = settings._setting("epsilon", 1e-7, 1e-8)
    assert known is BROKEN["optimizer_epsilon"]
    other = settings._setting("epsilon", 1e-3, 1e-8)
    assert other.mistake == "sets epsilon=1e-08 in its optimizer, where fit has 0.001"
    assert not settings._equal(np.array([0.5, 0.5]), np.array([0.5, 0.25]))


def test_variables_that_are_trained_in_exchange_for_others_are_both_named():
    names = {0: "dense/kernel", 1: "dense/bias", 2: "head/kernel"}
    base = SimpleNamespace(trained=frozenset({0, 1}), names=names)
    (rule,) = trained_rules(base, SimpleNamespace(trained=frozenset({1, 2}), names=names))
    assert rule.mistake == "trains head/kernel, which is frozen in fit, and not dense/kernel"


def test_inputs_that_are_no_numbers_have_no_common_preparation():
    samples = Samples((np.array([["a"], ["b"]]), None, None), np.arange(2), in_order=True)
    assert preparation_of(SimpleNamespace(batches=[np.array([5])]), samples) is None


def test_what_makes_weights_larger_is_no_penalty_and_no_decay():
    weights = {0: np.arange(1, 5, dtype="float32")}
    for factor, is_read_off in ((0.25, True), (-0.25, False)):
        found = [*by_hand._multiples({0: factor * weights[0]}, weights, 1e-9)]
        assert found == ([(pytest.approx(factor), [0])] if is_read_off else [])


def test_a_weight_too_small_to_tell_counts_as_those_that_do_and_as_none():
    weights = {0: np.arange(1, 5, dtype="float32"), 1: np.full(2, 1e-9, "float32")}
    less = {place: 0.25 * weight for place, weight in weights.items()}
    assert [places for _, places in by_hand._multiples(less, weights, 1e-7)] == [[0, 1], [0]]
    less[1] = np.full(2, 1e-5, "float32")
    assert not [*by_hand._multiples(less, weights, 1e-7)]


def test_a_decay_by_hand_is_read_off_in_a_step_whose_rate_is_0():
    before, after = ({"begun/weights/0/w": np.full(4, value, np.float32)} for value in (2.0, 1.8))
    names, captured = {0: "w"}, SimpleNamespace(steps=[0, 1])
    base = SimpleNamespace(weights=lambda step: before, names=names, captured=captured)
    loop_of = SimpleNamespace(weights=lambda step: after if step else before, rates=[0.0, 0.1])
    mistakes = [rule.mistake for rule in by_hand.decay_rules(base, loop_of, 1)]
    assert all(mistake.startswith("subtracts 0.1 times all weights") for mistake in mistakes)
    assert mistakes


@pytest.mark.parametrize(
    ("factor", "parts", "size", "rule"),
    [
        (4.0, 4, 4, ["accumulated_sum"]),  # parts of one sample
        (2.0, 2, 4, ["accumulated_sum"]),
        (4.0, 2, 4, []),  # a sum over samples, which is a rule of its own
        (4.0, 1, 4, []),
        (3.0, 1, 4, ["gradient_factor", "loss_factor"]),  # the logs tell which
    ],
)
def test_a_factor_of_all_gradients_has_its_cause(factor, parts, size, rule):
    gradients = {"begun/weights/0/w": np.arange(1, 5, dtype="float32")}
    base = SimpleNamespace(gradients=lambda step: gradients)
    loop_of = SimpleNamespace(
        gradients=lambda step: {name: factor * value for name, value in gradients.items()},
        accumulates=parts,
        batches=[np.arange(size)],
    )
    found = [found.rule for found in settings.scale_rule(base, loop_of, 0, replicas=1)]
    assert found == rule


@pytest.mark.parametrize(
    ("of_loop", "says"),
    [
        ([0.1, 0.1, 0.05, 0.025], "once that epoch is over"),
        ([0.1, 0.02, 0.01, 0.01], "where fit changes it from epoch to epoch (0.1, 0.05, 0.025"),
    ],
)
def test_rates_that_are_an_epoch_late_are_called_so(of_loop, says):
    runs = [
        SimpleNamespace(rates=[*np.repeat(rates, 2)], ends=[2, 4, 6, 8])
        for rates in ([0.1, 0.05, 0.025, 0.0125], of_loop)
    ]
    (rule,) = rate_rules(*runs)
    assert says in rule.mistake
    assert rule.line.startswith("optimizer.learning_rate = rate_of(epoch)")


def test_the_main_cause_has_the_largest_effect_and_the_order_of_samples_comes_after_others():
    def caused(rule, effect):
        return Verdict(rule, True, "", "", "", 1.0, effect=effect)

    order, mistake = caused("shuffle_buffer", 0.9), caused("regularization_losses", 0.2)
    less, log = caused("same_rank", 0.1), caused("epoch_mean", 0.0)
    harmless, short = caused("permutation", 0.9), caused("last_partial_batch", 0.3)
    assert Diagnosis((harmless, order, less, mistake, log)).main is mistake
    assert Diagnosis((short, order, log)).main is order
    assert Diagnosis((harmless, log)).main is log
    assert Diagnosis((harmless,)).main is harmless


def test_rules_of_logs_are_tried_on_the_logs_that_they_change():
    for rule, loss, of_output, metric in (
        ("epoch_mean", True, True, False),
        ("epoch_sum", True, False, False),
        ("validation_regularization", True, False, False),
        ("metrics_of_batches", False, True, True),
        ("metric_reset", True, True, True),
    ):
        found = [may_change(BROKEN[rule], log) for log in ("loss", "val_a_loss", "val_mae")]
        assert found == [loss, of_output, metric], rule


def test_targets_of_other_samples_are_told_from_targets_that_are_not_known():
    x, y = np.arange(6, dtype="float32").reshape(3, 2), np.array([5.0, 6.0, 7.0], "float32")

    def whose(given, x=x):
        samples = Samples((x, y, None), prints_of(x), in_order=True)
        of_step = [prints_of(np.array(of, "float32")) for of in given]
        run = SimpleNamespace(batches=[samples.prints[:2], samples.prints[2:]], targets=of_step)
        return [places.tolist() for places in samples.targets_of_others(run)]

    assert whose([[7, 5], [6]]) == [[2, 0], [1]]
    assert whose([[5, 6], [7]]) == []
    assert whose([[5, 8], [6]]) == []  # made otherwise
    assert whose([[7, 5], [6]], np.zeros_like(x)) == []  # which sample it is, nobody can tell


def test_a_part_of_the_samples_in_their_order_is_not_shuffled():
    samples = Samples(([*range(9)], None, None), np.arange(10, 19), in_order=True)
    parts = [[samples.prints[[0, 1, 4, 5]]], [samples.prints[[4, 5, 0, 1]]]]
    whole = [samples.prints]
    assert [[*batches._in_order(whole, part, samples)] for part in parts] == [[], ["shuffles"]]
    assert [*batches._in_order([samples.prints[::-1]], parts[0], samples)] == ["shuffle"]


@pytest.mark.long
@pytest.mark.parametrize("rule", ["epoch_mean", "batch_size_weights"])
def test_logs_of_the_losses_of_outputs_have_the_mistakes_of_the_loss(rule):
    def of_two_outputs():
        inputs = keras.Input((4,))
        model = keras.Model(inputs, [layers.Dense(1, name=name)(inputs) for name in "ab"])
        model.compile(keras.optimizers.SGD(0.05), ["mse", "mae"], run_eagerly=True)
        return model

    def fit(model, x, y, batch_size, epochs, **_):
        losses, logs = [keras.losses.MeanSquaredError(), keras.losses.MeanAbsoluteError()], []
        for _ in range(epochs):
            seen = []
            for at in range(0, len(x), batch_size):
                with tf.GradientTape() as tape:
                    pairs = zip(y, model(x[at : at + batch_size], training=True), strict=True)
                    each = [
                        loss(of[at : at + batch_size], y_pred)
                        for loss, (of, y_pred) in zip(losses, pairs, strict=True)
                    ]
                    total = each[0] + each[1]
                gradients = tape.gradient(total, model.trainable_variables)
                model.optimizer.apply_gradients(
                    zip(gradients, model.trainable_variables, strict=True)
                )
                seen.append([float(value) for value in (total, *each)])
            logs.append(seen[-1] if rule == "epoch_mean" else np.mean(seen, 0).tolist())
        return dict(
            zip(("loss", "a_loss", "b_loss"), map(list, zip(*logs, strict=True)), strict=True)
        )

    def of_two():
        return {**data(), "y": [Y, -Y]}

    found = diagnose(dataclasses.replace(PLAIN, build=of_two_outputs, data=of_two), fit)
    assert [verdict.rule for verdict in found] == [rule], found
    assert found.rest in ("nothing", "rounding"), found


def test_validation_in_another_order_is_not_called_a_part():
    samples, unused = np.arange(5), SimpleNamespace(tests=[])
    same = stops._validates_on([samples], [samples[::-1]], unused, None)
    assert same.mistake.startswith("validates on the validation samples in another order")
    twice = stops._validates_on([samples], [samples[[0, 1, 0, 1]]], unused, None)
    assert twice.mistake == (
        "validates on 2 of the 5 validation samples, and on some of these more than once"
    )
    part = stops._validates_on([samples], [samples[:2]], unused, None)
    assert part.mistake == "validates on 2 of the 5 validation samples"


def test_all_inputs_of_a_model_are_held_out_from_their_first_samples():
    x = {"a": np.arange(10), "b": np.arange(10, 20)}
    call = SimpleNamespace(arguments={"x": x, "y": np.arange(10), "validation_split": 0.2})
    validation_first(call)
    assert [*call.arguments["x"]["a"]] == [*call.arguments["y"]] == [*range(2, 10), 0, 1]
    assert [*call.arguments["x"]["b"]] == [*range(12, 20), 10, 11]


@pytest.mark.long
@pytest.mark.parametrize("eagerly", [False, True])
def test_a_loop_runs_eagerly_if_its_gradients_are_computed_so(eagerly):
    def fit(model, x, y, **_):
        def step(x, y):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean((model(x, training=True) - y) ** 2)
            gradients = tape.gradient(loss, model.trainable_variables)
            model.optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
            return loss

        loss = (step if eagerly else tf.function(step))(x, y)
        model(x, training=False)  # as loops validate, outside of any graph
        return {"loss": [float(loss)]}

    assert run_tapped(PLAIN, fit).taps.runs_eagerly is eagerly


@pytest.mark.long
def test_keras_trains_three_times_for_a_place_and_its_causes():
    trained = []

    def reference(model, **arguments):
        trained.append(model)
        return model.fit(**arguments)

    trainings = Trainings(PLAIN, BROKEN["batch_size_weights"].fit, reference)
    tapped = TappedTrainings(trainings, capture_of)
    assert locate_in(tapped).stage == "metrics"
    assert [cause.rule for cause in diagnose_in(Retraining(tapped))] == ["batch_size_weights"]
    # Without taps, with taps, and to capture the tensor; `diagnose` looks at the same trainings.
    assert len(trained) == 3
