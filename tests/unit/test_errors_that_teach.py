"""The mistakes people make most when they call fit: what came, what was expected, what to change.

Each row of MISTAKES is a call that Keras refuses. The class of the error is Keras's, and the lines
that teach stand in its text or in a note below it. docs/errors.md shows every row; what is printed
there is what Keras and loop say. What Keras accepts without a word is in test_quirks.py.
"""

import doctest
import functools
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import loop
from loop.advice import RULES, advised

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*(shuffle=True|structure of `inputs`).*:UserWarning"
)

X = np.random.default_rng(0).uniform(size=(40, 4)).astype("float32")
Y = X.sum(axis=1, keepdims=True)
LABELS = np.arange(40) % 3
ONE_HOT = np.eye(3, dtype="float32")[LABELS]
IMAGES = np.random.default_rng(1).uniform(size=(16, 8, 8)).astype("float32")
SPARSE, CATEGORICAL = "sparse_categorical_crossentropy", "categorical_crossentropy"


def compiled(layers, loss="mse", shape=(4,), **arguments):
    model = keras.Sequential([keras.Input(shape), *layers])
    model.compile("sgd", loss, **arguments)
    return model


def dense(units=1, loss="mse", activation=None, **arguments):
    return compiled([keras.layers.Dense(units, activation)], loss, **arguments)


def classifier(loss):
    return dense(3, loss, "softmax")


def convnet(channels=1):
    layers = [keras.layers.Conv2D(2, 3), keras.layers.Flatten(), keras.layers.Dense(1)]
    return compiled(layers, shape=(8, 8, channels))


def embedding():
    layers = [keras.layers.Embedding(10, 2), keras.layers.Flatten(), keras.layers.Dense(1)]
    return compiled(layers)


def two_headed(**arguments):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, [keras.layers.Dense(1, name=name)(inputs) for name in "ab"])
    model.compile("sgd", **arguments)
    return model


def with_step(train_step):
    inputs = keras.Input((4,))
    model = type("Own", (keras.Model,), {"train_step": train_step})(
        inputs, keras.layers.Dense(1)(inputs)
    )
    model.compile("sgd", "mse")
    return model


def two_inputs():
    inputs = [keras.Input((4,), name=name) for name in ("left", "right")]
    model = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Concatenate()(inputs)))
    model.compile("sgd", "mse")
    return model


def dataset(samples):
    return tf.data.Dataset.from_tensor_slices(samples)


def generator(*batches):
    yield from batches


def returns_the_loss(self, data):
    x, y = data
    return tf.reduce_mean((self(x, training=True) - y) ** 2)


def returns_nothing(self, data):
    keras.Model.train_step(self, data)


def creates_a_variable(self, data):
    tf.Variable(1.0)
    return keras.Model.train_step(self, data)


def step(loss_of, inside=True):
    """A step as people write it; `inside`: whether the forward pass is below the tape."""

    def train_step(self, data):
        x, y = data
        y_pred = self(x, training=True)
        with tf.GradientTape() as tape:
            y_pred = self(x, training=True) if inside else y_pred
            loss = loss_of(y, y_pred)
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        return {"loss": loss}

    return train_step


def needs_memory(self, data):
    raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor with shape[9,9]")


def mse(y, y_pred):
    return tf.reduce_mean(tf.square(y_pred - y))


class Row(NamedTuple):
    """A mistake.

    Attributes:
        call: Makes it: `call(fit)`.
        lines: What the text of our error, or a note below it, says.
    """

    call: Callable
    lines: list[str]


