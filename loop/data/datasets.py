"""A `tf.data.Dataset` of batches: it shuffles, batches and repeats as its owner built it."""

from collections.abc import Callable

import keras
import tensorflow as tf

from loop.data.weights import with_class_weight
from loop.types import Batch, Structure


def dataset_source(
    dataset: tf.data.Dataset, class_weight: dict[int, float] | None = None
) -> "DatasetSource":
    """Batches of a user's dataset, with class weights mapped in where they are given.

    Mirrors: keras.src.trainers.data_adapters.tf_dataset_adapter.TFDatasetAdapter
    """
    if class_weight is not None:
        dataset = with_class_weight(dataset, class_weight)
    cardinality = dataset.cardinality  # of a distributed dataset a number
    cardinality = int(cardinality() if callable(cardinality) else cardinality)
    size = cardinality if cardinality >= 0 else None  # unknown, or infinite
    return DatasetSource(dataset, size, cardinality == tf.data.INFINITE_CARDINALITY)


def _nothing() -> None:
    """What most sources do where an epoch begins or ends."""


class DatasetSource:
    """Batches that tf.data makes.

    Attributes:
        dataset: Makes them.
        num_batches: In one pass; None where only the pass itself can tell.
        is_endless: Whether a pass never runs dry.
        begin_epoch: Called before the first batch of an epoch.
        end_epoch: Called after the last batch of an epoch, and once before the first epoch.
    """

    def __init__(
        self,
        dataset: tf.data.Dataset,
        num_batches: int | None,
        is_endless: bool = False,
        begin_epoch: Callable[[], None] = _nothing,
        end_epoch: Callable[[], None] = _nothing,
    ):
        self.dataset = dataset
        self.spec = without_optionals(dataset.element_spec)
        self.num_batches = num_batches
        self.is_endless = is_endless
        self.begin_epoch = begin_epoch
        self.end_epoch = end_epoch

    def new_pass(self) -> "DatasetPass":
        """Starts an iterator. Each one draws anew from a dataset that reshuffles."""
        return DatasetPass(iter(self.dataset))

    def signature(self, static: bool = False) -> Structure:
        """The spec of `DatasetPass.inputs`."""
        return tf.data.IteratorSpec(self.dataset.element_spec)

    def draw(self, inputs: Structure, place: tf.Tensor) -> Batch:
        """Inside a graph: the next batch; the iterator knows its place."""
        return without_optionals(inputs.get_next())


class DatasetPass:
    """One pass over a dataset.

    Attributes:
        inputs: The iterator: all that a compiled call needs to draw batches itself.
    """

    def __init__(self, iterator: tf.data.Iterator):
        self.inputs = iterator

    def batch(self, place: int) -> Batch:
        """Return the next batch; the iterator keeps its own place.

        Raises:
            StopIteration: The pass has no more batches.
        """
        return without_optionals(next(self.inputs))


def without_optionals(batch: Batch) -> Batch:
    """A batch, or its spec, with None where tf.data has an Optional: it knows no None.

    Mirrors: keras.src.backend.tensorflow.trainer.TensorFlowTrainer._autoconvert_optionals
    """
    optional = (tf.experimental.Optional, tf.OptionalSpec)
    return keras.tree.map_structure(lambda one: None if isinstance(one, optional) else one, batch)
