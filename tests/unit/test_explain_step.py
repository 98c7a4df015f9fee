"""`loop.explain(..., step=True)`: each number of the first step, redone; nothing is moved."""

import dataclasses
import random
import re
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import loop
from compare import differences, find, record
from compare.scenarios.first import perceptron, uniform

X, Y = uniform(70)


def explained(name):
    """The model and the arguments of a scenario, and the explanation of its first step."""
    (scenario,) = find([name])
    keras.utils.set_random_seed(11)
    model = scenario.build()
    arguments = scenario.data()
    return model, arguments, loop.explain(model, **arguments, step=True)


def number(text, name, nth=0):
    """The number that stands behind a name in the text."""
    return float(re.findall(rf"^ +{re.escape(name)} +(-?[\d.e+-]+)", text, re.M)[nth].rstrip("."))


def part(text, title):
    """What stands below a title of the text, up to the next title."""
    after = text.split(f"\n{title.upper()}\n")[1]
    return re.split(r"\n(?=[A-Z][A-Z])", after)[0]


def crossentropy(y, p):
    p = np.clip(p, 1e-7, 1 - 1e-7)
    return -(y * np.log(p) + (1 - y) * np.log(1 - p))


def first_batch(found):
    x, y, *weight = found.first_step.drawn.batch
    return x, y, *weight


@pytest.mark.long
def test_class_weights_multiply_each_loss_and_the_sum_is_divided_by_the_samples():
    model, arguments, found = explained("rare_class")
    text = str(found)
    rows = found.first_step.drawn.rows
    x, y = arguments["x"][rows].astype("float32"), arguments["y"][rows]
    losses = crossentropy(y[:, None], model.predict(x, verbose=0)).squeeze(1)
    weights = np.where(y == 1, 9, 1)
    assert len(rows) == 32
    assert f"rows {', '.join(map(str, rows[:12]))}" in " ".join(text.split())
    assert number(text, "weighted sum") == pytest.approx((losses * weights).sum(), rel=1e-5)
    assert number(text, "divided by") == 32
    assert number(text, "by hand") == pytest.approx((losses * weights).mean(), rel=1e-5)
    assert number(text, "objective") == pytest.approx((losses * weights).mean(), rel=1e-5)
    shown = re.findall(r"^ +(\d) +(\d) +([\d.e-]+) +([\d.e-]+) +(\d) +([\d.e-]+)$", text, re.M)
    assert len(shown) == 5
    for place, target, prediction, loss, weight, weighted in shown:
        place = int(place)
        assert int(target) == y[place]
        assert int(weight) == weights[place]
        assert float(loss) == pytest.approx(losses[place], rel=1e-4)
        assert float(loss) == pytest.approx(crossentropy(y[place], float(prediction)), rel=1e-4)
        assert float(weighted) == pytest.approx(losses[place] * weights[place], rel=1e-4)


@pytest.mark.long
def test_a_mask_leaves_elements_out_and_makes_up_for_them():
    model, _, found = explained("masked_sequences")
    text = str(found)
    x, y, weight = first_batch(found)
    losses = crossentropy(y, model.predict(x, verbose=0, batch_size=16))[..., 0]
    mask = x != 0
    mean = (losses * weight * mask).sum() / mask.sum()
    assert f"{mask.sum()} of {mask.size} elements count" in text
    assert number(text, "divided by") == mask.size
    assert number(text, "by hand") == pytest.approx(mean, rel=1e-5)
    assert number(text, "Keras") == pytest.approx(mean, rel=1e-5)
    assert number(text, "weighted sum") == pytest.approx(mean * mask.size, rel=1e-5)
    assert found.first_step.terms[0].by_hand == pytest.approx(mean, rel=1e-5)


@pytest.mark.long
def test_losses_of_several_outputs_add_up_under_their_weights():
    model, _, found = explained("dict_losses")
    text = str(found)
    x, y = first_batch(found)
    price, kind = model.predict(x, verbose=0)
    of_price = ((price[:, 0] - np.ravel(y["price"])) ** 2).mean()
    of_kind = -np.log(kind[np.arange(len(kind)), np.ravel(y["kind"]).astype(int)]).mean()
    assert number(text, "by hand", 0) == pytest.approx(of_price, rel=1e-5)
    assert number(text, "by hand", 1) == pytest.approx(of_kind, rel=1e-5)
    total = 0.3 * of_price + 2 * of_kind
    assert number(text, "sum by hand") == pytest.approx(total, rel=1e-5)
    assert number(text, "objective") == pytest.approx(total, rel=1e-5)
    assert found.first_step.logs["price_loss"] == pytest.approx(of_price, rel=1e-5)
    assert number(text, "loss", 0) == pytest.approx(total, rel=1e-5)


