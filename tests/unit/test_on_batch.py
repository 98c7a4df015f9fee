"""train_on_batch, test_on_batch and predict_on_batch return what Keras's return."""

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import loop
from compare import find
from compare.recording.recorder import SEED, as_array
from loop.engine.kinds import TEST, TRAIN
from loop.engine.model_step import ModelStep
from loop.predict import predict_function


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


@pytest.mark.sampled
@pytest.mark.parametrize("return_dict", [True, False])
def test_training_on_batches_of_other_sizes_returns_the_same(return_dict):
    def run(model, methods):
        return [
            methods.train_on_batch(model, *batch(size), return_dict=return_dict)
            for size in (12, 12, 5, 7)
        ]

    first, *_ = assert_same(run)
    assert isinstance(first, dict if return_dict else list)


@pytest.mark.sampled
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


@pytest.mark.sampled
@pytest.mark.parametrize(
    "name", ["run_eagerly", "own_train_step", "jit_compile", "steps_per_execution"]
)
def test_models_of_all_kinds_train_on_batches(name):
    x, y = batch()
    assert_same(lambda model, methods: methods.train_on_batch(model, x, y[:, np.newaxis]), name)


@pytest.mark.long
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


def test_the_first_call_traces_the_step_once():
    model = new_model()
    for _ in range(2):
        loop.train_on_batch(model, *batch()), loop.test_on_batch(model, *batch())
        loop.predict_on_batch(model, batch()[0])
    for kind in (TRAIN, TEST):
        flat = ModelStep(model, kind).for_any_shape().flat
        assert flat.function.experimental_get_tracing_count() == 1
    assert predict_function(model).function.function.experimental_get_tracing_count() == 1


def test_a_second_call_on_the_same_shapes_looks_no_graph_up():
    model, looked_up = new_model(), []
    x, y = batch()
    loop.train_on_batch(model, x, y), loop.test_on_batch(model, x, y)
    loop.predict_on_batch(model, x)
    flat_functions = [
        ModelStep(model, TRAIN).for_any_shape().flat,
        ModelStep(model, TEST).for_any_shape().flat,
        predict_function(model).function,
    ]
    for flat in flat_functions:
        flat.function = Noting(flat.function, looked_up)
    loop.train_on_batch(model, x, y), loop.test_on_batch(model, x, y)
    loop.predict_on_batch(model, x)
    assert not looked_up
    loop.train_on_batch(model, x[:5], y[:5])
    assert len(looked_up) == 1


class Noting:
    """A `tf.function` that notes its calls."""

    def __init__(self, function, calls):
        self.function, self.calls = function, calls

    def __call__(self, argument):
        self.calls.append(argument)
        return self.function(argument)

    def __getattr__(self, name):
        return getattr(self.function, name)


class Counting(keras.Model):
    """A model that notes the shape of the inputs in each trace of its steps."""

    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        self.traced = []

    def train_step(self, data):
        self.traced.append(("train", str(data[0].shape), str(data[0].dtype)))
        return super().train_step(data)

    def predict_step(self, data):
        self.traced.append(("predict", str(data[0].shape), str(data[0].dtype)))
        return super().predict_step(data)


def counting_model():
    keras.utils.set_random_seed(SEED)
    inputs = keras.Input((10,))
    model = Counting(inputs, keras.layers.Dense(1, "sigmoid")(inputs))
    model.compile("adam", "binary_crossentropy", metrics=["accuracy", "AUC"])
    return model


SIZES = [12, 12, 5, 12, 7, 5, 12, 3]


@pytest.mark.long
def test_batches_of_other_sizes_and_dtypes_are_traced_as_often_and_for_the_shapes_of_keras():
    traced, returned = [], []
    for methods in (keras.Model, loop):
        model, logs = counting_model(), []
        for size in SIZES:
            x, y = batch(size)
            for given in (x, x.astype("float32"), tf.constant(x), x.astype("int32")):
                logs.append(methods.train_on_batch(model, given, y))
                logs.append(methods.predict_on_batch(model, given).tobytes())
        traced.append([*dict.fromkeys(model.traced)])  # Keras traces the first step once more
        returned.append((logs, [one.tobytes() for one in state(model)]))
    assert traced[0] == traced[1]
    assert returned[0] == returned[1]