MISTAKES = {
    "No targets": Row(
        lambda fit: fit(dense(), X),
        ["the data have no targets, but the loss mse needs them", "fit(x, y)"],
    ),
    "A dataset of dicts": Row(
        lambda fit: fit(dense(), dataset({"image": X, "label": Y}).batch(8)),
        ["have no targets", "'image': float32 (None, 4)", "(row['image'], row['label'])"],
    ),
    "Lengths that differ": Row(
        lambda fit: fit(dense(), X, Y[:30]),
        ["expected one length along the first axis, got {'x': [40], 'y': [30]}"],
    ),
    "Labels out of range": Row(
        lambda fit: fit(classifier(SPARSE), X, LABELS + 1),
        ["y holds the class 3", "3 classes, 0 to 2", "y = y - 1", "Dense(4)"],
    ),
    "Two classes, one output": Row(
        lambda fit: fit(dense(1, SPARSE, "sigmoid"), X, LABELS % 2),
        ["a single output", 'loss="binary_crossentropy"'],
    ),
    "One-hot labels, a loss for classes": Row(
        lambda fit: fit(classifier(SPARSE), X, ONE_HOT),
        ["y is one-hot", "float32 (40, 3)", f'loss="{CATEGORICAL}"', "y.argmax(axis=-1)"],
    ),
    "Classes, a loss for one-hot labels": Row(
        lambda fit: fit(classifier(CATEGORICAL), X, LABELS),
        ["y holds a class a sample", f'loss="{SPARSE}"', "to_categorical(y, 3)"],
    ),
    "More columns of targets than outputs": Row(
        lambda fit: fit(dense(1, "binary_crossentropy", "sigmoid"), X, ONE_HOT),
        ["y has 3 columns", "the model one output", 'Dense(3, "softmax")'],
    ),
    "Targets of another shape": Row(
        lambda fit: fit(dense(3), X, ONE_HOT[:, :2]),
        ["y has the shape (samples, 2)", "the predictions have (samples, 3)", "Dense(2)"],
    ),
    "Another number of targets than of outputs": Row(
        lambda fit: fit(two_headed(loss="mse"), X, [Y, Y, Y]),
        ["y holds 3 arrays", "outputs of the model are ['a', 'b']", "fit(x, [y_a, y_b])"],
    ),
    "Targets by names that no output has": Row(
        lambda fit: fit(two_headed(loss={"a": "mse", "b": "mse"}), X, {"a": Y, "c": Y}),
        ["y holds the keys ['a', 'c']", "['a', 'b']", "fit(x, {'a': y_a, 'b': y_b})"],
    ),
    "Names of classes": Row(
        lambda fit: fit(dense(), X, np.array(["cat", "dog"] * 20, object)),
        ["y holds text", "np.unique(y, return_inverse=True)[1]"],
    ),
    "Lists of numbers": Row(
        lambda fit: fit(dense(), X.tolist(), Y.tolist()),
        ["x is a list of 40 objects of type list", "an array for each input", "np.asarray(x)"],
    ),
    "A list of rows": Row(
        lambda fit: fit(dense(), list(X), Y),
        ["x is a list of 40 arrays, the first float32 (4,)", "np.asarray(x)"],
    ),
    "Rows of different lengths": Row(
        lambda fit: fit(dense(), np.array([np.ones(n % 3 + 1) for n in range(40)], object), Y),
        ["rows of 1 to 3 values", "pad_sequences(x"],
    ),
    "Columns of objects": Row(
        lambda fit: fit(dense(), X.astype(object), Y),
        ["array of Python objects, the first of type float", 'x.astype("float32")'],
    ),
    "Text": Row(
        lambda fit: fit(dense(), X.astype(str), Y),
        ["Expected numbers", "map texts and categories to integers"],
    ),
    "Features that differ": Row(
        lambda fit: fit(dense(), X[:, :3], Y),
        ["x has the shape (40, 3)", "the model takes (None, 4)", "keras.Input((3,))"],
    ),
    "Images without channels": Row(
        lambda fit: fit(convnet(3), IMAGES, Y[:16]),
        ["the last axis is missing", "(None, 8, 8, 3)", "np.repeat(x[..., np.newaxis], 3"],
    ),
    "A dataset without batches": Row(
        lambda fit: fit(dense(), dataset((X, Y))),
        ["they are samples, not batches", "dataset.batch(32)"],
    ),
    "Inputs stacked in one array": Row(
        lambda fit: fit(two_inputs(), np.stack([X, X]), Y),
        ["x has its samples along the second axis", "fit([x[0], x[1]], y)"],
    ),
    "Fewer inputs than the model has": Row(
        lambda fit: fit(two_inputs(), X, Y),
        ["x holds 1 array, but the model has 2 inputs", "fit([left, right], y)"],
    ),
    "An index beyond an embedding": Row(
        lambda fit: fit(embedding(), np.full((40, 4), 12), Y),
        ["x holds 12", "the rows 0 to 9", "Embedding(input_dim=x.max() + 1"],
    ),
    "A generator of lists": Row(
        lambda fit: fit(dense(), generator([X[:8], Y[:8]])),
        ["must return a tuple", "(inputs, targets)"],
    ),
    "A function for a generator": Row(
        lambda fit: fit(dense(), generator),
        ["x is the function generator, not what it yields", "fit(generator())"],
    ),
    "A generator of numbers": Row(
        lambda fit: fit(dense(), generator((X[:8].tolist(), Y[:8].tolist()))),
        ["the generator yields numbers", "yield np.asarray(x), np.asarray(y)"],
    ),
    "A generator whose shapes change": Row(
        lambda fit: fit(dense(), generator(*[(X, Y)] * 2, (X[:, :3], Y))),
        ["a later batch", "another shape than its first two", "pad_sequences"],
    ),
    "Batches in four parts": Row(
        lambda fit: fit(dense(), generator((X, X, Y, Y))),
        ["more than three parts", "yield (x_1, x_2), y"],
    ),
    "A split of a dataset": Row(
        lambda fit: fit(dense(), dataset((X, Y)).batch(8), validation_split=0.2),
        ["only supported for tensors or NumPy arrays", "Pass `validation_data` instead"],
    ),
    "Targets beside a dataset": Row(
        lambda fit: fit(dense(), dataset((X, Y)).batch(8), Y),
        ["`y` should not be passed", "tuples `(x, y)`"],
    ),
    "Class weights for several outputs": Row(
        lambda fit: fit(two_headed(loss="mse"), X, [Y, Y], class_weight={0: 1.0}),
        ["single output", "Use `sample_weight`"],
    ),
    "Class weights that are no dict": Row(
        lambda fit: fit(classifier(SPARSE), X, LABELS, class_weight=[1.0, 2.0, 1.0]),
        ["class_weight is a list", "dict(enumerate(weights))"],
    ),
    "A class without a weight": Row(
        lambda fit: fit(classifier(SPARSE), dataset((X, LABELS)).batch(8), class_weight={0: 1.0}),
        ["class_weight ends with 0", "{**class_weight, 1: 1.0}"],
    ),
    "Sample weights of another length": Row(
        lambda fit: fit(dense(), X, Y, sample_weight=np.ones(3)),
        ["expected one length", "'sample_weight': [3]"],
    ),
    "Sample weights of another shape": Row(
        lambda fit: fit(dense(), X, Y, sample_weight=np.ones((40, 2))),
        ["sample_weight has the shape (samples, 2)", "a weight for each sample"],
    ),
    "A model that is not compiled": Row(
        lambda fit: fit(keras.Sequential([keras.layers.Dense(1)]), X, Y),
        ["expected a compiled model", "model.compile(optimizer=..., loss=...)"],
    ),
    "No loss": Row(
        lambda fit: fit(dense(loss=None), X, Y),
        ["No loss to compute", "Provide a `loss` argument in `compile()`"],
    ),
    "A name that Keras does not have": Row(
        lambda fit: fit(dense(metrics=["acuracy"]), X, Y),
        ["Keras has no metric of the name 'acuracy'", "'binary_accuracy'"],
    ),
    "Losses by names that no output has": Row(
        lambda fit: fit(two_headed(loss={"a": "mse", "c": "mse"}), X, [Y, Y]),
        ["loss in compile has the keys ['a', 'c']", "outputs of the model are ['a', 'b']"],
    ),
    "A loss by name for a Sequential model": Row(
        lambda fit: fit(dense(loss={"out": "mse"}), X, Y),
        ["the model names no outputs", "compile(loss='mse')"],
    ),
    "Metrics by names that no output has": Row(
        lambda fit: fit(two_headed(loss="mse", metrics={"c": "mae"}), X, [Y, Y]),
        ["metrics in compile does not fit", "['a', 'b']", "metrics={'a': [...], 'b': [...]}"],
    ),
    "A class in place of a callback": Row(
        lambda fit: fit(dense(), X, Y, callbacks=[keras.callbacks.TerminateOnNaN]),
        ["callbacks holds the class TerminateOnNaN", "callbacks=[TerminateOnNaN()]"],
    ),
    "A float of epochs": Row(
        lambda fit: fit(dense(), X, Y, epochs=2.0),
        ["Expected `epochs` to be an integer, got 2.0 of type float"],
    ),
    "A float of samples per batch": Row(
        lambda fit: fit(dense(), X, Y, batch_size=8.0),
        ["batch_size is 8.0 of type float", "batch_size=len(x) // n"],
    ),
    "A step that returns the loss": Row(
        lambda fit: fit(with_step(returns_the_loss), X, Y),
        ["to return a dict of logs", '{"loss": loss}'],
    ),
    "A step without return": Row(
        lambda fit: fit(with_step(returns_nothing), X, Y),
        ["to return a dict of logs, got None"],
    ),
    "A step that creates variables": Row(
        lambda fit: fit(with_step(creates_a_variable), X, Y),
        ["creates a variable", "into __init__ or build"],
    ),
    "A loss outside of the tape": Row(
        lambda fit: fit(with_step(step(mse, inside=False)), X, Y),
        ["the loss does not depend on the weights", "tf.GradientTape() as tape:"],
    ),
    "A step that reads values": Row(
        lambda fit: fit(with_step(step(lambda y, y_pred: mse(y, y_pred).numpy())), X, Y),
        ["the value of a tensor while it is traced", "run_eagerly=True"],
    ),
    "Integers in a step": Row(
        lambda fit: fit(with_step(step(mse)), X, LABELS),
        ["combines int64 with float32", "keras.ops.cast"],
    ),
    "Too large a batch": Row(
        lambda fit: fit(with_step(needs_memory), X, Y, batch_size=16),
        ["more memory than the device has", "batch_size=8"],
    ),
}


