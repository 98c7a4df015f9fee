"""Whatever `model.fit` rejects is rejected: same class, a message that helps, no weight moved."""

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import loop

X = np.random.default_rng(0).uniform(size=(40, 4)).astype("float32")
Y = np.arange(40) % 2
BATCHES = tf.data.Dataset.from_tensor_slices((X, Y)).batch(8)


def model(compiled=True, **arguments):
    built = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, name="out")])
    if compiled:
        built.compile(**{"optimizer": "sgd", "loss": "mse", **arguments})
    return built


def two_headed(**arguments):
    inputs = keras.Input((4,))
    heads = [keras.layers.Dense(1, name=name)(inputs) for name in ("left", "right")]
    built = keras.Model(inputs, heads)
    built.compile("sgd", **arguments)
    return built


CASES = {
    "unequal lengths": (model, {"x": X, "y": Y[:30]}, ["same number of samples", "30"]),
    "unequal weights": (model, {"x": X, "y": Y, "sample_weight": np.ones(3)}, ["samples", "3"]),
    "a list of numbers": (model, {"x": [1.0, 2.0], "y": Y}, ["Expected", "float", "np.asarray"]),
    "an unknown type": (model, {"x": object(), "y": Y}, ["Unrecognized data type", "Expected"]),
    "text for x": (model, {"x": "digits.csv", "y": Y}, ["Unrecognized data type", "digits.csv"]),
    "texts of a fixed width": (model, {"x": np.array(["a", "b"]), "y": Y[:2]}, ["Invalid dtype"]),
    "dates": (model, {"x": np.zeros(2, "datetime64[s]"), "y": Y[:2]}, ["Invalid dtype"]),
    "records": (model, {"x": np.zeros(2, [("a", "f4")]), "y": Y[:2]}, ["Invalid dtype"]),
    "categories": (model, {"x": X[:2], "y": pd.Series(["a", "b"], dtype="category")}, ["category"]),
    "nullable integers": (model, {"x": X[:2], "y": pd.Series([1, 2], dtype="Int64")}, ["Int64"]),
    "a negative batch size": (model, {"x": X, "y": Y, "batch_size": -3}, ["1 or more", "-3"]),
    "nothing at all": (model, {}, ["expected arrays", "None"]),
    "y beside a dataset": (model, {"x": BATCHES, "y": Y}, ["`y` should not be passed"]),
    "weights beside a dataset": (
        model,
        {"x": BATCHES, "sample_weight": Y},
        ["`sample_weights` should not be passed"],
    ),
    "class weights with sample weights": (
        model,
        {"x": X, "y": Y, "class_weight": {0: 1.0}, "sample_weight": np.ones(40)},
        ["`class_weight` and `sample_weight`", "one of them"],
    ),
    "class weights for two outputs": (
        lambda: two_headed(loss="mse"),
        {"x": X, "y": [Y, Y], "class_weight": {0: 1.0}},
        ["single output", "sample_weight"],
    ),
    "weights in another structure": (
        lambda: two_headed(loss="mse"),
        {"x": X, "y": [Y, Y], "sample_weight": [np.ones(40)]},
        ["one `sample_weight` array per output"],
    ),
    "one matrix of weights for two outputs": (
        lambda: two_headed(loss="mse"),
        {"x": X, "y": [Y, Y], "sample_weight": np.ones((40, 2))},
        ["one scalar per sample", "(40, 2)"],
    ),
    "an uncompiled model": (lambda: model(compiled=False), {"x": X, "y": Y}, ["compile()"]),
    "no row left to train on": (
        model,
        {"x": X[:2], "y": Y[:2], "validation_split": 0.9},
        ["2 samples", "validation_split=0.9"],
    ),
    "no row left to validate on": (
        model,
        {"x": X, "y": Y, "validation_split": 1e-17},
        ["40 samples"],
    ),
    "a split of a dataset": (
        model,
        {"x": BATCHES, "validation_split": 0.2},
        ["only supported for tensors or NumPy arrays", "validation_data"],
    ),
    "a frequency that is a tuple": (
        model,
        {"x": X, "y": Y, "validation_data": (X, Y), "validation_freq": (1, 2)},
        ["list or int", "tuple"],
    ),
    "a frequency that is a string": (
        model,
        {"x": X, "y": Y, "validation_data": (X, Y), "validation_freq": "2"},
        ["list or int", "str"],
    ),
    "a frequency of zero": (
        model,
        {"x": X, "y": Y, "validation_data": (X, Y), "validation_freq": 0},
        [],
    ),
    "validation data in four parts": (
        model,
        {"x": X, "y": Y, "validation_data": (X, Y, Y, Y)},
        ["(x, y, sample_weight)"],
    ),
    "unequal validation data": (
        model,
        {"x": X, "y": Y, "validation_data": (X, Y[:5])},
        ["same number of samples"],
    ),
    "a dict loss with an unknown output": (
        lambda: two_headed(loss={"left": "mse", "middle": "mse"}),
        {"x": X, "y": [Y, Y]},
        ["left", "middle"],
    ),
    "no loss": (lambda: model(loss=None), {"x": X, "y": Y}, ["No loss to compute", "compile()"]),
    "too many targets": (
        lambda: two_headed(loss="mse"),
        {"x": X, "y": [Y, Y, Y]},
        ["y_true and y_pred have different structures"],
    ),
    "an unknown loss": (lambda: model(loss="no_such_loss"), {"x": X, "y": Y}, ["no_such_loss"]),
    "inputs of another width": (model, {"x": X[:, :3], "y": Y}, ["incompatible"]),
    "class weights without a class": (model, {"x": BATCHES, "class_weight": {}}, []),
}


