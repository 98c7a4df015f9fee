"""Loops as people write them: each is explained by its causes, and by nothing else."""

import dataclasses
from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import loop
from compare.diagnosis.diagnose import beyond_rounding, diagnose
from compare.recording.trials import Trainings
from compare.scenario import Scenario

pytestmark = pytest.mark.bits


def build(**of_optimizer):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, "tanh"), layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.05, **of_optimizer), "mse", run_eagerly=True)
    return model


def data():
    x = np.random.default_rng(3).normal(size=(30, 4)).astype("float32")
    return {"x": x, "y": np.sin(x[:, :1]), "batch_size": 8, "epochs": 2, "shuffle": False}


PLAIN = Scenario("plain", "arrays in order, a short last batch", build, data)


def with_data(**changes):
    return dataclasses.replace(PLAIN, data=lambda: {**data(), **changes})


def by_hand(
    model, x, y, batch_size, epochs, rate=0.05, loss_of=None, order=None, keep_losses=False, **_
):
    """A loop with a tape and an optimizer of its own; returns the weighted means of losses."""
    optimizer = keras.optimizers.SGD(rate)
    loss_of = loss_of or keras.losses.MeanSquaredError()
    log = []
    for _ in range(epochs):
        losses, sizes = [], []
        for start in range(0, len(x), batch_size):
            rows = np.arange(len(x))[start : start + batch_size] if order is None else order(start)
            with tf.GradientTape() as tape:
                loss = loss_of(y[rows], model(x[rows], training=True))
            gradients = tape.gradient(loss, model.trainable_variables)
            optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
            losses.append(float(tf.reduce_mean(loss)))
            sizes.append(len(rows))
        log.append(float(np.average(losses, weights=sizes)))
    return {"loss": log, "losses": losses} if keep_losses else {"loss": log}


def rules_of(found):
    return [verdict.rule for verdict in found]


@pytest.mark.long
def test_a_right_loop_differs_by_rounding_at_most_and_is_called_right():
    def another_formula(y, y_pred):
        return tf.reduce_sum((y_pred - y) ** 2) / tf.cast(tf.shape(y)[0], tf.float32)

    found = diagnose(
        PLAIN, lambda model, **arguments: by_hand(model, **arguments, loss_of=another_formula)
    )
    assert rules_of(found) == [], found
    assert found.rest in ("nothing", "rounding")


def batches_of(x, y, batch_size):
    for start in range(0, len(x), batch_size):
        yield x[start : start + batch_size], y[start : start + batch_size]


def means(model, step, x, y, batch_size, epochs, **_):
    """Train by a step that returns the loss of a batch, with Keras's mean."""
    log = []
    for _ in range(epochs):
        mean = keras.metrics.Mean()
        for batch in batches_of(x, y, batch_size):
            mean.update_state(step(model, *batch), sample_weight=len(batch[0]))
        log.append(float(mean.result()))
    return {"loss": log}


def tape_and_own_optimizer(model, x, y):
    with tf.GradientTape() as tape:
        loss = model.compute_loss(x, y, model(x, training=True))
    gradients = tape.gradient(loss, model.trainable_weights)
    model.optimizer.apply(gradients, model.trainable_weights)
    return loss


def layers_one_by_one(model, x, y):
    with tf.GradientTape() as tape:
        values = tf.convert_to_tensor(x)
        for layer in model.layers:
            values = layer(values)
        loss = tf.reduce_mean(tf.square(values - y))
    gradients = tape.gradient(loss, model.trainable_weights)
    model.optimizer.apply_gradients(zip(gradients, model.trainable_weights, strict=True))
    return loss


def weights_by_hand(model, x, y):
    with tf.GradientTape() as tape:
        loss = keras.losses.MeanSquaredError()(y, model(x, training=True))
    gradients = tape.gradient(loss, model.trainable_weights)
    for weight, gradient in zip(model.trainable_weights, gradients, strict=True):
        weight.assign_sub(0.05 * gradient)
    return loss


def losses_averaged_by_numpy(model, x, y):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(keras.losses.mean_squared_error(y, model(x, training=True)))
    gradients = tape.gradient(loss, model.trainable_weights)
    model.optimizer.apply_gradients(zip(gradients, model.trainable_weights, strict=True))
    return np.mean((np.asarray(loss),))


def by_function(model, **arguments):
    return means(model, tf.function(tape_and_own_optimizer, reduce_retracing=True), **arguments)