@pytest.mark.long
def test_a_loss_may_be_divided_by_the_sum_of_its_weights():
    model, _, found = explained("reduction_by_weights")
    text = str(found)
    x, y, weight = first_batch(found)
    losses = ((model.predict(x, verbose=0) - y) ** 2).mean(axis=1)
    assert number(text, "divided by") == pytest.approx(weight.sum(), rel=1e-5)
    mean = (losses * weight).sum() / weight.sum()
    assert number(text, "by hand") == pytest.approx(mean, rel=1e-5)
    assert number(text, "weighted sum") == pytest.approx((losses * weight).sum(), rel=1e-5)


@pytest.mark.long
def test_what_layers_add_is_named_and_added():
    model, _, found = explained("added_losses")
    text = str(found)
    x, y, weight = first_batch(found)
    kernel, bias = (v.numpy() for v in model.layers[0].weights)
    l2 = 0.01 * (kernel**2).sum()
    hidden = model.layers[0](x).numpy()
    activity = 0.01 * (hidden**2).sum() / len(x)
    pulled = 0.01 * (model.layers[1](hidden).numpy() ** 2).mean()
    data = (((model.predict(x, verbose=0) - y) ** 2).mean(axis=1) * weight).mean()
    added = {one.name: one for one in found.first_step.added}
    names = list(added)
    assert names[0] == f"activity regularizer of {model.layers[0].name}"
    assert names[1].startswith("add_loss in ")
    assert f"L2 of {model.layers[0].kernel.path}" in added
    values = [float(one.value) for one in found.first_step.added]
    l1 = 0.01 * np.abs(bias).sum()
    np.testing.assert_allclose(values, [activity, pulled, 1.0, l2, l1], rtol=1e-5)
    assert number(text, "objective") == pytest.approx(data + sum(values), rel=1e-5)
    frozen = model.layers[1].name
    assert not [name for name in names if f"/{frozen}/" in name], "a frozen kernel adds nothing"


@pytest.mark.long
def test_in_half_precision_the_loss_is_scaled_and_the_gradients_are_not():
    model, _, found = explained("mixed_float16")
    text = str(found)
    step = found.first_step
    assert number(text, "loss scale") == 2**15
    _, y = first_batch(found)
    values, error = step.terms[0].observed.values, step.terms[0].by_hand
    predictions = step.y_pred.astype("float32")
    np.testing.assert_allclose(values, ((predictions - y[:, None]) ** 2)[:, 0], rtol=1e-5)
    assert number(text, "by hand") == pytest.approx(error, rel=1e-6)
    l2 = 0.01 * (model.layers[0].kernel.numpy() ** 2).sum()
    assert number(text, "objective") == pytest.approx(error + l2, rel=1e-5)
    (bias,) = [one for one in step.moved if one.path == model.layers[-1].bias.path]
    expected = 2 * (predictions[:, 0] - y).mean()
    assert bias.gradient[0] == pytest.approx(expected, rel=2e-2), "not 2**15 times as large"


def line(optimizer, **compiled):
    keras.utils.set_random_seed(5)
    model = keras.Sequential([keras.Input((10,)), layers.Dense(1)])
    model.compile(optimizer, "mse", **compiled)
    return model


def gradients_of(model, x, y):
    """The gradient of the mean squared error of a line by the name of each weight, by hand."""
    x = x.astype("float64")
    error = 2 * (model.predict(x, verbose=0)[:, 0].astype("float64") - y) / len(x)
    (layer,) = model.layers
    of_kernel = {f"{layer.kernel.path}[{i}, 0]": g for i, g in enumerate(x.T @ error)}
    return of_kernel | {f"{layer.bias.path}[0]": error.sum()}


def slot_of(model, weight, name):
    """The value that the optimizer keeps for a weight, by its name in the explanation."""
    path, place = weight.name.split("[")
    name = f"{path.replace('/', '_')}_{name}"
    (found,) = [v.numpy() for v in model.optimizer.variables if v.name == name]
    return float(found[tuple(map(int, place.rstrip("]").split(", ")))])