def attempt(fit, build, arguments):
    """Returns the exception, and whether a weight moved."""
    keras.utils.set_random_seed(1)
    built = build()
    before = built.get_weights()
    try:
        fit(built, **{"verbose": 0, "shuffle": False, "epochs": 2, **arguments})
    except Exception as error:
        same = all(map(np.array_equal, before, built.get_weights()))
        return error, not same
    pytest.fail("accepted")


@pytest.mark.parametrize("case", CASES)
def test_what_fit_rejects_is_rejected_before_a_weight_moves(case):
    build, arguments, words = CASES[case]
    expected, _ = attempt(keras.Model.fit, build, arguments)
    error, moved = attempt(loop.fit, build, arguments)
    assert type(error) is type(expected), error
    for word in words:
        assert word in str(error)
    assert not moved


def test_an_unknown_plan_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"expected one of \['auto', 'step', .*, got 'warp'"):
        loop.fit(model(), X, Y, plan="warp")
    with pytest.raises(ValueError, match="got 'warp'"):
        loop.evaluate(model(), X, Y, plan="warp")


def batches():
    yield X[:8], Y[:8]


class Untyped(keras.utils.PyDataset):
    """Its batches are no tuples."""

    num_batches = 2

    def __getitem__(self, index):
        return "a batch"


@pytest.mark.parametrize(
    ("source", "beside", "match"),
    [
        (batches, {"y": Y}, "`y` should not be passed"),
        (batches, {"sample_weight": Y}, "`sample_weights` should not be passed"),
        (batches, {"class_weight": {0: 1.0}}, "`class_weight` is not supported for"),
        (lambda: iter_none(), {}, "must yield at least one batch"),
        (lambda: (X[:8] for _ in range(2)), {}, "must return a tuple"),
        (Untyped, {}, "must return a tuple or a dict"),
    ],
)
def test_sources_that_make_batches_are_refused_as_by_keras(source, beside, match):
    for fit in (keras.Model.fit, loop.fit):
        with pytest.raises(ValueError, match=match):
            fit(model(), source(), shuffle=False, verbose=0, **beside)


def iter_none():
    yield from ()


@pytest.mark.long
def test_a_generator_whose_shapes_change_later_fails_as_under_keras():
    def shapes():
        yield from [(X[:8], Y[:8])] * 2
        yield X[:8, :3], Y[:8]

    for fit in (keras.Model.fit, loop.fit):
        with pytest.raises(tf.errors.InvalidArgumentError, match="where an element of shape"):
            fit(model(), shapes(), shuffle=False, verbose=0)


