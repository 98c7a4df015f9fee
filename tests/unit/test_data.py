"""Orders, weights and splits, each against the part of Keras that it re-does."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.src.trainers.data_adapters import (
    array_slicing,
    data_adapter_utils,
    tf_dataset_adapter,
)
from keras.src.trainers.data_adapters.array_data_adapter import ArrayDataAdapter

from loop._keras import enqueuer, stop_workers
from loop.data import make_source, split_validation
from loop.data.order import orders
from loop.data.weights import class_to_sample_weight, with_class_weight


def rows(batches):
    return [np.asarray(batch).tolist() for batch in batches]


def batches_of(one_pass):
    """Every batch of a pass."""
    for place in itertools.count():
        try:
            yield one_pass.batch(place)
        except StopIteration:
            return


@pytest.fixture
def no_global_seed():
    tf.random.set_seed(None)
    yield
    keras.utils.set_random_seed(0)


@pytest.mark.parametrize("seed", [0, 1, 2**31 - 1, 87_654_321])
@pytest.mark.parametrize("shuffle", [True, False, "batch"])
@pytest.mark.parametrize(("samples", "batch_size"), [(20, 5), (23, 5), (3, 5), (1, 1)])
def test_batches_come_in_the_order_of_keras_in_every_epoch(seed, shuffle, samples, batch_size):
    x = np.arange(samples)
    keras.utils.set_random_seed(seed)
    adapter = ArrayDataAdapter(x, shuffle=shuffle, batch_size=batch_size).get_tf_dataset()
    theirs = [rows(adapter) for _ in range(3)]
    keras.utils.set_random_seed(seed)
    source = make_source(x, shuffle=shuffle, batch_size=batch_size)
    keras.utils.set_random_seed(seed + 1 if seed < 9 else 7)  # too late, as in Keras
    assert [rows(batches_of(source.new_pass())) for _ in range(3)] == theirs


@pytest.mark.usefixtures("no_global_seed")
def test_without_a_seed_every_epoch_has_another_order():
    source = make_source(np.arange(992), shuffle=True)
    first, second = (np.concatenate(rows(batches_of(source.new_pass()))).tolist() for _ in range(2))
    assert sorted(first) == sorted(second) == list(range(992))
    assert first != second


def test_an_order_is_int64_and_complete():
    drawn = orders(10, 3, shuffle=True)()
    assert drawn.dtype == tf.int64
    assert sorted(drawn.numpy().tolist()) == list(range(10))


@pytest.mark.parametrize(
    "y",
    [
        np.array([0, 1, 2, 1]),
        np.array([[0], [1], [2], [1]]),
        np.array([0.4, 0.6, 1.5, 2.5]),
        np.array([-1, 7, 0, 1]),
        np.eye(3)[[0, 2, 1, 1]],
        tf.constant([0, 1, 2, 1]),
        np.array([True, False, True, False]),
    ],
    ids=["integers", "column", "floats", "unlisted", "one_hot", "tensor", "booleans"],
)
def test_class_weights_are_those_of_keras(y):
    class_weight = {0: 0.5, 1: 3, 2: 0.25}
    ours = class_to_sample_weight(y, class_weight)
    theirs = data_adapter_utils.class_weight_to_sample_weights(y, class_weight)
    assert ours.dtype == theirs.dtype
    assert ours.tolist() == theirs.tolist()


@pytest.mark.parametrize("columns", [None, 1, 3])
@pytest.mark.parametrize("known", [True, False])
def test_class_weights_of_datasets_are_those_of_keras(columns, known):
    y = {None: np.array([0, 2, 1]), 1: np.array([[0.0], [2.0], [1.0]]), 3: np.eye(3)}[columns]
    dataset = tf.data.Dataset.from_tensors((np.zeros((3, 1)), y))
    if not known and columns:
        dataset = dataset.map(
            lambda x, y: (
                x,
                tf.ensure_shape(tf.py_function(lambda y: y, [y], y.dtype), [None, None]),
            )
        )
    class_weight = {0: 0.5, 2: 3.0}
    ours = next(iter(with_class_weight(dataset, class_weight)))
    theirs = next(iter(dataset.map(tf_dataset_adapter.make_class_weight_map_fn(class_weight))))
    assert [part.numpy().tolist() for part in ours] == [part.numpy().tolist() for part in theirs]
    assert [part.dtype for part in ours] == [part.dtype for part in theirs]


def test_the_split_takes_the_last_rows_of_every_array():
    x = {"a": np.arange(10), "b": np.arange(20).reshape(10, 2)}
    (train, _, weights), (held_out, _, _) = split_validation((x, None, np.ones(10)), 0.3)
    assert train["a"].tolist() == list(range(7))
    assert held_out["a"].tolist() == [7, 8, 9]
    assert held_out["b"].shape == (3, 2)
    assert weights.shape == (7,)


@pytest.mark.parametrize("samples", [2, 3, 10, 11, 97])
@pytest.mark.parametrize("fraction", [0.1, 0.25, 1 / 3, 0.5])
def test_the_split_is_where_keras_has_it(samples, fraction):
    arrays = (np.arange(samples), None, None)
    theirs = [part[0].tolist() for part in array_slicing.train_validation_split(arrays, fraction)]
    assert [part[0].tolist() for part in split_validation(arrays, fraction)] == theirs


def test_the_graph_knows_the_batch_size_only_where_every_batch_has_it():
    whole, rest = make_source(np.zeros((64, 3))), make_source(np.zeros((65, 3)))
    assert whole.spec.shape.as_list() == [32, 3]
    assert rest.spec.shape.as_list() == [None, 3]


@pytest.mark.parametrize(
    ("given", "dtype"),
    [("float64", "float32"), ("float16", "float32"), ("float32", "float32"), ("int64", "int64"),
     ("int8", "int8"), ("bool", "bool"), ("complex64", "complex64")],
)  # fmt: skip
def test_floats_become_floatx_and_everything_else_stays(given, dtype):
    for array in (np.ones(3, given), tf.ones(3, given) if given != "bool" else tf.ones(3, tf.bool)):
        assert make_source(array).spec.dtype == dtype


class Numbers(keras.utils.PyDataset):
    """Four batches of one number, loaded by two threads."""

    def __init__(self):
        super().__init__(workers=2)

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return np.full((1, 1), index, "float32")


@pytest.mark.parametrize(("taken", "drains"), [(4, False), (2, True)])
def test_workers_stop_without_waiting_where_every_batch_was_taken(monkeypatch, taken, drains):
    workers = enqueuer(Numbers(), shuffle=False)
    workers.start()
    batches = workers.get()
    assert [int(next(batches)[0, 0]) for _ in range(taken)] == list(range(taken))
    if taken == 4:
        workers.run_thread.join()
    drained = []
    stop = workers.stop

    def recorded(drain_queue_and_join):
        drained.append(drain_queue_and_join)
        stop(drain_queue_and_join)

    monkeypatch.setattr(workers, "stop", recorded)
    stop_workers(workers)
    assert drained == [drains]
    workers.start()  # a later pass begins with the first batch that nobody took
    assert int(next(workers.get())[0, 0]) == taken % 4
    stop()