def value_after_the_same_step_of_fit(model, weight):
    loop.fit(model, X[:32], Y[:32], shuffle=False, verbose=0)
    path, place = weight.name.split("[")
    (found,) = [v.numpy() for v in model.trainable_weights if v.path == path]
    return found[tuple(map(int, place.rstrip("]").split(", ")))]


@pytest.mark.sampled
@pytest.mark.parametrize("options", [{}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}])
def test_the_update_by_sgd_is_that_of_the_formula(options):
    model = line(keras.optimizers.SGD(0.1, **options))
    loop.fit(model, X, Y, verbose=0)  # so that momentum is not zero
    found = loop.explain(model, X, Y, shuffle=False, step=True)
    gradients = gradients_of(model, X[:32], Y[:32])
    weight, update = found.first_step.update.weight, found.first_step.update
    assert weight.name == max(gradients, key=lambda name: abs(gradients[name]))
    gradient = gradients[weight.name]
    assert weight.gradient == pytest.approx(gradient, rel=1e-3)
    momentum = slot_of(model, weight, "momentum") if options else 0
    velocity = 0.9 * momentum - 0.1 * gradient
    step = 0.9 * velocity - 0.1 * gradient if "nesterov" in options else velocity
    assert update.by_hand == pytest.approx(weight.before + step, rel=1e-4)
    assert weight.after == pytest.approx(weight.before + step, rel=1e-4)
    assert re.search(r"optimizer +\S+, (the same bits|\d ulps? apart)", str(found))
    assert value_after_the_same_step_of_fit(model, weight) == pytest.approx(weight.after, rel=1e-5)


@pytest.mark.long
def test_the_update_by_adam_is_that_of_the_formula():
    model = line(keras.optimizers.Adam(0.01))
    loop.fit(model, X, Y, verbose=0)
    number_of_step = model.optimizer.iterations.numpy() + 1
    found = loop.explain(model, X, Y, shuffle=False, step=True)
    weight, update = found.first_step.update.weight, found.first_step.update
    g, m, v = (
        gradients_of(model, X[:32], Y[:32])[weight.name],
        *(slot_of(model, weight, name) for name in ("momentum", "velocity")),
    )
    mean, square = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
    rate = 0.01 * np.sqrt(1 - 0.999**number_of_step) / (1 - 0.9**number_of_step)
    after = float(weight.before) - rate * mean / (np.sqrt(square) + 1e-7)
    assert update.by_hand == pytest.approx(after, rel=1e-4)
    assert weight.after == pytest.approx(after, rel=1e-4)
    named = {line.name: float(line.value) for line in update.lines}
    assert named["mean"] == pytest.approx(mean, rel=1e-3)
    assert named["square"] == pytest.approx(square, rel=1e-3)
    assert named["rate"] == pytest.approx(rate, rel=1e-4)
    assert value_after_the_same_step_of_fit(model, weight) == pytest.approx(weight.after, rel=1e-5)


@pytest.mark.long
def test_other_updates_are_shown_and_said_not_to_be_written_out():
    found = loop.explain(line("rmsprop"), X, Y, step=True)
    assert "not written out for RMSprop." in str(found)
    assert found.first_step.update.by_hand is None
    clipped = loop.explain(line(keras.optimizers.SGD(0.1, clipnorm=1.0)), X, Y, step=True)
    assert "not written out for SGD with clipnorm." in str(clipped)


@pytest.mark.long
def test_metrics_begin_at_zero_and_hold_the_batch_afterwards():
    keras.utils.set_random_seed(3)
    model = perceptron()
    loop.fit(model, X, Y, verbose=0)
    found = loop.explain(model, X, Y, step=True)
    x, y = first_batch(found)
    right = (model.predict(x, verbose=0)[:, 0] > 0.5) == y
    states = {(one.metric, one.variable): one for one in found.first_step.metrics}
    total = states["accuracy", "total"]
    assert (total.before, total.after) == (0, right.sum())
    assert states["accuracy", "count"].after == 32
    assert found.first_step.logs["accuracy"] == pytest.approx(right.mean())
    assert number(str(found), "accuracy", -1) == pytest.approx(right.mean(), rel=1e-5)


def built(scenario):
    """The scenario with a model that has its weights before fit."""

    def build():
        model = scenario.build()
        if not model.built:
            model(scenario.data()["x"][:1])
        return model

    return dataclasses.replace(scenario, build=build)


