"""What `x` may be: arrays of every kind, nested structures of them, and tf.data."""

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from compare.scenario import FitArguments, Scenario
from compare.scenarios.first import perceptron, uniform


def _dataset(samples: int = 100) -> tf.data.Dataset:
    x, y = uniform(samples)
    return tf.data.Dataset.from_tensor_slices((x.astype("float32"), y[:, np.newaxis]))


def _batched_dataset() -> FitArguments:
    return {
        "x": _dataset().batch(32),
        "epochs": 3,
        "shuffle": False,
        "validation_data": _dataset(40).batch(16),
    }


def _reshuffled_dataset() -> FitArguments:
    return {"x": _dataset().shuffle(100, seed=3).batch(16, drop_remainder=True), "epochs": 3}


def _dataset_with_class_weight() -> FitArguments:
    return {"x": _dataset().batch(32), "epochs": 2, "class_weight": {0: 0.5, 1: 3.0}}


def _one_hot_dataset() -> FitArguments:
    x, y = uniform(100)
    data = (x.astype("float32"), keras.utils.to_categorical(y, 3))
    batches = tf.data.Dataset.from_tensor_slices(data).batch(32)
    return {"x": batches, "epochs": 2, "shuffle": False, "class_weight": {0: 0.5, 1: 3.0, 2: 1.0}}


def _endless_dataset() -> FitArguments:
    return {"x": _dataset().repeat().batch(32), "epochs": 3, "steps_per_epoch": 4}


def _dataset_of_unknown_size() -> FitArguments:
    known_only_at_the_end = _dataset().batch(32).filter(lambda _, y: tf.reduce_sum(y) >= 0)
    return {"x": known_only_at_the_end, "epochs": 3, "shuffle": False}


def _tensors() -> FitArguments:
    x, y = uniform(100)
    return {"x": tf.constant(x), "y": tf.constant(y), "epochs": 2, "validation_split": 0.2}


def _frames() -> FitArguments:
    x, y = uniform(100)
    frame = pd.DataFrame(x, columns=[f"feature_{i}" for i in range(10)])
    return {"x": frame, "y": pd.Series(y), "epochs": 2, "validation_split": 0.2}


def _mixed_frame() -> FitArguments:
    x, y = uniform(100)
    frame = pd.DataFrame(x.astype("float32")).assign(count=np.arange(100, dtype="int32"))
    even = pd.DataFrame({"even": y % 2 == 0, "share": x[:, 0]})  # a bool beside a float64
    return {"x": frame.iloc[:, 1:], "y": even, "epochs": 2, "validation_split": 0.2}


def _two_inputs() -> keras.Model:
    wide, deep = keras.Input((4,), name="wide"), keras.Input((6,), name="deep")
    hidden = keras.layers.Dense(8, activation="relu")(deep)
    joined = keras.layers.Concatenate()([wide, hidden])
    model = keras.Model({"wide": wide, "deep": deep}, keras.layers.Dense(1)(joined))
    model.compile("adam", "mse")
    return model


def _dict_of_inputs() -> FitArguments:
    x, y = uniform(100)
    inputs = {"wide": x[:, :4], "deep": x[:, 4:]}
    return {"x": inputs, "y": y.astype("float32"), "epochs": 2, "validation_split": 0.2}


def _two_columns() -> keras.Model:
    model = keras.Sequential([keras.Input((10,)), keras.layers.Dense(2)])
    model.compile("adam", "mse")
    return model


def _list_of_inputs_model() -> keras.Model:
    inputs = [keras.Input((4,)), keras.Input((6,))]
    model = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Concatenate()(inputs)))
    model.compile("adam", "mse")
    return model


def _list_of_inputs() -> FitArguments:
    x, y = uniform(100)
    return {"x": [x[:, :4], x[:, 4:]], "y": y, "epochs": 2}


def _one_hot_perceptron() -> keras.Model:
    model = keras.Sequential(
        [keras.Input((10,)), keras.layers.Dense(3, activation="softmax", name="out")]
    )
    model.compile("adam", "categorical_crossentropy", weighted_metrics=["accuracy"])
    return model


SOURCES = (
    Scenario("tensors", "TensorFlow tensors, float64 inputs, integer labels", perceptron, _tensors),
    Scenario("pandas_frames", "a frame and a series", perceptron, _frames),
    Scenario("pandas_mixed_dtypes", "integers and booleans beside floats in a frame", _two_columns, _mixed_frame),
    Scenario("dict_of_inputs", "inputs by name", _two_inputs, _dict_of_inputs),
    Scenario("list_of_inputs", "inputs by place", _list_of_inputs_model, _list_of_inputs),
    Scenario("dataset", "tf.data for training and for validation", perceptron, _batched_dataset),
    Scenario("dataset_reshuffled", "a new order for each pass, and one pass Keras starts in vain", perceptron, _reshuffled_dataset),
    Scenario("dataset_class_weight", "class weights mapped into a dataset", perceptron, _dataset_with_class_weight),
    Scenario("dataset_one_hot", "class weights by the hottest class", _one_hot_perceptron, _one_hot_dataset),
    Scenario("dataset_endless", "an endless dataset under steps_per_epoch", perceptron, _endless_dataset),
    Scenario("dataset_of_unknown_size", "the first pass finds out how long it is", perceptron, _dataset_of_unknown_size),
)  # fmt: skip