def by_train_on_batch(model, x, y, batch_size, epochs, **_):
    log = []
    for _ in range(epochs):
        losses = [model.train_on_batch(*batch) for batch in batches_of(x, y, batch_size)]
        sizes = [len(batch[0]) for batch in batches_of(x, y, batch_size)]
        log.append(float(np.average(losses, weights=sizes)))
    return {"loss": log}


def by_a_dataset(model, x, y, batch_size, epochs, **_):
    log = []
    for _ in range(epochs):
        losses, sizes = [], []
        for batch in tf.data.Dataset.from_tensor_slices((x, y)).batch(batch_size):
            losses.append(float(tape_and_own_optimizer(model, *batch)))
            sizes.append(len(batch[0]))
        log.append(float(np.average(losses, weights=sizes)))
    return {"loss": log}


def by_a_subclass(model, **arguments):
    class Own(keras.Model):
        def train_step(self, data):
            return {"loss": tape_and_own_optimizer(self, *data)}

    own = Own(model.inputs, model.outputs[0])
    own.compile(keras.optimizers.SGD(0.05), "mse", run_eagerly=True)
    losses = keras.callbacks.LambdaCallback()
    sizes, seen = [8, 8, 8, 6], []
    losses.on_train_batch_end = lambda batch, logs=None: seen.append(float(logs["loss"]))
    arguments["callbacks"] = [*arguments["callbacks"], losses]
    own.fit(**arguments)
    log = np.average(np.reshape(seen, (-1, 4)), axis=1, weights=sizes)
    return {"loss": log.tolist()}


def of_step(step):
    return lambda model, **arguments: means(model, step, **arguments)


RIGHT = {
    "eager, the model's optimizer": of_step(tape_and_own_optimizer),
    "layers one by one": of_step(layers_one_by_one),
    "weights by hand": of_step(weights_by_hand),
    "losses by numpy": of_step(losses_averaged_by_numpy),
    "a compiled step": by_function,
    "train_on_batch": by_train_on_batch,
    "a dataset": by_a_dataset,
    "a subclass with a train_step": by_a_subclass,
    "an optimizer of its own": by_hand,
}


@pytest.mark.sampled
@pytest.mark.parametrize("style", RIGHT)
def test_a_right_loop_of_any_style_is_called_right(style):
    found = diagnose(PLAIN, RIGHT[style])
    assert rules_of(found) == [], found
    assert found.rest in ("nothing", "rounding"), found


def functional():
    inputs = keras.Input((4,))
    hidden = layers.BatchNormalization()(layers.Dense(3, "tanh")(inputs))
    model = keras.Model(inputs, layers.Dense(1)(hidden))
    model.compile(keras.optimizers.SGD(0.05), "mse", run_eagerly=True)
    return model


def built_late():
    model = keras.Sequential([layers.Dense(3, "tanh"), layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.05), "mse", run_eagerly=True)
    return model


@pytest.mark.long
@pytest.mark.parametrize("build_another", [functional, built_late])
def test_a_right_loop_with_any_model_is_called_right_and_a_wrong_one_is_not(build_another):
    scenario = dataclasses.replace(PLAIN, build=build_another)
    right = diagnose(scenario, by_hand)
    assert (rules_of(right), right.rest in ("nothing", "rounding")) == ([], True), right
    losses = keras.losses.mean_squared_error  # one for each sample
    wrong = diagnose(
        scenario, lambda model, **arguments: by_hand(model, **arguments, loss_of=losses)
    )
    assert rules_of(wrong) == ["mean_over_samples"], wrong


@pytest.mark.long
def test_moving_averages_that_nothing_else_shows_are_compared():
    def stale(model, **arguments):
        history = by_hand(model, **arguments)
        model(arguments["x"], training=True)  # moves the averages once more
        return history

    found = diagnose(dataclasses.replace(PLAIN, build=functional), stale)
    assert (rules_of(found), found.rest) == ([], "more"), found
    assert found.unexplained == "the weights at the end"


@pytest.mark.long
def test_a_log_for_each_step_is_no_other_number_of_epochs():
    def fit(model, **arguments):
        history = by_hand(model, **arguments)
        return {"loss": history["loss"] * 4}  # as long as there are steps

    found = diagnose(PLAIN, fit)
    assert "epochs" not in rules_of(found), found


