"""Rules of fit broken in plain loops of three styles: `diagnose` names each. See `make test-slow`.

The loops stand in `tests/support/styles.py`; `CASES` says which mistake is planted in which.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from support.styles import RIGHT, STYLES, Places, rows_of, slices, train

from compare.diagnosis.batches import FOUND
from compare.diagnosis.diagnose import diagnose
from compare.diagnosis.rules import BROKEN
from compare.scenario import Scenario

# What is trained: as small as can be, and eagerly, since tracing would take all the time.


def compiled(model, optimizer=None, loss=None, **more):
    optimizer = optimizer or keras.optimizers.SGD(0.05)
    loss = loss or keras.losses.MeanSquaredError()
    model.compile(optimizer, loss, run_eagerly=True, **more)
    return model


def dense(**more):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, "tanh"), layers.Dense(1)])
    return compiled(model, **more)


def two_metrics():
    return {
        "mae": keras.metrics.MeanAbsoluteError(name="mae"),
        "weighted_mse": keras.metrics.MeanSquaredError(name="weighted_mse"),
    }


def measured():
    plain, weighted = two_metrics().values()
    return dense(metrics=[plain], weighted_metrics=[weighted])


def largest(y, y_pred):
    """Return the batch's largest prediction for each sample: the mean depends on the batches."""
    return tf.fill(tf.shape(y)[:1], tf.reduce_max(y_pred))


def largest_metric():
    return {"largest": keras.metrics.MeanMetricWrapper(largest, name="largest")}


def batched():
    return dense(metrics=[*largest_metric().values()])


def regularized(**more):
    inputs = keras.Input((4,))
    values = layers.Dense(3, "tanh", kernel_regularizer=keras.regularizers.L2(0.1))(inputs)
    values = layers.Dropout(0.3, seed=1)(layers.BatchNormalization()(values))
    return compiled(keras.Model(inputs, layers.Dense(1)(values)), **more)


def everything():
    plain, weighted = two_metrics().values()
    return regularized(metrics=[plain], weighted_metrics=[weighted])


def classifier(**of_loss):
    activation = None if of_loss else "sigmoid"
    model = keras.Sequential([keras.Input((4,)), layers.Dense(1, activation)])
    return compiled(model, loss=keras.losses.BinaryCrossentropy(**of_loss))


def adaptive():
    return dense(optimizer=keras.optimizers.Adam(0.01, clipnorm=0.05, weight_decay=0.1))


def averaged():
    return dense(optimizer=keras.optimizers.SGD(0.05, use_ema=True, ema_momentum=0.9))


def loss_scaled():
    return dense(optimizer=keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.05)))


def two_outputs():
    inputs = keras.Input((4,))
    hidden = layers.Dense(3, "tanh")(inputs)
    model = keras.Model(inputs, [layers.Dense(1, name=name)(hidden) for name in ("a", "b")])
    losses = [keras.losses.MeanSquaredError() for _ in range(2)]
    return compiled(model, loss=losses, loss_weights=[0.3, 2.0])


def stateful():
    recurrent = layers.LSTM(2, stateful=True)
    return compiled(
        keras.Sequential([keras.Input(batch_shape=(4, 3, 2)), recurrent, layers.Dense(1)])
    )


def of_words():
    inputs = keras.Input((5,))
    values = layers.Embedding(7, 4, mask_zero=True)(inputs)
    return compiled(keras.Model(inputs, layers.Dense(1)(values)))


def data(**more):
    """Return two epochs of three batches, the last one short."""
    x = np.random.default_rng(3).normal(size=(22, 4)).astype("float32")
    return {
        **{"x": x, "y": np.sin(x[:, :1]), "batch_size": 8, "epochs": 2, "shuffle": False},
        **more,
    }


def validated(**more):
    x = np.random.default_rng(4).normal(size=(11, 4)).astype("float32")
    return data(validation_data=(x, np.cos(x[:, :1])), **more)


def weighted():
    return data(sample_weight=np.random.default_rng(5).uniform(0.2, 2, 22).astype("float32"))


def flat():
    return data(y=data()["y"][:, 0])


def labels(**more):
    return data(y=(data()["y"] > 0).astype("float32"), **more)


def reshuffled():
    dataset = tf.data.Dataset.from_tensor_slices((data()["x"], data()["y"]))
    return {"x": dataset.shuffle(22, seed=7).batch(8), "epochs": 4}


