"""train_on_batch, test_on_batch and predict_on_batch return what Keras's return."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import loop
from compare import find
from compare.recording.recorder import SEED, as_array


def new_model(name="last_partial_batch"):
    keras.backend.clear_session()
    keras.utils.set_random_seed(SEED)
    return find([name])[0].build()


def batch(size=12):
    random = np.random.default_rng(size)
    return random.normal(size=(size, 10)), random.integers(0, 2, size=size)


def state(model):
    variables = [*model.variables, *model.optimizer.variables, *model.metrics_variables]
    return [as_array(variable) for variable in variables]


def assert_same(run, name="last_partial_batch"):
    """What `run(model, methods)` returns and leaves behind, under Keras and under us."""
    results = []
    for methods in (keras.Model, loop):
        model = new_model(name)
        returned = run(model, methods)
        results.append((returned, exactly(returned), [one.tobytes() for one in state(model)]))
    theirs, ours = results
    assert ours[1:] == theirs[1:], (theirs[0], ours[0])
    return ours[0]


def exactly(returned):
    """What was returned, each float to its last bit."""
    return keras.tree.map_structure(
        lambda one: (type(one), one.tobytes() if isinstance(one, np.ndarray) else repr(one)),
        returned,
    )


@pytest.mark.parametrize("return_dict", [True, False])
def test_training_on_batches_of_other_sizes_returns_the_same(return_dict):
    def run(model, methods):
        return [
            methods.train_on_batch(model, *batch(size), return_dict=return_dict)
            for size in (12, 12, 5, 7)
        ]

    first, *_ = assert_same(run)
    assert isinstance(first, dict if return_dict else list)


@pytest.mark.parametrize(
    "weights",
    [{"class_weight": {0: 0.5, 1: 3.0}}, {"sample_weight": np.linspace(0.1, 2.0, 12)}],
)
def test_weights_count_on_batches_too(weights):
    assert_same(lambda model, methods: methods.train_on_batch(model, *batch(), **weights))


def test_testing_and_predicting_on_batches_learn_nothing():
    def run(model, methods):
        before = state(model)
        tested = methods.test_on_batch(model, *batch(), sample_weight=np.ones(12))
        predicted = methods.predict_on_batch(model, batch()[0])
        assert all(np.array_equal(a, b) for a, b in zip(before[:4], state(model)[:4], strict=True))
        return tested, predicted

    _, predicted = assert_same(run)
    assert isinstance(predicted, np.ndarray)


@pytest.mark.parametrize(
    "name", ["run_eagerly", "own_train_step", "jit_compile", "steps_per_execution"]
)
def test_models_of_all_kinds_train_on_batches(name):
    x, y = batch()
    assert_same(lambda model, methods: methods.train_on_batch(model, x, y[:, np.newaxis]), name)


def test_several_outputs_come_as_a_list_and_logs_of_one_metric_as_a_float():
    scenario = find(["dict_losses"])[0]

    def run(model, methods):
        data = scenario.data()
        return methods.train_on_batch(model, data["x"], data["y"])

    assert isinstance(assert_same(run, "dict_losses"), list)
    without_metrics = assert_same(
        lambda model, methods: methods.test_on_batch(model, batch()[0]), "add_loss_only"
    )
    assert isinstance(without_metrics, float)


def test_weights_of_both_kinds_and_models_that_are_not_compiled_are_refused():
    x, y = batch()
    with pytest.raises(ValueError, match="cannot be specified at the same time"):
        loop.train_on_batch(new_model(), x, y, sample_weight=y, class_weight={0: 1.0})
    model = keras.Sequential([keras.Input((10,)), keras.layers.Dense(1)])
    for method in (loop.train_on_batch, loop.test_on_batch):
        with pytest.raises(ValueError, match="compile"):
            method(model, x, y)
    assert loop.predict_on_batch(model, x).shape == (12, 1)


def test_a_second_call_on_the_same_shapes_traces_nothing():
    model, traces = new_model(), []

    def counting_step(model, batch):
        traces.append(1)
        return loop.train_step(model, batch)

    loop.train_on_batch(model, *batch(), train_step=counting_step)
    first = len(traces)  # more than one: the optimizer makes its variables in a trace of their own
    for _ in range(3):
        loop.train_on_batch(model, *batch(), train_step=counting_step)
    assert len(traces) == first


def test_predictions_of_other_lengths_come_as_a_ragged_tensor():
    def ragged(methods):
        texts = tf.data.Dataset.from_generator(
            lambda: (np.ones((2, length, 3), "float32") for length in (4, 6)),
            output_signature=tf.TensorSpec((None, None, 3)),
        )
        model = keras.Sequential([keras.Input((None, 3)), keras.layers.Dense(2, "relu")])
        with pytest.warns(UserWarning, match="ran out of data"):
            return methods.predict(model, texts, verbose=0)

    keras.utils.set_random_seed(1)
    theirs = ragged(keras.Model)
    keras.utils.set_random_seed(1)
    ours = ragged(loop)
    assert isinstance(ours, tf.RaggedTensor)
    assert ours.to_list() == theirs.to_list()
    assert ours.shape.as_list() == theirs.shape.as_list()