def nested_model(as_list):
    keras.utils.set_random_seed(SEED)
    a, b = keras.Input((10,), name="a"), keras.Input((10,), name="b")
    both = keras.layers.Dense(4, "relu")(keras.layers.Subtract()([a, b]))
    outputs = {"p": keras.layers.Dense(1, name="p")(both), "q": keras.layers.Dense(2)(both)}
    model = keras.Model([a, b] if as_list else {"b": b, "a": a}, outputs)
    model.compile("adam", {"p": "mse", "q": "mae"}, metrics={"q": ["mse"]})
    return model


INPUTS = batch()[0]


@pytest.mark.long
@pytest.mark.parametrize(
    "inputs",
    [
        [{"a": INPUTS, "b": INPUTS * 2}, {"b": INPUTS, "a": tf.constant(INPUTS * 3)}],
        [[INPUTS, INPUTS * 2], (INPUTS * 3, INPUTS), [INPUTS, tf.constant(INPUTS)]],
    ],
    ids=["dicts", "lists"],
)
def test_dicts_in_any_order_lists_and_tensors_are_batches_too(inputs):
    y = {"q": np.ones((12, 2)), "p": np.zeros((12, 1))}
    returned = []
    for methods in (keras.Model, loop):
        model = nested_model(isinstance(inputs[0], list))
        results = []
        for given in inputs * 2:
            trained = methods.train_on_batch(model, given, y, return_dict=True)
            tested = methods.test_on_batch(model, given, dict(reversed(y.items())))
            results.append((trained, tested, methods.predict_on_batch(model, given)))
        returned.append((exactly(results), [one.tobytes() for one in state(model)]))
    assert returned[0] == returned[1]


@pytest.mark.long
def test_frames_and_numbers_in_lists_are_batches_as_in_keras():
    x, y = batch()

    def run(model, methods):
        frame = pd.DataFrame(x.astype("float32"))
        results = []
        for given in (frame, frame.to_numpy(), [[0.5] * 10, [0.1] * 10]):
            try:
                results.append(methods.train_on_batch(model, given, y[: len(given)]))
            except (TypeError, ValueError) as error:
                results.append(type(error).__name__)
        return results

    assert_same(run)


@pytest.mark.long
def test_functions_run_eagerly_or_not_from_one_call_to_the_next():
    def run(model, methods):
        results = []
        for eagerly in (False, True, False, False):
            tf.config.run_functions_eagerly(eagerly)
            try:
                results.append(methods.train_on_batch(model, *batch()))
            finally:
                tf.config.run_functions_eagerly(False)
        return results

    assert_same(run)


class Remembering(keras.metrics.Mean):
    """A mean that counts its resets."""

    def __init__(self, name="remembering"):
        super().__init__(name)
        self.resets = self.add_variable((), "zeros", name="resets")

    def update_state(self, y, y_pred, sample_weight=None):
        super().update_state(keras.ops.abs(y_pred) + self.resets)

    def reset_state(self):
        super().reset_state()
        self.resets.assign(self.resets + 1)


class Doubling(keras.metrics.Mean):
    """A mean with a variable that it inherits no reset for."""

    def __init__(self, name="doubling"):
        super().__init__(name)
        self.seen = self.add_variable((), "zeros", name="seen")

    def update_state(self, y, y_pred, sample_weight=None):
        self.seen.assign(self.seen + 1)
        super().update_state(self.seen)


class Keeping(keras.Model):
    """A model that keeps its metrics: it overrides `reset_metrics`."""

    def reset_metrics(self):
        pass


@pytest.mark.long
@pytest.mark.parametrize("kind", [keras.Model, Keeping])
def test_metrics_and_models_that_reset_themselves_do(kind):
    returned = []
    for methods in (keras.Model, loop):
        keras.utils.set_random_seed(SEED)
        inputs = keras.Input((10,))
        model = kind(inputs, keras.layers.Dense(1, "sigmoid")(inputs))
        metrics = [Remembering(), Doubling(), "AUC", "Precision", keras.metrics.MeanIoU(2)]
        model.compile("adam", "binary_crossentropy", metrics=metrics)
        x, y = batch()
        results = []
        for _ in range(3):
            results.append(methods.train_on_batch(model, x, y))
            results.append(methods.test_on_batch(model, x, y))
        returned.append((exactly(results), [one.tobytes() for one in state(model)]))
    assert returned[0] == returned[1]


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