def test_causes_of_all_layers_are_found_behind_each_other():
    def squares(y, y_pred):
        return tf.reduce_mean(tf.square(y - y_pred))  # [n] against [n, 1]

    def fit(model, **arguments):
        return {"loss": by_hand(model, **arguments, loss_of=squares)["loss"]}

    flat = with_data(y=data()["y"][:, 0], shuffle=True)
    found = diagnose(flat, fit)
    assert rules_of(found) == ["shuffle", "same_rank"], found
    assert found.rest in ("nothing", "rounding")
    assert found.main.rule == "same_rank"
    assert str(found).startswith(
        "The loop subtracts [n] from [n, 1], which makes [n, n].\n    y = y"
    )


@pytest.mark.long
def test_a_batch_that_is_trained_on_again_and_again_is_seen():
    found = diagnose(
        PLAIN,
        lambda model, **arguments: by_hand(model, **arguments, order=lambda _: np.arange(8)),
    )
    assert rules_of(found) == ["same_batch"], found
    assert found.rest in ("nothing", "rounding")


@pytest.mark.long
def test_samples_drawn_with_replacement_are_seen():
    def fit(model, **arguments):
        random = np.random.default_rng(1)
        return by_hand(model, **arguments, order=lambda _: random.integers(0, 30, 8))

    found = diagnose(PLAIN, fit)
    assert rules_of(found) == ["with_replacement"], found
    assert found.repeats


@pytest.mark.long
def test_a_loop_that_does_not_repeat_itself_is_told_to_seed_what_it_draws():
    random = np.random.default_rng(1)  # goes on drawing from one training to the next
    fit = lambda model, **arguments: by_hand(  # noqa: E731
        model, **arguments, order=lambda _: random.integers(0, 30, 8)
    )
    found = diagnose(PLAIN, fit)
    assert not found.repeats
    assert "does not repeat itself" in str(found)


@pytest.mark.long
def test_layers_that_another_model_wraps_are_followed():
    class Own(keras.Model):
        def train_step(self, data):
            x, y = data
            with tf.GradientTape() as tape:
                losses = keras.losses.mean_squared_error(y, self(x, training=True))  # [n]
            gradients = tape.gradient(losses, self.trainable_variables)
            self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
            return {"own": tf.reduce_mean(losses)}

    def fit(model, **arguments):
        own = Own(model.inputs, model.outputs[0])
        own.compile(keras.optimizers.SGD(0.05), run_eagerly=True)
        return own.fit(**arguments)

    found = diagnose(PLAIN, fit)
    assert "mean_over_samples" in rules_of(found), found
    assert found.main.rule == "mean_over_samples"


@pytest.mark.long
def test_all_inputs_of_a_model_that_another_model_wraps_are_followed():
    def build_with_inputs():
        inputs = [keras.Input((4,)), keras.Input((4,))]
        hidden = [layers.Dense(2)(values) for values in inputs]
        model = keras.Model(inputs, layers.Dense(1)(layers.Add()(hidden)))
        model.compile(keras.optimizers.SGD(0.05), "mse", run_eagerly=True)
        return model

    def fit(model, x, **arguments):
        own = keras.Model(model.inputs, model.outputs[0])
        own.compile(keras.optimizers.SGD(0.05), "mse", run_eagerly=True)
        return own.fit(x, **arguments).history

    x = data()["x"]
    scenario = dataclasses.replace(with_data(x=[x, x[::-1]]), build=build_with_inputs)
    found = diagnose(scenario, fit)
    assert (rules_of(found), found.rest) == ([], "nothing"), found


@pytest.mark.long
def test_another_rate_than_compiled_is_read_off_the_optimizer():
    found = diagnose(PLAIN, lambda model, **arguments: by_hand(model, **arguments, rate=0.01))
    assert rules_of(found) == ["optimizer_learning_rate"], found
    assert "learning_rate=0.01 in its optimizer, where fit has 0.05" in found[0].mistake
    assert found.rest in ("nothing", "rounding")


@pytest.mark.long
def test_what_no_rule_explains_is_called_unexplained():
    def noisy(y, y_pred):
        return tf.reduce_mean(tf.abs(y - y_pred) ** 3)

    found = diagnose(PLAIN, lambda model, **arguments: by_hand(model, **arguments, loss_of=noisy))
    assert rules_of(found) == [], found
    assert found.rest == "more"
    assert "No rule that is known explains the gradients of step 0" in str(found)