class Raised(NamedTuple):
    """An error: its class, its text, and the notes below it."""

    kind: type
    text: str
    notes: str


USED = set()


def noted(advise):
    """The function of a rule, which is added to USED when it gives advice."""

    def call(failure, found):
        advice = advise(failure, found)
        USED.update([advise] if advice else [])
        return advice

    return call


@pytest.fixture(autouse=True)
def _rules_note_their_use(monkeypatch):
    monkeypatch.setattr(loop.advice, "RULES", [(text, noted(advise)) for text, advise in RULES])


@functools.cache
def raised(fit, mistake):
    """The error of a mistake, with the names of layers of a new process."""
    keras.backend.clear_session()
    with pytest.raises(Exception) as info:  # noqa: PT011 - which error is what the tests ask
        MISTAKES[mistake].call(lambda model, *a, **k: fit(model, *a, **{"verbose": 0, **k}))
    return Raised(info.type, str(info.value), "\n".join(getattr(info.value, "__notes__", [])))


@pytest.mark.sampled
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_taught_in_the_class_of_keras(mistake):
    error = raised(loop.fit, mistake)
    assert error.kind is raised(keras.Model.fit, mistake).kind
    for line in MISTAKES[mistake].lines:
        assert line in error.text + error.notes


PAGE = (Path(__file__).parents[2] / "docs/errors.md").read_text()
SECTIONS = dict(re.findall(r"^### (.+?)\n(.*?)(?=^##|\Z)", PAGE, re.M | re.S))