def two_targets():
    return data(y=[data()["y"], 1 - data()["x"][:, 1:2]])


def sentences():
    random = np.random.default_rng(5)
    y = random.normal(size=(22, 5, 1)).astype("float32")
    return data(x=random.integers(0, 3, (22, 5)), y=y)


def sequences():
    x = np.random.default_rng(5).normal(size=(12, 3, 2)).astype("float32")
    return data(x=x, y=x[:, 0, :1], batch_size=4)


def slowing():
    slower = keras.callbacks.LearningRateScheduler(lambda epoch: 0.05 / (1 + epoch))
    return data(callbacks=[slower])


def stopping():
    stops = keras.callbacks.EarlyStopping("val_loss", min_delta=1.0, patience=1)
    return validated(callbacks=[stops], epochs=4)


# Mistakes in batches.


def chosen(choose):
    """Return eager batches of the rows that `choose(random, samples, batch_size)` returns."""

    def batches(arrays, batch_size, epoch):
        rows = choose(np.random.default_rng(epoch), len(arrays[0]))
        for start in range(0, len(rows), batch_size):
            yield rows_of(arrays, rows[start : start + batch_size])

    return batches


permuted = chosen(lambda random, samples: random.permutation(samples))
with_replacement = chosen(lambda random, samples: random.integers(0, samples, samples))
the_first_again = chosen(lambda random, samples: [*range(8)] * 3)


def drawn(dataset, batch_size):
    """Draw samples of a dataset with replacement."""
    x, y = map(tf.stack, zip(*dataset, strict=True))
    rows = tf.random.Generator.from_seed(1).uniform([22], 0, 22, tf.int32)
    return tf.data.Dataset.from_tensor_slices((tf.gather(x, rows), tf.gather(y, rows))).batch(
        batch_size
    )


def apart(arrays, batch_size, epoch):
    """Return eager batches whose targets alone are permuted."""
    x, y, weight = arrays
    order = np.random.default_rng(epoch).permutation(len(y))
    return slices((x, y[order], weight), batch_size, epoch)


def part_of(place, *batch):
    return batch[place]


def zipped_apart(dataset, batch_size):
    """Return a pipeline whose targets alone are shuffled."""
    x, y = (dataset.map(partial(part_of, place)) for place in range(2))
    return tf.data.Dataset.zip((x, y.shuffle(22, seed=3))).batch(batch_size)


def of_sizes(*sizes):
    """Return eager batches of these sizes, in order."""

    def batches(arrays, batch_size, epoch):
        ends = np.cumsum(sizes)
        return [rows_of(arrays, slice(*ends)) for ends in zip(ends - sizes, ends, strict=True)]

    return batches


def two_passes(arrays, batch_size, epoch):
    return [*slices(arrays, batch_size, epoch)] * 2


def halved(arrays, batch_size, epoch):
    return [(x / 2, y, weight) for x, y, weight in slices(arrays, batch_size, epoch)]


def of_dataset(arrays, batch_size, epoch):
    return ((*batch, None) for batch in arrays[0])


def of_first_iterator():
    """Return eager batches that are those of the first epoch in every epoch."""
    kept = []

    def batches(arrays, batch_size, epoch):
        kept[:] = kept if epoch else of_dataset(arrays, batch_size, epoch)
        return kept

    return batches


def head(x, y, part):
    cut = len(x) - int(len(x) * (1 - part))
    return (x[cut:], y[cut:]), (x[:cut], y[:cut])


def all_and_tail(x, y, part):
    cut = int(len(x) * (1 - part))
    return (x, y), (x[cut:], y[cut:])


# Mistakes in a step.


def loss_of_each(model, y, y_pred, weight):
    return keras.losses.mean_squared_error(y, y_pred)


def mean_square(model, y, y_pred, weight):
    return tf.reduce_mean(tf.square(y - y_pred))


def divided_by_weights(model, y, y_pred, weight):
    losses = keras.losses.mean_squared_error(y, y_pred)
    return tf.reduce_sum(losses * weight) / tf.reduce_sum(weight)


def without_weights(model, y, y_pred, weight):
    return model.loss(y, y_pred)


def sum_of_losses(model, y, y_pred, weight):
    return sum(loss(*pair) for loss, *pair in zip(model.loss, y, y_pred, strict=True))


