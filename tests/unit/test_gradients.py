"""loop.minimize and its parts, and gradients per example."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import loop

PLANS = ("step", "fused", "auto")
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(70, 5)).astype("float32")
WORDS = RANDOM.integers(0, 7, (70, 4))
Y = X[:, :1]

CLOSE = 1e-5
"""How far gradients per example are from single runs, as a part of the largest: float32 sums in
another order. Single runs here differ by up to 1e-6."""


def dense(*layers):
    hidden = [keras.layers.Dense(8, "tanh"), *layers]
    return keras.Sequential([keras.Input((5,)), *hidden, keras.layers.Dense(1)])


def words():
    return keras.Sequential(
        [
            keras.Input((4,), dtype="int32"),
            keras.layers.Embedding(7, 3),
            keras.layers.Flatten(),
            keras.layers.Dense(1),
        ]
    )


def squares(model, x, y):
    return keras.ops.mean(keras.ops.square(model(x, training=True) - y))


def step(model, batch):
    """One that returns more than the loss."""
    x, y = batch

    def loss_fn():
        loss = squares(model, x, y)
        return loss, keras.ops.sqrt(loss)

    loss, root = loop.minimize(loss_fn, model.optimizer, model.trainable_variables)
    model.mean.update_state(loss)
    model.roots.update_state(root)
    return {"mean": model.mean.result(), "roots": model.roots.result()}


class ByHand(keras.Model):
    """A model with the same step, written for Keras."""

    def __init__(self, network):
        super().__init__()
        self.network = network
        self.mean = keras.metrics.Mean("mean")
        self.roots = keras.metrics.Mean("roots")

    def call(self, x, training=None):
        return self.network(x, training=training)

    def train_step(self, batch):
        x, y = batch
        with tf.GradientTape() as tape:
            loss = squares(self, x, y)
            scaled = self.optimizer.scale_loss(loss)
        weights = self.trainable_variables
        gradients = tape.gradient(scaled, weights)
        self.optimizer.apply_gradients(zip(gradients, weights, strict=True))
        self.mean.update_state(loss)
        self.roots.update_state(keras.ops.sqrt(loss))
        return {"mean": self.mean.result(), "roots": self.roots.result()}


def scaled():
    return keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(), dynamic_growth_steps=3)


@pytest.mark.long
@pytest.mark.bits
@pytest.mark.parametrize(
    ("network", "x", "optimizer"),
    [
        (lambda: dense(keras.layers.Dropout(0.5)), X, scaled),
        (words, WORDS, lambda: keras.optimizers.Adam(clipnorm=0.1, use_ema=True)),
    ],
    ids=["dropout, loss scaling", "embedding, clipping, averages"],
)
def test_minimize_trains_to_the_bits_of_a_tape_in_a_train_step_under_keras(network, x, optimizer):
    results = []
    for fit in (keras.Model.fit, *PLANS):
        keras.utils.set_random_seed(1)
        model = ByHand(network())
        model.compile(optimizer(), loss=None)
        if fit in PLANS:
            history = loop.fit(model, x, Y, epochs=3, verbose=0, train_step=step, plan=fit)
        else:
            history = fit(model, x, Y, epochs=3, verbose=0)
        variables = [*model.variables, *model.optimizer.variables]
        results.append((history.history, [np.asarray(v).tobytes() for v in variables]))
    theirs, *ours = results
    assert len(theirs[0]["roots"]) == 3
    for result in ours:
        assert result == theirs


@pytest.mark.sampled
@pytest.mark.bits
@pytest.mark.parametrize("plan", PLANS)
def test_the_pieces_of_a_step_put_together_are_the_step_of_fit(plan):
    def pieces(model, batch):
        x, y, weight = batch

        def loss_fn():
            y_pred = loop.forward(model, x, training=True)
            return loop.objective(model, x, y, y_pred, weight), y_pred

        loss, y_pred = loop.minimize(loss_fn, model.optimizer, model.trainable_variables)
        loop.track_loss(model, loss, x)
        return loop.update_metrics(model, x, y, y_pred, weight)

    results = []
    for given in (None, pieces):
        keras.utils.set_random_seed(1)
        model = dense(keras.layers.Dropout(0.5), keras.layers.BatchNormalization())
        model.compile("adam", "mse", metrics=["mae"], weighted_metrics=["mse"])
        data = {"x": X, "y": Y, "sample_weight": X[:, 1] ** 2}
        history = loop.fit(model, **data, epochs=2, verbose=0, train_step=given, plan=plan)
        results.append((history.history, [weight.tobytes() for weight in model.get_weights()]))
    assert results[0] == results[1]


def test_a_variable_without_a_gradient_stays_as_it_is_with_the_warning_of_keras():
    used, unused = keras.Variable(1.0, name="used"), keras.Variable(1.0, name="unused")
    with pytest.warns(UserWarning, match=r"Gradients do not exist for variables \['unused'\]"):
        loss = loop.minimize(lambda: used * used, keras.optimizers.SGD(0.25), [used, unused])
    assert (float(loss), float(used), float(unused)) == (1.0, 0.5, 1.0)
    with pytest.raises(ValueError, match="No gradients provided for any variable"):
        loop.minimize(lambda: used * used, keras.optimizers.SGD(), [unused])


@pytest.mark.parametrize(
    ("loss", "came"),
    [
        (tf.ones([3]), r"the shape \(3,\)"),
        ((tf.ones([3, 1]), tf.ones([])), r"the shape \(3, 1\)"),
        (None, "NoneType"),
        ({"loss": tf.ones([])}, "dict"),
        ([tf.ones([])], "list"),
        ((), "tuple"),
        (1.0, "float"),
    ],
    ids=str,
)
def test_a_loss_that_is_no_scalar_tensor_is_refused(loss, came):
    variable = keras.Variable(1.0)
    message = rf"a scalar tensor, got {came}\. Return keras\.ops\.mean\(loss\)"
    with pytest.raises(ValueError, match=message):
        loop.minimize(lambda: loss, keras.optimizers.SGD(), [variable])
    with pytest.raises(ValueError, match=message):
        loop.gradients(lambda: loss, None, [variable])
    assert float(variable) == 1.0


def test_in_fit_such_a_loss_is_refused_before_anything_trains():
    model = dense()
    model.compile("sgd", "mse")
    before = [weight.tobytes() for weight in model.get_weights()]

    def per_sample(model, batch):
        x, y = batch
        loss_fn = lambda: keras.losses.mean_squared_error(y, model(x))  # noqa: E731
        return {"loss": loop.minimize(loss_fn, model.optimizer, model.trainable_variables)}

    with pytest.raises(ValueError, match=r"got the shape \(None,\)"):
        loop.fit(model, X, Y, train_step=per_sample, verbose=0)
    assert [weight.tobytes() for weight in model.get_weights()] == before


def test_gradients_are_scaled_until_they_are_applied():
    variable, optimizer = keras.Variable(3.0), scaled()
    optimizer.build([variable])

    def loss_fn():
        return keras.ops.square(variable), "more"

    (loss, more), (gradient,) = loop.gradients(loss_fn, optimizer, [variable])
    assert (float(loss), more, float(gradient)) == (9.0, "more", 6.0 * 2**15)
    assert float(variable) == 3.0
    _, (unscaled,) = loop.gradients(loss_fn, None, [variable])
    assert float(unscaled) == 6.0
    sgd = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.25))
    loop.apply(sgd, [gradient], [variable])
    assert float(variable) == 3.0 - 0.25 * 6.0


def test_infinite_gradients_are_not_applied_and_the_scale_is_halved():
    variable, optimizer = keras.Variable(3.0), scaled()
    loop.minimize(lambda: variable * np.float32(3e38), optimizer, [variable])
    assert float(variable) == 3.0
    assert float(optimizer.dynamic_scale) == 2**14


@pytest.mark.parametrize(
    ("gradients", "variables"), [(0, 0), (1, 2), (2, 1)], ids=["none", "too few", "too many"]
)
def test_apply_refuses_what_has_no_gradient_for_each_variable(gradients, variables):
    message = rf"got {variables} variables and {gradients} gradients\. Is `trainable` False"
    with pytest.raises(ValueError, match=message):
        loop.apply(
            keras.optimizers.SGD(),
            [tf.ones([])] * gradients,
            [keras.Variable(1.0) for _ in range(variables)],
        )


def one_loss(model, batch_of_one, training=True):
    x, y = batch_of_one
    return keras.ops.mean(keras.ops.square(model(x, training=training) - y))


def single_runs(loss, model, x, y):
    """The gradients of each example, one run of the tape after another."""
    runs = []
    for place in range(len(x)):
        with tf.GradientTape() as tape:
            value = loss(model, (x[place : place + 1], y[place : place + 1]))
        found = tape.gradient(value, model.trainable_weights)
        runs.append([tf.convert_to_tensor(gradient).numpy() for gradient in found])
    return [np.stack(of_weight) for of_weight in zip(*runs, strict=True)]


def assert_close(found, expected):
    largest = max(np.abs(one).max() for one in expected)
    assert largest > 0
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        assert np.abs(one - other).max() <= CLOSE * largest


def pictures():
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(4, 3, activation="relu"),
            keras.layers.GroupNormalization(2),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dense(1),
        ]
    )


def attention():
    inputs = keras.Input((6, 4))
    hidden = keras.layers.MultiHeadAttention(2, 4)(inputs, inputs)
    hidden = keras.layers.LayerNormalization()(hidden)
    return keras.Model(inputs, keras.layers.Dense(1)(hidden[:, 0]))


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("network", "x", "training"),
    [
        (dense, X, True),
        (words, WORDS, True),
        (lambda: dense(keras.layers.BatchNormalization()), X, False),
        (lambda: dense(keras.layers.Dropout(0.5)), X, False),
        (pictures, RANDOM.normal(size=(6, 8, 8, 1)).astype("float32"), True),
        (attention, RANDOM.normal(size=(6, 6, 4)).astype("float32"), True),
    ],
    ids=["dense", "embedding", "normalization", "dropout", "convolution", "attention"],
)
def test_gradients_per_example_are_those_of_single_runs(network, x, training):
    model, y = network(), Y[: len(x)]

    def loss(model, one):
        return one_loss(model, one, training)

    found = loop.per_example_gradients(loss, model, (x[:12], y[:12]))
    assert_close([one.numpy() for one in found], single_runs(loss, model, x[:12], y[:12]))


@pytest.mark.long
def test_with_dropout_each_example_has_the_mask_of_its_single_run():
    model = dense(keras.layers.Dropout(0.5))
    (seed,) = (variable for variable in model.variables if "seed" in variable.path)
    seed.assign([1, 0])
    found = loop.per_example_gradients(one_loss, model, (X[:12], Y[:12]))
    assert np.asarray(seed).tolist() == [1, 12]
    seed.assign([1, 0])
    assert_close([one.numpy() for one in found], single_runs(one_loss, model, X[:12], Y[:12]))
    masks = {tuple(row) for row in (found[2].numpy()[:, :, 0] == 0).tolist()}
    assert len(masks) > 6


def test_statistics_of_a_batch_are_refused_with_the_reason_and_stay_as_they_are():
    model = dense(keras.layers.BatchNormalization())
    before = [weight.tobytes() for weight in model.get_weights()]
    message = r"BatchNormalization does in training, .*training=False.*GroupNormalization"
    with pytest.raises(ValueError, match=message):
        loop.per_example_gradients(one_loss, model, (X, Y))
    assert [weight.tobytes() for weight in model.get_weights()] == before


def test_a_loss_per_sample_is_refused_here_too():
    with pytest.raises(ValueError, match=r"got the shape \(1,\)"):
        loop.per_example_gradients(
            lambda model, one: keras.losses.mean_squared_error(one[1], model(one[0])),
            dense(),
            (X, Y),
        )


def test_none_in_a_batch_stays_none_and_unused_weights_get_zeros():
    model = dense()

    def loss(model, one):
        assert one["weight"] is None
        return keras.ops.sum(model.layers[0](one["x"]))

    found = loop.per_example_gradients(loss, model, {"x": X[:4], "weight": None})
    assert [tuple(one.shape) for one in found] == [(4, 5, 8), (4, 8), (4, 8, 1), (4, 1)]
    assert not np.any(found[2])
    assert np.any(found[0])


def clipped(model, batch):
    """A step of DP-SGD without its noise: the mean of gradients of length 0.1 at most."""
    weights = model.trainable_variables
    found = loop.per_example_gradients(one_loss, model, batch)
    squared = sum(tf.reduce_sum(one**2, tuple(range(1, one.ndim))) for one in found)
    factor = tf.minimum(1.0, 0.1 / tf.sqrt(squared))
    means = [
        tf.reduce_mean(one * tf.reshape(factor, [-1] + [1] * (one.ndim - 1)), 0) for one in found
    ]
    loop.apply(model.optimizer, means, weights)
    model.mean.update_state(tf.reduce_mean(factor))
    return {"mean": model.mean.result()}


@pytest.mark.long
@pytest.mark.bits
@pytest.mark.parametrize("rate", [0.0, 0.5], ids=["at once", "one after another"])
def test_a_step_that_clips_gradients_per_example_fuses_and_is_right(rate):
    weights = []
    for plan in ("step", "fused"):
        keras.utils.set_random_seed(1)
        model = dense(keras.layers.Dropout(rate))
        model.mean = keras.metrics.Mean("mean")
        model.compile(keras.optimizers.SGD(0.5), loss=None)
        initial = model.get_weights()
        data = {"x": X, "y": Y, "batch_size": 32, "shuffle": False}
        loop.fit(model, **data, verbose=0, train_step=clipped, plan=plan)
        weights.append([weight.tobytes() for weight in model.get_weights()])
    assert weights[0] == weights[1]
    if rate:
        return
    trained = model.get_weights()
    model.set_weights(initial)
    for first in (0, 32, 64):  # the last batch is short
        found = single_runs(one_loss, model, X[first : first + 32], Y[first : first + 32])
        lengths = np.sqrt(sum((one.reshape(len(one), -1) ** 2).sum(1) for one in found))
        factor = np.minimum(1.0, 0.1 / lengths)
        for weight, one in zip(model.trainable_weights, found, strict=True):
            weight.assign_sub(0.5 * np.einsum("b,b...->...", factor, one) / len(one))
    for one, other in zip(trained, model.get_weights(), strict=True):
        assert np.allclose(one, other, rtol=CLOSE, atol=CLOSE)


def test_track_loss_says_that_a_model_without_compile_has_no_log_of_the_loss():
    said = r'not compiled, .*return \{"loss": loop\.mean\(loss\)\} from the step'
    with pytest.raises(ValueError, match=said):
        loop.track_loss(dense(), tf.ones([]), X)