def test_the_page_has_a_section_for_each_mistake():
    assert list(SECTIONS) == list(MISTAKES)


@pytest.mark.docs
@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_page_shows_what_keras_and_loop_say(mistake):
    theirs, ours = re.findall(r"```text\n(.*?)```", SECTIONS[mistake], re.S)
    of_keras, of_loop = raised(keras.Model.fit, mistake), raised(loop.fit, mistake)
    same = functools.partial(
        doctest.OutputChecker().check_output,
        optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE,
    )
    said = of_loop.notes or f"{of_loop.kind.__name__}: {of_loop.text}"
    assert same(theirs, f"{of_keras.kind.__name__}: {of_keras.text}\n"), of_keras
    assert same(ours, f"{said}\n"), said


def test_every_rule_is_used_by_a_mistake():
    for mistake in MISTAKES:
        raised(loop.fit, mistake)
    assert {advise for _, advise in RULES} - USED == set()


@pytest.mark.parametrize("plan", ["step", "auto", "fused"])
@pytest.mark.parametrize("mistake", ["Labels out of range", "Features that differ"])
def test_every_plan_teaches(mistake, plan):
    def fit(model, *arguments, **named):
        return loop.fit(model, *arguments, **named, plan=plan)

    error = raised(fit, mistake)
    for line in MISTAKES[mistake].lines:
        assert line in error.notes