def sum_of_squares(model, y, y_pred, weight):
    return 3 * model.loss(y, y_pred)


def uneven_sum(model, y, y_pred, weight):
    first, second = (loss(*pair) for loss, *pair in zip(model.loss, y, y_pred, strict=True))
    return 2 * first + 0.5 * second


def predict_at_rest(model, x):
    """Call layer by layer; only dropout is told that it trains."""
    for layer in model.layers[1:]:
        x = layer(x, training=True) if isinstance(layer, layers.Dropout) else layer(x)
    return x


def reset_states(model, epoch):
    model.layers[0].reset_state()
    return model.optimizer


def probabilities(model, y, y_pred, weight):
    return keras.losses.BinaryCrossentropy()(y, y_pred)


def predict_twice(model, x):
    model(x, training=True)
    return model(x, training=True)


def predict_again(model, x, y_pred):
    return model(x, training=False)


def instead(make):
    """Return an optimizer of the loop's own, the same one in all epochs."""

    def optimizer(model, epoch):
        if epoch == 0:
            model.optimizer_of_loop = make()
        return model.optimizer_of_loop

    return optimizer


def adam(**settings):
    right = {"learning_rate": 0.01, "clipnorm": 0.05, "weight_decay": 0.1}
    return instead(lambda: keras.optimizers.Adam(**{**right, **settings}))


def anew(model, epoch):
    return type(model.optimizer).from_config(model.optimizer.get_config())


# Mistakes in logs.


def count_last(mean, loss, size):
    mean.reset_state()
    mean.update_state(loss)


def count_sum(mean, loss, size):
    mean.total.assign_add(loss)
    mean.count.assign(1.0)


def count_once(mean, loss, size):
    mean.update_state(loss)


def mean_of_means(losses, sizes):
    return np.mean(losses)


def measure_last(name, metric, y, y_pred, weight):
    metric.reset_state()
    metric.update_state(y, y_pred)


def measure_weighted(name, metric, y, y_pred, weight):
    metric.update_state(y, y_pred, weight)


def measure_unweighted(name, metric, y, y_pred, weight):
    metric.update_state(y, y_pred)


def without(*names):
    return lambda arguments: {name: arguments[name] for name in arguments if name not in names}


# The rules, and in which loop each is broken.


@dataclass(frozen=True)
class Case:
    """A rule, in what it is broken, and the places of the loops that break it, by style."""

    build: Callable[..., keras.Model]
    data: Callable[..., dict[str, Any]]
    styles: dict[str, Places]
    is_explained: bool = True

    @property
    def scenario(self):
        return Scenario("styles", "a loop of one's own", self.build, self.data)


def everywhere(**planted):
    return dict.fromkeys(STYLES, Places(**planted))


def by_hand(**planted):
    """Break a rule in the loops that do themselves what Keras's fit does for a subclass."""
    return {style: places for style, places in everywhere(**planted).items() if style != "subclass"}


def in_batches(batches, pipeline):
    """Break a rule of batches, which Keras's fit makes for a subclass."""
    return {"eager": Places(batches=batches), "function": Places(pipeline=pipeline)}


MEASURED = {"metrics": two_metrics}
SPLIT = partial(data, validation_split=0.3)
SHUFFLED = partial(data, shuffle=True)