@pytest.mark.long
def test_validation_on_a_part_of_the_held_out_samples_is_seen():
    def fit(model, x, y, validation_split, **arguments):
        cut = int(len(x) * (1 - validation_split))
        log = by_hand(model, x[:cut], y[:cut], **{**arguments, "epochs": 1})
        loss = keras.losses.MeanSquaredError()(y[cut : cut + 4], model(x[cut : cut + 4]))
        return {**log, "val_loss": [float(loss)]}

    found = diagnose(with_data(validation_split=0.4, epochs=1), fit)
    assert rules_of(found) == ["validation_samples"], found
    assert "validates on 4 of the 12 validation samples" in found[0].mistake
    assert found.rest in ("nothing", "rounding")


def test_the_first_difference_that_is_more_than_rounding_is_named():
    def slower_from_the_second_epoch(model, **arguments):
        first = by_hand(model, **{**arguments, "epochs": 1})
        second = by_hand(model, **{**arguments, "epochs": 1}, rate=0.01)
        return {"loss": first["loss"] + second["loss"]}

    def right(model, **arguments):
        return by_hand(model, **arguments)

    places = [
        beyond_rounding(Trainings(PLAIN, fit)) for fit in (right, slower_from_the_second_epoch)
    ]
    assert places[0] == "No gradient and no weight of 8 steps differs by more than rounding."
    assert places[1] == (
        "The first difference that is more than rounding: the weights at the start of step 5."
    )


@pytest.mark.long
def test_a_mean_without_sizes_is_named_where_it_is_made():
    def fit(model, x, y, validation_data, validates_by_sizes, **arguments):
        history = {"loss": [], "val_loss": []}
        for _ in range(arguments.pop("epochs")):
            losses = by_hand(model, x, y, **{**arguments, "epochs": 1}, keep_losses=True)["losses"]
            history["loss"].append(float(np.mean(losses)))
            batches = [*batches_of(*validation_data, arguments["batch_size"])]
            losses = [
                float(keras.losses.MeanSquaredError()(y, model(x, training=False)))
                for x, y in batches
            ]
            sizes = [len(batch[0]) if validates_by_sizes else 1 for batch in batches]
            history["val_loss"].append(float(np.average(losses, weights=sizes)))
        return history

    held_out = (data()["x"][:11], data()["y"][:11])
    scenario = with_data(validation_data=held_out, epochs=1)
    for by_sizes, expected in ((True, []), (False, ["validation_batch_size_weights"])):
        found = diagnose(scenario, partial(fit, validates_by_sizes=by_sizes))
        assert rules_of(found) == ["batch_size_weights", *expected], found
    assert found[1].mistake.endswith("without their sizes, in validation")


@pytest.mark.long
def test_a_loop_of_the_same_bits_that_never_uses_the_compiled_optimizer_leaves_nothing():
    def fit(model, **arguments):
        compiled, model.optimizer = model.optimizer, keras.optimizers.SGD(0.05)
        history = loop.fit(model, **arguments).history
        model.optimizer = compiled
        return history

    found = diagnose(PLAIN, fit)
    assert (rules_of(found), found.rest) == ([], "nothing"), found
    assert str(found) == "History and weights are the same, to the last bit."


@pytest.mark.long
def test_what_differs_besides_history_and_weights_is_named_if_no_rule_explains_it():
    def fit(model, **arguments):
        history = loop.fit(model, **arguments)
        history.params = {"epochs": 7}
        return history

    found = diagnose(PLAIN, fit, rules=())
    assert (rules_of(found), found.rest) == ([], "more"), found
    assert found.unexplained.startswith("params")


def accumulating(model, x, y, batch_size, epochs, parts, divides, **_):
    """Add up the gradients of `parts` batches before each update; return the mean of losses."""
    log = []
    for _ in range(epochs):
        losses, total = [], 0
        for step, batch in enumerate(batches_of(x, y, batch_size)):
            with tf.GradientTape() as tape:
                loss = keras.losses.MeanSquaredError()(batch[1], model(batch[0], training=True))
            gradients = tape.gradient(loss, model.trainable_weights)
            total = [g + t for g, t in zip(gradients, total or [0] * 9, strict=False)]
            losses.append(float(loss))
            if (step + 1) % parts == 0:
                given = [gradient / parts if divides else gradient for gradient in total]
                model.optimizer.apply(given, model.trainable_weights)
                total = 0
        log.append(float(np.mean(losses)))
    return {"loss": log}