EAGERLY = ["One-hot labels, a loss for classes", "Targets of another shape", "No targets"]


@pytest.mark.parametrize("mistake", EAGERLY)
def test_a_model_that_runs_eagerly_teaches(mistake):
    def fit(model, *arguments, **named):
        model.run_eagerly = True
        return loop.fit(model, *arguments, **named)

    for line in MISTAKES[mistake].lines[:2]:
        assert line in raised(fit, mistake).notes


def test_frames_of_pandas_are_described():
    with pytest.raises(ValueError, match="incompatible") as info:
        loop.fit(dense(), pd.DataFrame(X[:, :3]), pd.Series(Y[:, 0]), verbose=0)
    assert "x float32 (40, 3), y float32 (40,); the model returns" in info.value.__notes__[0]


@pytest.mark.long
def test_a_script_that_calls_the_methods_of_a_model_is_taught_too():
    with loop.installed():
        for call in (
            lambda: classifier(SPARSE).fit(X, ONE_HOT, verbose=0),
            lambda: classifier(SPARSE).fit(X, LABELS, validation_data=(X, ONE_HOT), verbose=0),
            lambda: classifier(SPARSE).evaluate(X, ONE_HOT, verbose=0),
            lambda: classifier(SPARSE).train_on_batch(X, ONE_HOT),
            lambda: classifier(SPARSE).test_on_batch(X, ONE_HOT),
        ):
            with pytest.raises(ValueError, match="rank") as info:
                call()
            (note,) = info.value.__notes__
            assert "y is one-hot" in note
        for call in (
            lambda: dense().predict(X[:, :3], verbose=0),
            lambda: dense().predict_on_batch(X[:, :3]),
        ):
            with pytest.raises(ValueError, match="incompatible") as info:
                call()
            assert "x has the shape (40, 3)" in info.value.__notes__[0]


def test_an_error_stays_what_it_was():
    def fails(model, x):
        raise original

    original = ValueError("None values not supported.")
    model = dense()
    with pytest.raises(ValueError, match="None values") as info:
        advised(advised(fails))(model, X)
    assert info.value is original
    assert info.traceback[-1].name == "fails"
    assert str(original) == "None values not supported."
    assert len(original.__notes__) == 1, "an inner call has added it"
    copied = pickle.loads(pickle.dumps(original))
    assert (type(copied), str(copied), copied.__notes__) == (
        ValueError,
        str(original),
        original.__notes__,
    )


def test_errors_of_other_origin_get_no_note():
    class Fails(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise RuntimeError("the disk is full: None values not supported")

    with pytest.raises(RuntimeError) as info:
        loop.fit(dense(), X, Y, callbacks=[Fails()], verbose=0)
    assert not hasattr(info.value, "__notes__")


def test_a_mistake_in_the_advice_does_not_take_the_place_of_the_error():
    class Broken(keras.Sequential):
        @property
        def outputs(self):
            raise AssertionError

    model = Broken([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="None values not supported"):
        loop.fit(model, X, verbose=0)


def test_an_error_below_a_hook_of_a_callback_gets_no_advice():
    class Fails(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise ValueError(
                "Received a label value of 3 which is outside the valid range of [0, 3)"
            )

    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="label value of 3") as caught:
        loop.fit(model, np.ones((4, 3)), np.full((4, 1), 3.0), callbacks=[Fails()], verbose=0)
    assert not getattr(caught.value, "__notes__", [])


def test_a_label_of_the_validation_data_is_named_so():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3, "softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    x, y = np.ones((6, 3)), np.array([0, 1, 2, 0, 1, 2])
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        loop.fit(model, x, y, validation_data=(x, y + 1), verbose=0)
    [note] = caught.value.__notes__
    assert "validation y holds the class 3" in note


def test_samples_without_batches_are_recognized_whatever_the_rank_of_the_labels():
    for labels in (np.ones((10, 1)), np.ones(10)):
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        dataset = tf.data.Dataset.from_tensor_slices((np.ones((10, 3)), labels))
        with pytest.raises(ValueError, match="incompatible shape") as caught:
            loop.fit(model, dataset, shuffle=False, verbose=0)
        [note] = caught.value.__notes__
        assert "they are samples, not batches" in note