def state(model):
    """Everything that a step could change, as bytes."""
    optimizer = getattr(model, "optimizer", None)
    owned = [*model.variables, *(optimizer.variables if optimizer else ())]
    owned += [v for metric in model.metrics for v in metric.variables]
    variables = {id(v): v.numpy().tobytes() for v in owned}
    return variables, random.getstate(), np.random.get_state()[1].tobytes()


UNTOUCHED = (
    "dict_losses", "mixed_float16", "batch_normalization", "own_train_step", "pydataset",
    "spare_layer",
)  # fmt: skip
MORE = (
    "random_labels", "masked_sequences", "added_losses", "add_loss_only", "custom_functions",
    "own_loss_and_metrics", "stateful_rnn", "run_eagerly", "nested_outputs", "one_target_is_none",
    "metrics_of_all_kinds",
)  # fmt: skip
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in MORE]


@pytest.mark.long
@pytest.mark.parametrize("name", [*UNTOUCHED, *SLOW])
def test_a_fit_whose_first_step_was_taken_apart_has_the_same_bits(name):
    scenario = built(*find([name]))
    steps = []

    def explained(model, **arguments):
        (before, *states) = state(model)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = loop.explain(model, **arguments, step=True)
        (after, *states_after) = state(model)
        assert {one: after[one] for one in before} == before
        assert states_after == states
        steps.append(found)
        return loop.fit(model, **arguments)

    reference, ours = (record(scenario, fit, "epochs")[0] for fit in (loop.fit, explained))
    # Where explain has made the variables, Keras traces once, not twice, and warns as often.
    assert set(ours.warnings) == set(reference.warnings)
    ours.warnings = reference.warnings
    compared, found = differences(reference, ours)
    assert not found, found[0]
    assert compared > 20
    for explanation in steps:
        assert explanation.first_step is not None, str(explanation)


class Unseeded(layers.Layer):
    """Adds numbers that Keras draws without a seed of the layer."""

    def call(self, inputs):
        return inputs + keras.random.normal(tf.shape(inputs))


class Augmented(keras.utils.PyDataset):
    """Draws from the generators of Python and NumPy for each batch."""

    def __init__(self):
        super().__init__()
        self.told = []

    def __len__(self):
        return 3

    def __getitem__(self, place):
        noise = np.random.normal(size=(10, 10)) + random.random()
        return X[place * 10 : place * 10 + 10] + noise, Y[place * 10 : place * 10 + 10]

    def on_epoch_begin(self):
        self.told.append("begin")

    def on_epoch_end(self):
        self.told.append("end")


@pytest.mark.sampled
@pytest.mark.parametrize(("step", "eagerly"), [(False, False), (True, False), (True, True)])
def test_the_random_numbers_that_follow_are_those_without_it(step, eagerly):
    def drawn(explains):
        keras.utils.set_random_seed(9)
        keras.random.uniform((2,))  # makes the generator that is used without a seed
        model = keras.Sequential(
            [keras.Input((10,)), layers.Dropout(0.5), Unseeded(), layers.Dense(1)]
        )
        model.compile("sgd", "mse", run_eagerly=eagerly)
        data = Augmented()
        if explains:
            loop.explain(model, X, Y, step=step)
            loop.explain(model, data, step=step)
        assert data.told == []
        uniform = keras.random.uniform((2,)).numpy().tolist()
        normal = tf.random.normal((2,)).numpy().tolist()
        return uniform, normal, random.random(), np.random.rand()

    assert drawn(True) == drawn(False)


@pytest.mark.long
def test_a_step_of_ones_own_is_run_but_not_taken_apart():
    def my_step(model, batch):
        x, y = batch
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((tf.cast(y[:, None], tf.float32) - model(x)) ** 2)
        weights = model.trainable_weights
        model.optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
        return {"error": loop.last(loss)}

    model = line("sgd")
    found = loop.explain(model, X, Y, shuffle=False, train_step=my_step, step=True)
    text = " ".join(str(found).split())
    assert "the function that was passed, my_step" in text
    assert "its own and is not taken apart" in text
    expected = ((model.predict(X[:32], verbose=0)[:, 0] - Y[:32]) ** 2).mean()
    assert found.first_step.logs["error"] == pytest.approx(expected, rel=1e-5)
    moved = {one.path: one for one in found.first_step.moved}
    kernel = moved[model.layers[0].kernel.path]
    assert kernel.gradient is None
    assert (kernel.after != kernel.before).all()
    assert (model.layers[0].kernel.numpy() == kernel.before).all()


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:The model does not have any trainable weights")
def test_without_trainable_weights_nothing_is_updated():
    model = line("sgd")
    model.trainable = False
    model.compile("sgd", "mse")
    found = loop.explain(model, X, Y, step=True)
    assert "no trainable weights: nothing is updated" in str(found)
    assert found.first_step.update is None