def even(**changes):
    """Four whole batches of 8."""
    x = np.random.default_rng(3).normal(size=(32, 4)).astype("float32")
    return with_data(x=x, y=np.sin(x[:, :1]), **changes)


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("expected", "size", "parts", "divides"),
    [
        ([], 4, 2, True),
        (["accumulated_sum"], 4, 2, False),
        (["gradient_accumulation"], 8, 2, True),
        (["gradient_accumulation", "accumulated_sum"], 8, 4, False),
    ],
)
def test_gradients_that_are_added_up_are_no_smaller_batches(expected, size, parts, divides):
    fit = partial(accumulating, parts=parts, divides=divides)
    found = diagnose(
        even(), lambda model, batch_size, **arguments: fit(model, batch_size=size, **arguments)
    )
    assert rules_of(found) == expected, found
    assert found.rest in ("nothing", "rounding")
    if "gradient_accumulation" in expected:
        assert f"one update for {size * parts} samples, where fit makes one for 8" in str(found)


@pytest.mark.long
def test_gradients_that_are_left_over_at_the_end_of_an_epoch_are_seen():
    found = diagnose(even(), partial(accumulating, parts=3, divides=True))
    assert rules_of(found) == ["gradient_accumulation", "left_over_gradients"], found
    assert "it learns from 24 of the 32 samples" in found[1].mistake
    assert found.unexplained == "the log loss"  # that of the loop counts what it never applies


@pytest.mark.long
def test_parts_of_a_batch_matter_where_layers_see_whole_batches():
    scenario = dataclasses.replace(even(), build=functional)
    fit = partial(accumulating, parts=2, divides=True)
    found = diagnose(
        scenario, lambda model, batch_size, **arguments: fit(model, batch_size=4, **arguments)
    )
    assert rules_of(found) == ["micro_batches"], found
    assert found.rest in ("nothing", "rounding")


def own_step(
    model, x, y, batch_size, epochs, before=None, loss_of=None, given=None, after=None, **_
):
    """A loop with the model's optimizer, and something by hand in its step."""
    log = []
    for epoch in range(epochs):
        mean = keras.metrics.Mean()
        for step, batch in enumerate(batches_of(x, y, batch_size)):
            if before:
                before(model, epoch, step)
            with tf.GradientTape() as tape:
                loss = keras.losses.MeanSquaredError()(batch[1], model(batch[0], training=True))
                loss = loss_of(model, loss) if loss_of else loss
            gradients = tape.gradient(loss, model.trainable_weights)
            model.optimizer.apply(given(gradients) if given else gradients, model.trainable_weights)
            mean.update_state(loss, sample_weight=len(batch[0]))
            if after:
                after(model)
        log.append(float(mean.result()))
    return {"loss": log}


def slower_by_epoch(model, epoch, step):
    model.optimizer.learning_rate.assign(0.05 * 0.5**epoch)


def slower_by_step(model, epoch, step):
    model.optimizer.learning_rate = 0.05 / (1 + step)


def squares_of_kernels(model, loss):
    return loss + 0.02 * tf.add_n([tf.reduce_sum(layer.kernel**2) for layer in model.layers])


def squares_of_all(model, loss):
    return loss + tf.add_n([0.02 * tf.nn.l2_loss(weight) for weight in model.trainable_weights])


def decay_of_kernels(model):
    for layer in model.layers:
        layer.kernel.assign_sub(0.05 * 0.1 * layer.kernel)


def clip_globally(gradients):
    return tf.clip_by_global_norm(gradients, 0.1)[0]


def clip_each(gradients):
    return [tf.clip_by_norm(gradient, 0.1) for gradient in gradients]