def test_a_strategy_of_several_workers_is_refused():
    with tf.distribute.MultiWorkerMirroredStrategy().scope():
        distributed = model()
    with pytest.raises(NotImplementedError, match="in one process"):
        loop.fit(distributed, X, Y)


@pytest.mark.parametrize("name", ["make_train_function", "make_test_function", "evaluate"])
def test_an_override_that_loop_would_ignore_is_refused(name):
    own = type("Own", (keras.Sequential,), {name: lambda self, *a, **k: None})
    built = own([keras.Input((4,)), keras.layers.Dense(1)])
    built.compile("sgd", "mse")
    with pytest.raises(NotImplementedError, match=name):
        loop.fit(built, X, Y, validation_data=(X, Y))


@pytest.mark.parametrize("plan", ["step", "auto"])
def test_empty_arrays_train_nothing_under_any_exact_plan(plan):
    empty = np.ones((0, *X.shape[1:])), np.ones((0, 1))
    trained = model()
    with pytest.warns(UserWarning, match="ran out of data"):
        history = loop.fit(trained, *empty, verbose=0, plan=plan)
    assert int(trained.optimizer.iterations) == 0
    assert list(history.history) == []


def test_an_empty_prediction_says_so():
    dry = pytest.warns(UserWarning, match="ran out of data")
    with pytest.raises(ValueError, match="at least one batch"), dry:
        loop.predict(model(), BATCHES.take(0), verbose=0)


NOT_INTEGERS = ["epochs", "initial_epoch", "steps_per_epoch", "validation_steps"]


@pytest.mark.parametrize("name", NOT_INTEGERS)
@pytest.mark.parametrize("plan", ["auto", "step"])
def test_a_number_of_steps_or_epochs_that_is_no_integer_is_refused_as_keras_does(name, plan):
    given = {"epochs": 2, "validation_data": (X, Y), "verbose": 0, name: 1.5}
    with pytest.raises(TypeError):
        model().fit(X, Y, **given)
    with pytest.raises(TypeError, match=f"`{name}` to be an integer, got 1.5"):
        loop.fit(model(), X, Y, **given, plan=plan)


@pytest.mark.parametrize("plan", ["auto", "step"])
@pytest.mark.parametrize(
    "returned", [None, (1.0, 2.0), tf.constant(1.0)], ids=["None", "tuple", "tensor"]
)
def test_a_training_step_that_returns_no_dict_is_refused_before_a_weight_moves(plan, returned):
    def my_step(model, batch):
        loop.train_step(model, batch)
        return returned

    trained = model()
    before = [weight.numpy() for weight in trained.weights]
    of_keras = ValueError if returned is None else AttributeError
    with pytest.raises(of_keras, match="to return a dict of logs"):
        loop.fit(trained, X, Y, train_step=my_step, verbose=0, plan=plan)
    for value, weight in zip(before, trained.weights, strict=True):
        np.testing.assert_array_equal(value, weight.numpy())


def test_a_forgotten_model_is_named():
    with pytest.raises(TypeError, match=r"got a ndarray: loop.fit\(model, x, y\)"):
        loop.fit(X, Y)


def test_a_step_that_is_no_function_is_named():
    with pytest.raises(TypeError, match=r"Expected a step to be a function .*, got 100"):
        loop.steps(model(), (X, Y), 100)


@pytest.mark.long
def test_a_layer_with_the_trainer_of_keras_is_a_model():
    trainer = next(base for base in keras.Model.__mro__ if base.__name__ == "TensorFlowTrainer")

    class Trained(trainer, keras.layers.Dense):
        """As in Keras's own tests: a layer that can be fit and is no keras.Model."""

        def __init__(self):
            keras.layers.Dense.__init__(self, 1)
            trainer.__init__(self)

    losses = []
    for fit in (keras.Model.fit, loop.fit):
        keras.utils.set_random_seed(0)
        layer = Trained()
        layer.compile("sgd", "mse")
        losses.append(fit(layer, X, Y, verbose=0).history["loss"])
    assert losses[0] == losses[1]