@pytest.mark.long
def test_a_loss_that_does_not_reduce_and_one_that_returns_a_number():
    keras.utils.set_random_seed(2)
    model = line("sgd")
    model.compile("sgd", keras.losses.MeanSquaredError(reduction="sum"))
    text = str(loop.explain(model, X, Y, shuffle=False, step=True))
    total = ((model.predict(X[:32], verbose=0)[:, 0] - Y[:32]) ** 2).sum()
    assert number(text, "by hand") == pytest.approx(total, rel=1e-5)
    assert "nothing (reduction: sum)" in text

    def mean_error(y, y_pred):
        return tf.reduce_mean(tf.abs(y - y_pred))

    model.compile("sgd", mean_error)
    text = str(loop.explain(model, X, Y, shuffle=False, step=True))
    assert "mean_error" in text
    assert "returns one number for the batch" in text


@pytest.mark.long
@pytest.mark.parametrize("options", [{"jit_compile": True}, {"run_eagerly": True}], ids=str)
def test_it_is_shown_under_every_compilation(options):
    model = line("adam", **options)
    found = loop.explain(model, X, Y, shuffle=False, step=True)
    expected = ((model.predict(X[:32], verbose=0)[:, 0] - Y[:32]) ** 2).mean()
    assert number(str(found), "objective") == pytest.approx(expected, rel=1e-5)
    assert int(model.optimizer.iterations) == 0


def test_what_an_eager_step_of_ones_own_would_make_is_not_made():
    (scenario,) = find(["own_train_step"])
    for optimizer_is_built in (False, True):
        model = scenario.build()
        model.run_eagerly = True
        data = scenario.data()
        model(data["x"][:1])
        if optimizer_is_built:
            model.optimizer.build(model.trainable_variables)
        before = state(model)
        found = loop.explain(model, **data, step=True)
        assert state(model) == before
        assert (found.first_step is not None) == optimizer_is_built
        assert ("could not be restored" in " ".join(str(found).split())) != optimizer_is_built


def batches():
    for start in range(0, 70, 32):
        yield X[start : start + 32], Y[start : start + 32]


@pytest.mark.long
def test_no_batch_is_taken_from_a_generator_or_from_a_dataset_that_shuffles():
    taken = []

    def counted():
        for batch in batches():
            taken.append(batch)
            yield batch

    found = loop.explain(line("sgd"), counted(), shuffle=False, step=True)
    assert found.first_step is None
    assert "a generator cannot be read without taking it" in " ".join(str(found).split())
    assert taken == []
    rows = tf.data.Dataset.from_tensor_slices((X, Y))
    for dataset in (rows.shuffle(70).batch(32), rows.batch(32).cache()):
        shuffled = loop.explain(line("sgd"), dataset, shuffle=False, step=True)
        assert "would change it" in " ".join(str(shuffled).split())
    plain = loop.explain(line("sgd"), rows.batch(32), shuffle=False, step=True)
    np.testing.assert_array_equal(plain.first_step.drawn.batch[1], Y[:32])


def test_a_model_without_weights_is_not_built_for_it():
    model = keras.Sequential([layers.Dense(1)])
    model.compile("sgd", "mse")
    found = loop.explain(model, X, Y, step=True)
    assert "no weights yet" in str(found)
    assert not model.built


@pytest.mark.long
def test_a_step_that_fails_leaves_everything_as_it_was():
    model = line("sgd")
    loop.fit(model, X, Y, verbose=0)
    before = state(model)

    def failing(model, batch):
        model.layers[0].kernel.assign_add(tf.ones((10, 1)))
        tf.debugging.assert_equal(tf.shape(batch[0])[0], 0, "no such batch")
        return {"loss": tf.constant(0.0)}

    with pytest.raises(tf.errors.InvalidArgumentError, match="no such batch"):
        loop.explain(model, X, Y, train_step=failing, step=True)
    assert state(model) == before