def clip_values(gradients):
    return [tf.clip_by_value(gradient, -0.05, 0.05) for gradient in gradients]


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("rule", "says", "by_hand"),
    [
        ("learning_rates", "from epoch to epoch (0.05, 0.025)", {"before": slower_by_epoch}),
        ("learning_rates", "from step to step (0.05, 0.025, 0.016", {"before": slower_by_step}),
        ("penalty_by_hand", "adds 0.02 times the squares", {"loss_of": squares_of_kernels}),
        ("penalty_by_hand", "0.01 times the squares of all weights", {"loss_of": squares_of_all}),
        ("decay_by_hand", "0.005 times the weights named kernel", {"after": decay_of_kernels}),
        ("global_clipnorm_by_hand", "global_clipnorm=0.1", {"given": clip_globally}),
        ("clipnorm_by_hand", "clipnorm=0.1", {"given": clip_each}),
        ("clipvalue_by_hand", "clipvalue=0.05", {"given": clip_values}),
    ],
)
def test_what_a_step_does_by_hand_is_named(rule, says, by_hand):
    found = diagnose(PLAIN, partial(own_step, **by_hand))
    assert rules_of(found) == [rule], found
    assert says in found[0].mistake
    assert found.rest in ("nothing", "rounding")


@pytest.mark.long
def test_clipping_by_hand_as_the_optimizer_of_fit_does_is_right():
    def fit(model, **arguments):
        model.optimizer = keras.optimizers.SGD(0.05)
        return own_step(model, **arguments, given=clip_each)

    scenario = dataclasses.replace(PLAIN, build=partial(build, clipnorm=0.1))
    found = diagnose(scenario, fit)
    assert (rules_of(found), found.rest in ("nothing", "rounding")) == ([], True), found
    assert rules_of(diagnose(scenario, by_hand)) == ["gradient_clipping"]


@pytest.mark.long
def test_several_optimizers_are_named_and_a_step_of_all_is_one_step():
    def fit(model, x, y, batch_size, epochs, **_):
        parts = [layer.trainable_weights for layer in model.layers]
        optimizers = keras.optimizers.Adagrad(0.1), keras.optimizers.SGD(0.05)
        log = []
        for _ in range(epochs):
            mean = keras.metrics.Mean()
            for batch in batches_of(x, y, batch_size):
                with tf.GradientTape(persistent=True) as tape:
                    loss = keras.losses.MeanSquaredError()(batch[1], model(batch[0]))
                for optimizer, weights in zip(optimizers, parts, strict=True):
                    optimizer.apply(tape.gradient(loss, weights), weights)
                mean.update_state(loss, sample_weight=len(batch[0]))
            log.append(float(mean.result()))
        return {"loss": log}

    found = diagnose(PLAIN, fit)
    assert rules_of(found) == ["several_optimizers"], found
    assert "2 optimizers (Adagrad for " in found[0].mistake
    assert found.rest in ("nothing", "rounding")


@pytest.mark.long
def test_a_model_of_several_optimizers_has_no_learning_rate_to_read():
    def build_with_two():
        optimizers = {"bias": keras.optimizers.SGD(0.01), "kernel": keras.optimizers.SGD(0.05)}
        by_name = keras.optimizers.MultiOptimizer(lambda weight: optimizers[weight.name])
        model = build()
        model.compile(by_name, "mse", run_eagerly=True)
        return model

    scenario = dataclasses.replace(PLAIN, build=build_with_two)
    assert rules_of(diagnose(scenario, own_step)) == []
    assert rules_of(diagnose(scenario, by_hand)) == ["another_optimizer"]


@pytest.mark.long
def test_an_optimizer_that_is_made_anew_in_each_epoch_is_not_several():
    def fit(model, **arguments):
        log = []
        for _ in range(arguments.pop("epochs")):
            model.optimizer = keras.optimizers.SGD(0.05, momentum=0.9)
            log += own_step(model, **arguments, epochs=1)["loss"]
        return {"loss": log}

    found = diagnose(dataclasses.replace(PLAIN, build=partial(build, momentum=0.9)), fit)
    assert rules_of(found) == ["optimizer_state"], found
    assert found.rest in ("nothing", "rounding")


def build_frozen():
    model = build()
    model.layers[0].trainable = False
    return model


@pytest.mark.long
def test_a_layer_that_fit_leaves_as_it_is_is_named():
    def fit(model, **arguments):
        model.layers[0].trainable = True
        return by_hand(model, **arguments)

    found = diagnose(dataclasses.replace(PLAIN, build=build_frozen), fit)
    assert rules_of(found) == ["trained_weights"], found
    assert "kernel" in found[0].mistake
    assert found.rest in ("nothing", "rounding")


@pytest.mark.long
def test_a_layer_that_a_loop_does_not_train_is_named():
    def fit(model, **arguments):
        model.layers[0].trainable = False
        return by_hand(model, **arguments)

    found = diagnose(PLAIN, fit)
    assert rules_of(found) == ["trained_weights"], found
    assert found[0].mistake.startswith("does not train ")