def my_step(model, batch):
    return loop.train_step(model, (tf.constant(X[:8]), tf.constant(Y[:8])))


REFUSED = {
    "no end of an epoch without data": (
        {"train_step": my_step},
        ["Without data", "steps_per_epoch=100"],
    ),
    "steps of epochs that are none": (
        {"train_step": my_step, "steps_per_epoch": -1},
        ["1 or more, got -1"],
    ),
    "a batch size without data": (
        {"train_step": my_step, "steps_per_epoch": 3, "batch_size": 8},
        ["no data for batch_size=8", "Leave them out"],
    ),
    "a split without data": (
        {"train_step": my_step, "steps_per_epoch": 3, "validation_split": 0.2},
        ["no data for validation_split=0.2"],
    ),
    "a remainder without data": (
        {"train_step": my_step, "steps_per_epoch": 3, "drop_remainder": True},
        ["no data for drop_remainder=True"],
    ),
    "the remainder of a dataset": (
        {"x": BATCHES, "drop_remainder": True},
        ["tf.data.Dataset makes its own", "ds.batch(n, drop_remainder=True)"],
    ),
    "the remainder of a generator": (
        {"x": ((X[:8], Y[:8]) for _ in range(2)), "drop_remainder": True},
        ["generator makes its own", "leave out the short last batch"],
    ),
    "nothing but a remainder": (
        {"x": X, "y": Y, "batch_size": 64, "drop_remainder": True},
        ["40 samples are fewer than the 64", "batch_size=40 or less"],
    ),
    "evaluations without data": (
        {"x": X, "y": Y, "eval_every": 5},
        ["eval_every=5 has no data", "validation_data=(x_val, y_val)"],
    ),
    "evaluations every 0 steps": (
        {"x": X, "y": Y, "eval_every": 0, "validation_split": 0.2},
        ["`eval_every` to be 1 or more, got 0"],
    ),
}
"""Arguments that Keras does not have."""


@pytest.mark.parametrize("case", REFUSED)
def test_arguments_of_our_own_are_refused_before_a_weight_moves(case):
    arguments, words = REFUSED[case]
    error, moved = attempt(loop.fit, model, arguments)
    assert type(error) is ValueError, error
    for word in words:
        assert word in str(error)
    assert not moved


def test_evaluations_every_half_step_are_refused():
    with pytest.raises(TypeError, match=r"`eval_every` to be an integer, got 1\.5"):
        loop.fit(model(), X, Y, validation_split=0.2, eval_every=1.5)


@pytest.mark.parametrize("arguments", [{}, {"steps_per_epoch": 3}, {"epochs": 2}])
def test_without_data_and_without_a_step_fit_says_what_keras_says(arguments):
    for fit in (keras.Model.fit, loop.fit):
        with pytest.raises(KeyError):
            fit(model(), verbose=0, **arguments)


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"every": 0}, ValueError, "`every` to be 1 or more, got 0"),
        ({"every": 2.5}, TypeError, "`every` to be an integer, got 2.5"),
        ({"data": None}, ValueError, "no step that makes its own"),
        ({"data": None, "train_step": my_step}, ValueError, "steps_per_epoch=100"),
        ({"data": (X, Y[:3])}, ValueError, "same number of samples"),
        ({"data": (X, Y, Y, Y)}, ValueError, r"\(x, y, sample_weight\)"),
        ({"data": BATCHES, "drop_remainder": True}, ValueError, "ds.batch"),
        ({"plan": "warp"}, ValueError, "got 'warp'"),
        ({"epochs": 1.5}, TypeError, "`epochs` to be an integer"),
    ],
)
def test_steps_refuses_at_the_call_and_not_at_the_first_step(arguments, error, match):
    trained = model()
    before = trained.get_weights()
    with pytest.raises(error, match=match):
        loop.steps(trained, **{"data": (X, Y), **arguments})
    assert all(map(np.array_equal, before, trained.get_weights()))


def test_steps_of_an_uncompiled_model_are_refused_at_the_call():
    with pytest.raises(ValueError, match=r"compile\(\)"):
        loop.steps(model(compiled=False), (X, Y))
