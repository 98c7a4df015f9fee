"""The mistakes people make most when they call fit: what came, what was expected, what to change.

Each row of MISTAKES is a call that Keras refuses. The class of the error is Keras's, its text is as
it was, and the lines that teach stand in the text or in a note below it. docs/errors.md lists all of
them. What Keras accepts without a word, only `strict=True` refuses: SILENT.
"""

import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf

import loop
from loop.advice import HEAD, RULES, advised

pytestmark = pytest.mark.filterwarnings("ignore:.*(shuffle=True|structure of `inputs`).*:UserWarning")

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


def dataset(x, y):
    return tf.data.Dataset.from_tensor_slices((x, y))


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
    """A step of one's own, as people write it; `inside`: the forward pass is below the tape."""

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
        ["the data have no targets, but the model has the loss mse", "fit(x, y)"],
    ),
    "A dataset of dicts": Row(
        lambda fit: fit(dense(), dataset({"image": X}, {"label": Y}).map(lambda x, y: {**x, **y}).batch(8)),
        ["have no targets", "'image': float32 (None, 4)", 'row["image"]'],
    ),
    "Lengths that differ": Row(
        lambda fit: fit(dense(), X, Y[:30]),
        ["expected one length along the first axis, got {'x': [40], 'y': [30]}"],
    ),
    "Labels out of range": Row(
        lambda fit: fit(classifier(SPARSE), X, LABELS + 1),
        ["y holds the class 3", "the 3 classes 0 to 2", "y = y - 1", "Dense(4)"],
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
        ["y holds one number a sample", f'loss="{SPARSE}"', "to_categorical(y, 3)"],
    ),
    "More columns of targets than outputs": Row(
        lambda fit: fit(dense(1, "binary_crossentropy", "sigmoid"), X, ONE_HOT),
        ["y has 3 columns", "one output", 'Dense(3, "softmax")'],
    ),
    "Targets of another shape": Row(
        lambda fit: fit(dense(3), X, ONE_HOT[:, :2]),
        ["y has the shape (samples, 2)", "the predictions have (samples, 3)", "Dense(2)"],
    ),
    "More targets than outputs": Row(
        lambda fit: fit(two_headed(loss="mse"), X, [Y, Y, Y]),
        ["y holds 3 arrays", "outputs ['a', 'b']", "fit(x, [y_a, y_b])"],
    ),
    "Lists of numbers": Row(
        lambda fit: fit(dense(), X.tolist(), Y.tolist()),
        ["x is a list of 40", "np.asarray(x)"],
    ),
    "A list of rows": Row(
        lambda fit: fit(dense(), list(X), Y),
        ["x is a list of 40", "an array each", "np.asarray(x)"],
    ),
    "Rows of different lengths": Row(
        lambda fit: fit(dense(), np.array([np.ones(n % 3 + 1) for n in range(40)], object), Y),
        ["rows of 1 to 3 values", "pad_sequences(x"],
    ),
    "Columns of objects": Row(
        lambda fit: fit(dense(), X.astype(object), Y),
        ["array of Python objects", '.astype("float32")'],
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
        lambda fit: fit(dense(), dataset(X, Y)),
        ["they are samples, not batches", "dataset.batch(32)"],
    ),
    "A list of two inputs for one": Row(
        lambda fit: fit(dense(), [X, X], Y),
        ["x holds 2 arrays, but the model has 1 input", "np.concatenate"],
    ),
    "A generator of lists": Row(
        lambda fit: fit(dense(), generator([X[:8], Y[:8]])),
        ["must return a tuple", "(inputs, targets)"],
    ),
    "A generator whose shapes change": Row(
        lambda fit: fit(dense(), generator(*[(X, Y)] * 2, (X[:, :3], Y))),
        ["a later batch", "another shape than its first two", "pad_sequences"],
    ),
    "A split of a dataset": Row(
        lambda fit: fit(dense(), dataset(X, Y).batch(8), validation_split=0.2),
        ["only supported for tensors or NumPy arrays", "validation_data"],
    ),
    "Targets beside a dataset": Row(
        lambda fit: fit(dense(), dataset(X, Y).batch(8), Y),
        ["`y` should not be passed", "tuples `(x, y)`"],
    ),
    "An index beyond an embedding": Row(
        lambda fit: fit(embedding(), np.full((40, 4), 12), Y),
        ["x holds 12", "the rows 0 to 9", "Embedding(input_dim=13"],
    ),
    "Class weights for several outputs": Row(
        lambda fit: fit(two_headed(loss="mse"), X, [Y, Y], class_weight={0: 1.0}),
        ["single output", "Use `sample_weight`"],
    ),
    "A class without a weight": Row(
        lambda fit: fit(classifier(SPARSE), dataset(X, LABELS).batch(8), class_weight={0: 1.0}),
        ["class_weight only the classes up to 0", "{**class_weight, 1: 1.0}"],
    ),
    "Sample weights of another length": Row(
        lambda fit: fit(dense(), X, Y, sample_weight=np.ones(3)),
        ["expected one length", "'sample_weight': [3]"],
    ),
    "A model that is not compiled": Row(
        lambda fit: fit(keras.Sequential([keras.layers.Dense(1)]), X, Y),
        ["expected a compiled model", "model.compile(optimizer=..., loss=...)"],
    ),
    "No loss": Row(
        lambda fit: fit(dense(loss=None), X, Y),
        ["No loss to compute", "Provide a `loss` argument in `compile()`"],
    ),
    "Losses by names that no output has": Row(
        lambda fit: fit(two_headed(loss={"a": "mse", "c": "mse"}), X, [Y, Y]),
        ["loss in compile has the keys ['a', 'c']", "the outputs of the model are ['a', 'b']"],
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
        ["the loss does not depend on the weights", "GradientTape"],
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


def raised(fit, mistake):
    """Returns the error of a mistake, and its text and notes as Python prints them."""
    with pytest.raises(Exception) as info:  # noqa: B017, PT011 - which one is what the test asks
        MISTAKES[mistake].call(lambda model, *a, **k: fit(model, *a, **{"verbose": 0, **k}))
    error = info.value
    return error, "\n".join([str(error), *getattr(error, "__notes__", [])])


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_taught_in_the_class_of_keras(mistake):
    expected, _ = raised(keras.Model.fit, mistake)
    error, text = raised(loop.fit, mistake)
    assert type(error) is type(expected)
    for line in MISTAKES[mistake].lines:
        assert line in text