@pytest.mark.long
def test_inputs_of_another_dtype_are_the_same_samples():
    def fit(model, x, **arguments):
        return by_hand(model, x.astype("float32"), **arguments, rate=0.01)

    whole = np.random.default_rng(3).integers(0, 5, (30, 4))
    found = diagnose(with_data(x=whole.astype("uint8")), fit)
    assert rules_of(found) == ["optimizer_learning_rate"], found
    assert found.rest in ("nothing", "rounding")


@pytest.mark.long
def test_weights_of_an_earlier_epoch_at_the_end_are_seen():
    def fit(model, **arguments):
        log, kept = [], []
        epochs = arguments.pop("epochs")
        for _ in range(epochs):
            log += by_hand(model, **arguments, epochs=1)["loss"]
            kept.append(model.get_weights())
        model.set_weights(kept[1])
        return {"loss": log}

    found = diagnose(with_data(epochs=4), fit)
    assert rules_of(found) == ["former_weights"], found
    assert "the weights of epoch 2 of 4" in found[0].mistake
    assert found.rest in ("nothing", "rounding")


@pytest.mark.long
def test_validation_on_the_training_data_is_seen():
    def fit(model, x, y, validation_data, **arguments):
        log = by_hand(model, x, y, **arguments)
        loss = keras.losses.MeanSquaredError()(y, model(x))
        return {**log, "val_loss": [float(loss)]}

    found = diagnose(
        with_data(validation_data=(data()["x"][:9] + 1, data()["y"][:9]), epochs=1), fit
    )
    assert rules_of(found) == ["validation_samples"], found
    assert found[0].mistake == "validates on the samples that it trains on"
    assert found.rest in ("nothing", "rounding")


@pytest.mark.long
def test_half_precision_without_a_scaled_loss_is_named():
    def build_half():
        half = layers.Dense(3, "tanh", dtype="mixed_float16")
        model = keras.Sequential([keras.Input((4,)), half, layers.Dense(1)])
        optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.05))
        model.compile(optimizer, "mse", loss_weights=[1e-6], run_eagerly=True)
        return model

    def small(y, y_pred):
        return 1e-6 * keras.losses.MeanSquaredError()(y, y_pred)

    scenario = dataclasses.replace(PLAIN, build=build_half)
    found = diagnose(scenario, partial(by_hand, loss_of=small))
    assert rules_of(found) == ["no_loss_scale"], found
    assert found.rest in ("nothing", "rounding")


def build_classifier():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(1, "sigmoid")])
    model.compile(keras.optimizers.SGD(0.05), "mse", metrics=["accuracy"], run_eagerly=True)
    return model


@pytest.mark.long
@pytest.mark.parametrize(
    ("rule", "accuracy"),
    [
        ("metrics_of_batches", lambda y, y_pred: np.mean(np.round(y_pred[:, 0]) == y)),
        ("same_rank_in_metrics", lambda y, y_pred: np.mean(np.round(y_pred) == y)),
    ],
)
def test_accuracies_by_hand_are_named(rule, accuracy):
    def fit(model, x, y, batch_size, epochs, **_):
        log = {"loss": [], "accuracy": []}
        for _ in range(epochs):
            seen = []
            mean = keras.metrics.Mean()
            for batch in batches_of(x, y, batch_size):
                seen.append(accuracy(batch[1], np.asarray(model(batch[0]))))
                loss = tape_and_own_optimizer(model, *batch)
                mean.update_state(loss, sample_weight=len(batch[0]))
            log["loss"].append(float(mean.result()))
            log["accuracy"].append(float(np.mean(seen)))
        return log

    size = 8 if rule == "metrics_of_batches" else 6
    labels = (data()["y"][:, 0] > 0).astype("float32")
    scenario = dataclasses.replace(with_data(y=labels, batch_size=size), build=build_classifier)
    found = diagnose(scenario, fit)
    assert rules_of(found) == [rule], found
    assert found.rest in ("nothing", "rounding")


def build_of_classes():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(1, "sigmoid")])
    loss_of = keras.losses.BinaryCrossentropy()
    model.compile(keras.optimizers.SGD(0.05), loss_of, run_eagerly=True)
    return model