CASES = {
    "batch_size": Case(
        dense,
        data,
        in_batches(
            lambda arrays, size, epoch: slices(arrays, 4, epoch), lambda data, size: data.batch(4)
        ),
    ),
    "full_batch": Case(
        dense, data, in_batches(of_sizes(22), lambda data, size: data.batch(len(data)))
    ),
    "same_batch": Case(
        dense,
        data,
        in_batches(the_first_again, lambda data, size: data.batch(size).take(1).repeat(3)),
    ),
    "with_replacement": Case(dense, data, in_batches(with_replacement, drawn)),
    "part_of_data": Case(
        dense, data, in_batches(of_sizes(8), lambda data, size: data.batch(size).take(1))
    ),
    "several_passes": Case(
        dense, data, in_batches(two_passes, lambda data, size: data.batch(size).repeat(2))
    ),
    "other_steps": Case(
        dense,
        data,
        in_batches(of_sizes(8, 8, 3, 3), lambda data, size: data.batch(size).rebatch([8, 8, 3, 3])),
    ),
    "other_cuts": Case(
        dense,
        data,
        in_batches(of_sizes(6, 8, 8), lambda data, size: data.batch(size).rebatch([6, 8, 8])),
    ),
    "last_partial_batch": Case(
        dense,
        data,
        in_batches(of_sizes(8, 8), lambda data, size: data.batch(size, drop_remainder=True)),
    ),
    # Nothing is known of what follows from inputs that fit does not have.
    "other_inputs": Case(
        dense,
        data,
        in_batches(halved, lambda data, size: data.map(lambda x, y: (x / 2, y)).batch(size)),
        is_explained=False,
    ),
    "targets_of_others": Case(dense, data, in_batches(apart, zipped_apart)),
    "shuffles": Case(
        dense, data, in_batches(permuted, lambda data, size: data.shuffle(22, seed=3).batch(size))
    ),
    "shuffle": Case(dense, SHUFFLED, by_hand()),
    "permutation": Case(
        dense,
        SHUFFLED,
        in_batches(permuted, lambda data, size: data.shuffle(22, seed=3).batch(size)),
    ),
    "shuffled_once": Case(dense, reshuffled, {"eager": Places(batches=of_first_iterator())}),
    "two_iterators": Case(
        dense, reshuffled, {"eager": Places(batches=of_dataset), "function": RIGHT}
    ),
    "validation_tail": Case(dense, SPLIT, by_hand(split=head)),
    "trains_on_validation": Case(dense, SPLIT, by_hand(split=all_and_tail)),
    "mean_over_samples": Case(dense, data, everywhere(loss=loss_of_each)),
    "gradient_factor": Case(dense, data, everywhere(scaled=lambda optimizer, loss: loss / 4)),
    "loss_factor": Case(dense, data, everywhere(loss=sum_of_squares)),
    "other_loss_weights": Case(two_outputs, two_targets, everywhere(loss=uneven_sum)),
    "regularization_losses": Case(regularized, data, everywhere(added=lambda model: 0.0)),
    "training_flag": Case(
        regularized, data, everywhere(forward=lambda model, x: model(x, training=False))
    ),
    "batch_statistics": Case(regularized, data, everywhere(forward=predict_at_rest)),
    # Keras's fit keeps the states of a subclass.
    "states_reset": Case(stateful, sequences, by_hand(optimizer=reset_states)),
    "one_forward_pass": Case(regularized, data, everywhere(forward=predict_twice)),
    "sample_weights": Case(measured, weighted, everywhere(loss=without_weights, **MEASURED)),
    "weights_in_numerator_only": Case(
        measured, weighted, everywhere(loss=divided_by_weights, **MEASURED)
    ),
    "class_weights": Case(
        classifier,
        partial(labels, class_weight={0: 1.0, 1: 3.0}),
        everywhere(arguments=without("class_weight")),
    ),
    "from_logits": Case(
        partial(classifier, from_logits=True), labels, everywhere(loss=probabilities)
    ),
    "same_rank": Case(dense, flat, everywhere(loss=mean_square)),
    "loss_weights": Case(two_outputs, two_targets, everywhere(loss=sum_of_losses)),
    "masks": Case(of_words, sentences, everywhere(loss=mean_square)),
    "loss_scaling": Case(loss_scaled, data, everywhere(scaled=lambda optimizer, loss: loss)),
    "optimizer_epsilon": Case(adaptive, data, everywhere(optimizer=adam(epsilon=1e-8))),
    "gradient_clipping": Case(adaptive, data, everywhere(optimizer=adam(clipnorm=None))),
    "weight_decay": Case(adaptive, data, everywhere(optimizer=adam(weight_decay=None))),
    "optimizer_learning_rate": Case(
        adaptive, data, everywhere(optimizer=adam(learning_rate=0.001))
    ),
    "another_optimizer": Case(
        adaptive, data, everywhere(optimizer=instead(lambda: keras.optimizers.SGD(0.05)))
    ),
    # Keras's fit keeps the optimizer of a subclass, and finishes what it averages.
    "optimizer_state": Case(adaptive, data, by_hand(optimizer=anew)),
    "final_averages": Case(averaged, data, by_hand(ends=lambda model, optimizer: None)),
    "initial_epoch": Case(
        dense, partial(data, initial_epoch=1), everywhere(arguments=without("initial_epoch"))
    ),
    "callbacks": Case(dense, slowing, everywhere(arguments=without("callbacks"))),
    "early_stopping": Case(dense, stopping, everywhere(arguments=without("callbacks"))),
    "epochs": Case(dense, data, everywhere(arguments=lambda arguments: {**arguments, "epochs": 3})),
    "epoch_mean": Case(
        dense, data, everywhere(mean=lambda losses, sizes: losses[-1], count=count_last)
    ),
    "epoch_sum": Case(
        dense, data, everywhere(mean=lambda losses, sizes: sum(losses), count=count_sum)
    ),
    "batch_size_weights": Case(dense, data, everywhere(mean=mean_of_means, count=count_once)),
    "log_factor": Case(dense, data, everywhere(logged=lambda on_data, loss: loss / 8)),
    "logged_regularization": Case(
        regularized, data, everywhere(logged=lambda on_data, loss: on_data)
    ),
    "metric_reset": Case(measured, data, everywhere(resets=False, resets_loss=False, **MEASURED)),
    # Only the eager loop keeps its loss apart from the metrics.
    "output_metric_reset": Case(measured, data, {"eager": Places(resets=False, **MEASURED)}),
    "metrics_of_the_epoch": Case(measured, data, everywhere(measure=measure_last, **MEASURED)),
    "metrics_before_update": Case(measured, data, everywhere(seen=predict_again, **MEASURED)),
    "plain_metrics": Case(measured, weighted, everywhere(measure=measure_weighted, **MEASURED)),
    "weighted_metrics": Case(
        measured, weighted, everywhere(measure=measure_unweighted, **MEASURED)
    ),
    "validation": Case(dense, validated, everywhere(arguments=without("validation_data"))),
    "validation_samples": Case(
        dense, validated, by_hand(tested=lambda arrays, size: [next(slices(arrays, size, 0))])
    ),
    "validation_batch_size": Case(
        batched,
        validated,
        by_hand(tested=lambda arrays, size: slices(arrays, 11, 0), metrics=largest_metric),
    ),
    "validation_batch_size_weights": Case(
        dense, validated, everywhere(test_mean=mean_of_means, test_count=count_once)
    ),
    "validation_regularization": Case(
        regularized,
        validated,
        everywhere(test_loss=lambda model, y, y_pred: model.loss(y, y_pred)),
    ),
    "validation_training_flag": Case(
        regularized, validated, everywhere(test_forward=lambda model, x: model(x, training=True))
    ),
}
"""What is planted; a style that is missing cannot hold the rule."""


