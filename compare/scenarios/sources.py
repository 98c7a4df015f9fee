"""What `x` may be: arrays of every kind, nested structures of them, and what makes batches itself."""

import functools
import importlib.util
import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from compare.scenario import FitArguments, Scenario
from compare.scenarios.first import logistic, perceptron, uniform


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


def _perceptron_in_executions() -> keras.Model:
    model = perceptron()
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"], steps_per_execution=3)
    return model


def _is_wanted(x: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
    return x[0] < 0.8


def _filtered_dataset() -> FitArguments:
    return {
        "x": _dataset().shuffle(100, seed=3).filter(_is_wanted).batch(8),
        "epochs": 5,
        "shuffle": False,
        "validation_data": _dataset(40).filter(_is_wanted).batch(16),
        "callbacks": [keras.callbacks.EarlyStopping(min_delta=1.0, patience=1)],
    }


def _interleaved_dataset() -> FitArguments:
    def part(start: tf.Tensor) -> tf.data.Dataset:
        return _dataset().skip(start).take(30)

    parts = tf.data.Dataset.from_tensor_slices(tf.constant([0, 30, 60], tf.int64))
    return {"x": parts.interleave(part, cycle_length=2).batch(9), "epochs": 2, "shuffle": False}


def _dataset_from_generator() -> FitArguments:
    spec = tf.TensorSpec([None, 10]), tf.TensorSpec([None], tf.int64)
    batches = tf.data.Dataset.from_generator(lambda: _batches(7), output_signature=spec)
    return {"x": batches, "epochs": 4, "steps_per_epoch": 3, "shuffle": False}


@functools.cache
def _folder_of_records() -> tempfile.TemporaryDirectory:
    """Return a folder with a file of samples, `records`; it is removed when Python exits."""
    folder = tempfile.TemporaryDirectory(prefix="glassfit-records-")
    with tf.io.TFRecordWriter(str(Path(folder.name) / "records")) as writer:
        for x, y in _dataset().as_numpy_iterator():
            writer.write(np.append(x, y.astype("float32")).tobytes())
    return folder


def _records() -> FitArguments:
    def sample(record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        numbers = tf.ensure_shape(tf.io.decode_raw(record, tf.float32), [11])
        return numbers[:10], numbers[10:]

    records = tf.data.TFRecordDataset(str(Path(_folder_of_records().name) / "records"))
    batches = records.map(sample).batch(16).prefetch(tf.data.AUTOTUNE)
    return {"x": batches, "epochs": 3, "shuffle": False}


def _tensors() -> FitArguments:
    x, y = uniform(100)
    return {"x": tf.constant(x), "y": tf.constant(y), "epochs": 2, "validation_split": 0.2}


def _frames() -> FitArguments:
    import pandas as pd

    x, y = uniform(100)
    frame = pd.DataFrame(x, columns=[f"feature_{i}" for i in range(10)])
    return {"x": frame, "y": pd.Series(y), "epochs": 2, "validation_split": 0.2}


def _mixed_frame() -> FitArguments:
    import pandas as pd

    x, y = uniform(100)
    frame = pd.DataFrame(x.astype("float32")).assign(count=np.arange(100, dtype="int32"))
    even = pd.DataFrame({"even": y % 2 == 0, "share": x[:, 0]})  # a bool beside a float64
    return {"x": frame.iloc[:, 1:], "y": even, "epochs": 2, "validation_split": 0.2}


def _two_inputs() -> keras.Model:
    wide, deep = keras.Input((4,), name="wide"), keras.Input((6,), name="deep")
    hidden = keras.layers.Dense(8, activation="relu")(deep)
    joined = keras.layers.Concatenate()([wide, hidden])
    model = keras.Model({"wide": wide, "deep": deep}, keras.layers.Dense(1)(joined))
    model.compile("sgd", "mse")
    return model


def _dict_of_inputs() -> FitArguments:
    x, y = uniform(100)
    inputs = {"wide": x[:, :4], "deep": x[:, 4:]}
    return {"x": inputs, "y": y.astype("float32"), "epochs": 2, "validation_split": 0.2}


def _two_columns() -> keras.Model:
    model = keras.Sequential([keras.Input((10,)), keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    return model


def _list_of_inputs_model() -> keras.Model:
    inputs = [keras.Input((4,)), keras.Input((6,))]
    model = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Concatenate()(inputs)))
    model.compile("sgd", "mse")
    return model


def _list_of_inputs() -> FitArguments:
    x, y = uniform(100)
    return {"x": [x[:, :4], x[:, 4:]], "y": y, "epochs": 2}


def _one_hot_perceptron() -> keras.Model:
    model = keras.Sequential(
        [keras.Input((10,)), keras.layers.Dense(3, activation="softmax", name="out")]
    )
    model.compile("sgd", "categorical_crossentropy", weighted_metrics=["accuracy"])
    return model


def _batch(index: int, size: int = 25) -> tuple[np.ndarray, np.ndarray]:
    x, y = uniform(100)
    rows = slice(index % 4 * 25, index % 4 * 25 + size)
    return x[rows].astype("float32"), y[rows]


def _batches(count: int | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """So many batches, or batches without end; every fourth is short."""
    for index in itertools.count() if count is None else range(count):
        yield _batch(index, 20 if index % 4 == 3 else 25)


def _generator() -> FitArguments:
    return {"x": _batches(), "epochs": 3, "steps_per_epoch": 5, "shuffle": False}


def _generator_that_ends() -> FitArguments:
    return {"x": _batches(6), "epochs": 3, "shuffle": False}


def _validation_by_generator() -> FitArguments:
    # Once: tf.data draws ahead, and where a second validation began would be a matter of luck.
    arguments = {"validation_data": _batches(), "validation_steps": 3, "validation_freq": [2]}
    return {**_generator(), **arguments}


def _sequences(count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Texts of other lengths in other batches."""
    for index in range(count):
        random = np.random.default_rng(index)
        yield random.normal(size=(16, 5 + index % 3, 4)), random.integers(0, 2, size=16)


def _sequence_model() -> keras.Model:
    model = keras.Sequential(
        [keras.Input((None, 4)), keras.layers.GRU(6), keras.layers.Dense(1, "sigmoid")]
    )
    model.compile("sgd", "binary_crossentropy")
    return model


def _lengths_differ() -> FitArguments:
    return {"x": _sequences(9), "epochs": 1, "shuffle": False}


class Batches(keras.utils.PyDataset):
    """Four batches, or batches without end; they may grow with the epochs that it is told of."""

    def __init__(self, batches: int | None = 4, grow: bool = False, **options: Any):
        super().__init__(**options)
        self.batches = batches
        self.grow = grow
        self.epochs = 0

    @property
    def num_batches(self) -> int | None:
        """How many there are in an epoch."""
        return self.batches

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return a batch."""
        x, y = _batch(index)
        return x + np.float32(self.epochs * self.grow), y

    def on_epoch_end(self) -> None:
        """Called once before the first epoch, too."""
        self.epochs += 1


def _pydataset() -> FitArguments:
    arguments = {"validation_data": Batches(2), "class_weight": {0: 2.0}}
    return {"x": Batches(grow=True), "epochs": 3, **arguments}


def _pydataset_in_part() -> FitArguments:
    return {"x": Batches(), "epochs": 4, "steps_per_epoch": 3, "shuffle": False}


def _pydataset_by_workers() -> FitArguments:
    return {"x": Batches(workers=2, max_queue_size=2), "epochs": 3, "shuffle": True}


def _endless_pydataset() -> FitArguments:
    return {"x": Batches(None), "epochs": 3, "steps_per_epoch": 3, "shuffle": False}


def _mostly_zeros() -> tuple[np.ndarray, np.ndarray]:
    x, y = uniform(100)
    return np.where(x > 0.8, x, 0), y


def _sparse() -> FitArguments:
    x, y = _mostly_zeros()
    return {"x": tf.sparse.from_dense(x), "y": y, "epochs": 3, "batch_size": 25}


def _of_scipy() -> FitArguments:
    x, y = _mostly_zeros()
    import scipy.sparse

    return {"x": scipy.sparse.csr_matrix(x), "y": y, "epochs": 3, "validation_split": 0.2}


def _sparse_within_batches() -> FitArguments:
    return {**_sparse(), "batch_size": 32, "shuffle": "batch"}


def _ragged() -> FitArguments:
    random = np.random.default_rng(5)
    words = [random.integers(1, 20, size=size).tolist() for size in random.integers(1, 9, 60)]
    y = random.integers(0, 2, size=60)
    return {"x": tf.ragged.constant(words, dtype=tf.int32), "y": y, "epochs": 2}


class Bag(keras.Model):
    """The mean over the words of a ragged text."""

    def __init__(self) -> None:
        super().__init__()
        self.words = self.add_weight(shape=(20, 4), name="words")
        self.out = keras.layers.Dense(1, "sigmoid")

    def call(self, texts: Any) -> Any:
        """Ragged in, dense out."""
        return self.out(tf.reduce_mean(tf.gather(self.words, texts), axis=1))


def _bag_model() -> keras.Model:
    model = Bag()
    model.compile("sgd", "binary_crossentropy")
    return model


def _arrays_without_a_target() -> FitArguments:
    x, y = uniform(100)

    def batches() -> Iterator[tuple[np.ndarray, tuple[np.ndarray, None]]]:
        for start in range(0, 100, 25):
            yield x[start : start + 25].astype("float32"), (y[start : start + 25], None)

    return {"x": batches(), "epochs": 1, "shuffle": False}


class Shifted(keras.layers.Layer):
    """Adds an input that may be missing."""

    def call(self, x, shift=None):  # type: ignore[no-untyped-def]
        return x if shift is None else x + shift


def _optional_input_model() -> keras.Model:
    shift = keras.Input((10,), name="shift", optional=True)
    inputs = {"x": keras.Input((10,), name="x"), "shift": shift}
    model = keras.Model(inputs, keras.layers.Dense(1)(Shifted()(inputs["x"], shift)))
    model.compile("sgd", "mse")
    return model


def _without_an_optional_input() -> FitArguments:
    x, y = uniform(100)
    return {"x": {"x": x, "shift": None}, "y": y, "epochs": 2, "validation_split": 0.2}


def _half_trained() -> keras.Model:
    inputs = keras.Input((10,))
    model = keras.Model(
        inputs, [keras.layers.Dense(1, name="a")(inputs), keras.layers.Dense(2, name="b")(inputs)]
    )
    model.compile("sgd", ["mse", None])
    return model


def _jax_arrays() -> FitArguments:
    import jax.numpy

    x, y = uniform(100)
    return {"x": jax.numpy.asarray(x), "y": jax.numpy.asarray(y), "epochs": 2}


def _torch_loader() -> FitArguments:
    import torch.utils.data

    x, y = (torch.from_numpy(array) for array in uniform(100))
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x.float(), y), 32)
    return {"x": loader, "epochs": 2, "shuffle": False, "validation_data": loader}


def _grain_dataset() -> FitArguments:
    import grain

    x, y = uniform(100)
    pairs = list(zip(x.astype("float32"), y, strict=True))
    batches = grain.MapDataset.source(pairs).shuffle(seed=3).batch(32)
    return {"x": batches, "epochs": 2, "shuffle": False}


_NEEDING = {
    "jax": Scenario("jax_arrays", "arrays of jax", logistic, _jax_arrays),
    "torch": Scenario("torch_loader", "a torch DataLoader for training and validation", logistic, _torch_loader),
    "grain": Scenario("grain_dataset", "a shuffled grain dataset of unknown size", logistic, _grain_dataset),
}  # fmt: skip
_OF_OTHERS = [scenario for name, scenario in _NEEDING.items() if importlib.util.find_spec(name)]

SOURCES = (
    Scenario("tensors", "TensorFlow tensors, float64 inputs, integer labels", perceptron, _tensors),
    Scenario("pandas_frames", "a frame and a series", perceptron, _frames),
    Scenario("pandas_mixed_dtypes", "integers and booleans beside floats in a frame", _two_columns, _mixed_frame),
    Scenario("dict_of_inputs", "inputs by name", _two_inputs, _dict_of_inputs),
    Scenario("list_of_inputs", "inputs by place", _list_of_inputs_model, _list_of_inputs),
    Scenario("optional_input", "an input that is not there, None among arrays", _optional_input_model, _without_an_optional_input),
    Scenario("dataset", "tf.data for training and for validation", perceptron, _batched_dataset),
    Scenario("dataset_reshuffled", "a new order for each pass, and one pass Keras starts in vain", logistic, _reshuffled_dataset),
    Scenario("dataset_class_weight", "class weights mapped into a dataset", logistic, _dataset_with_class_weight),
    Scenario("dataset_one_hot", "class weights by the hottest class", _one_hot_perceptron, _one_hot_dataset),
    Scenario("dataset_endless", "an endless dataset under steps_per_epoch", logistic, _endless_dataset),
    Scenario("dataset_of_unknown_size", "the first pass finds out how long it is", logistic, _dataset_of_unknown_size),
    Scenario("dataset_filtered", "training and validation of unknown sizes, stopped early", perceptron, _filtered_dataset),
    Scenario("dataset_interleaved", "three steps an execution, the last of them beyond the data", _perceptron_in_executions, _interleaved_dataset),
    Scenario("dataset_from_generator", "an unknown end within the third epoch, a new pass in the fourth", perceptron, _dataset_from_generator),
    Scenario("dataset_of_records", "a TFRecord file on disk", perceptron, _records),
    Scenario("generator", "an endless generator under steps_per_epoch, batches of two sizes", perceptron, _generator),
    Scenario("generator_that_ends", "later epochs see the two batches that were peeked at, as in Keras", logistic, _generator_that_ends),
    Scenario("generator_validation", "validation by a generator of its own", logistic, _validation_by_generator),
    Scenario("generator_of_lengths", "an axis that differs between batches stays open", _sequence_model, _lengths_differ),
    Scenario("generator_none_target", "an output that has no target", _half_trained, _arrays_without_a_target),
    Scenario("pydataset", "shuffled batches, class weights, hooks of epochs, validation", perceptron, _pydataset),
    Scenario("pydataset_in_part", "a pass that goes on across epochs, and is cut short at its end", logistic, _pydataset_in_part),
    Scenario("pydataset_workers", "two threads make the batches", logistic, _pydataset_by_workers),
    Scenario("pydataset_endless", "it does not say how many batches there are", logistic, _endless_pydataset),
    Scenario("sparse_tensor", "rows of a SparseTensor", logistic, _sparse),
    Scenario("sparse_in_batches", "the same, shuffled within batches, the last one short", logistic, _sparse_within_batches),
    Scenario("scipy_sparse", "a matrix of scipy, split", logistic, _of_scipy),
    Scenario("ragged_tensor", "texts of other lengths in a RaggedTensor", _bag_model, _ragged),
    *_OF_OTHERS,
)  # fmt: skip