@pytest.mark.long
@pytest.mark.parametrize(
    ("rule", "says", "loss_of"),
    [
        ("another_loss", "minimizes huber", keras.losses.Huber()),
        (
            "another_loss",
            "label_smoothing=0.2, where fit has label_smoothing=0.0",
            keras.losses.BinaryCrossentropy(label_smoothing=0.2),
        ),
        (
            "arguments_of_the_loss",
            "exchanges the arguments",
            lambda y, y_pred: keras.losses.BinaryCrossentropy()(y_pred, y),
        ),
    ],
)
def test_another_loss_than_the_compiled_one_is_named(rule, says, loss_of):
    classes = (data()["y"] > 0).astype("float32")
    scenario = dataclasses.replace(with_data(y=classes), build=build_of_classes)
    found = diagnose(scenario, partial(by_hand, loss_of=loss_of))
    assert rules_of(found) == [rule], found
    assert says in found[0].mistake
    assert found.rest in ("nothing", "rounding")


@pytest.mark.long
def test_gradients_of_some_weights_that_are_multiplied_are_named():
    found = diagnose(
        PLAIN, partial(own_step, given=lambda gradients: [gradients[0] * 0.1, *gradients[1:]])
    )
    assert rules_of(found) == ["factors_of_gradients"], found
    assert "dense/kernel by 0.1" in found[0].mistake
    assert found.rest in ("nothing", "rounding")


@pytest.mark.long
def test_a_rate_by_hand_is_read_off_the_weights():
    def step(model, x, y):
        with tf.GradientTape() as tape:
            loss = keras.losses.MeanSquaredError()(y, model(x, training=True))
        gradients = tape.gradient(loss, model.trainable_weights)
        for weight, gradient in zip(model.trainable_weights, gradients, strict=True):
            weight.assign_sub(0.2 * gradient)
        return loss

    found = diagnose(PLAIN, of_step(step))
    assert rules_of(found) == ["optimizer_learning_rate"], found
    assert "by hand with a rate of 0.2, where fit has 0.05" in found[0].mistake
    assert found.rest in ("nothing", "rounding")


@pytest.mark.long
def test_the_loss_of_all_data_after_an_epoch_is_named():
    def fit(model, epochs, **arguments):
        log = []
        for _ in range(epochs):
            by_hand(model, **arguments, epochs=1)
            log.append(
                float(keras.losses.MeanSquaredError()(arguments["y"], model(arguments["x"])))
            )
        return {"loss": log}

    found = diagnose(PLAIN, fit)
    assert rules_of(found) == ["loss_after_the_epoch"], found
    assert found.rest in ("nothing", "rounding")


@pytest.mark.long
def test_inputs_that_a_loop_scales_are_named_and_the_rest_is_found_behind_them():
    def fit(model, x, y, **arguments):
        order = np.random.default_rng(0).permutation(30)
        x = x.astype("float32") / 255.0
        return by_hand(model, x[order], y[order], **arguments, rate=0.01)

    pixels = np.random.default_rng(3).integers(0, 256, (30, 4)).astype("uint8")
    found = diagnose(with_data(x=pixels), fit)
    assert rules_of(found) == ["prepared_inputs", "shuffles", "optimizer_learning_rate"], found
    assert "feeds the model x / 255, where fit is given x as it is" in str(found)
    assert found.rest in ("nothing", "rounding")


@pytest.mark.long
def test_metrics_of_a_second_training_pass_are_one_cause():
    def build_averaging():
        model = keras.Sequential(
            [keras.Input((4,)), layers.Dense(3), layers.BatchNormalization(), layers.Dense(1)]
        )
        model.compile(keras.optimizers.SGD(0.05), "mse", metrics=["mae"], run_eagerly=True)
        return model

    def fit(model, x, y, batch_size, epochs, **_):
        log = {"loss": [], "mae": []}
        for _ in range(epochs):
            mean, mae = keras.metrics.Mean(), keras.metrics.MeanAbsoluteError()
            for batch in batches_of(x, y, batch_size):
                loss = tape_and_own_optimizer(model, *batch)
                mean.update_state(loss, sample_weight=len(batch[0]))
                mae.update_state(batch[1], model(batch[0], training=True))
            log["loss"].append(float(mean.result()))
            log["mae"].append(float(mae.result()))
        return log

    found = diagnose(dataclasses.replace(PLAIN, build=build_averaging), fit)
    assert rules_of(found) == ["metrics_of_a_second_pass"], found
    assert found.rest in ("nothing", "rounding")