SAMPLE = ("same_batch-eager", "mean_over_samples-function", "epoch_mean-subclass")
"""The combinations that `make test-long` runs, too."""

ELSEWHERE = {
    "arguments_of_the_loss", "gradient_accumulation", "left_over_gradients",
    "loss_after_the_epoch", "metrics_of_a_second_pass", "metrics_of_batches", "micro_batches",
    "repeats_before_batching", "same_rank_in_metrics", "shuffle_buffer", "updates_over_epochs",
}  # fmt: skip
"""Rules that loops in `test_diagnose.py` and `test_broken_rules.py` break."""


COMBINATIONS = [
    pytest.param(
        rule, style, marks=pytest.mark.long if f"{rule}-{style}" in SAMPLE else pytest.mark.slow
    )
    for rule, case in CASES.items()
    for style in case.styles
]


@pytest.mark.parametrize(("rule", "style"), COMBINATIONS)
def test_a_mistake_in_a_loop_of_any_style_is_named(rule, style):
    case = CASES[rule]
    found = diagnose(case.scenario, partial(train, style, case.styles[style]))
    assert len(found) == 1, found
    assert rule == found[0].rule, found
    assert (found.rest != "more") == case.is_explained, found


def test_rules_that_no_loop_here_breaks_are_few():
    assert {*BROKEN, *FOUND} - {*CASES} == ELSEWHERE
    assert len([case for case in CASES.values() if len(case.styles) == len(STYLES)]) >= 8


@pytest.mark.slow
@pytest.mark.parametrize("style", STYLES)
def test_the_loops_are_right_where_no_mistake_is_planted(style):
    scenario = Scenario("right", "all that the loops do", everything, validated)
    found = diagnose(scenario, partial(train, style, Places(**MEASURED)))
    assert not found, found
    assert found.rest in ("nothing", "rounding"), found
