"""Batches from a `tf.data.Dataset`, which does its own shuffling, batching and repeating."""

from collections.abc import Callable

import keras
import tensorflow as tf

from loop.data.weights import with_class_weight
from loop.types import Batch, Structure


def dataset_source(
    dataset: tf.data.Dataset, class_weight: dict[int, float] | None = None
) -> "DatasetSource":
    """Return the source for a dataset, which maps class weights, if given, to sample weights.

    Mirrors: keras.src.trainers.data_adapters.tf_dataset_adapter.TFDatasetAdapter
    """
    if class_weight is not None:
        dataset = with_class_weight(dataset, class_weight)
    cardinality = dataset.cardinality  # a method; a number in a distributed dataset
    cardinality = int(cardinality() if callable(cardinality) else cardinality)
    size = cardinality if cardinality >= 0 else None  # unknown, or infinite
    return DatasetSource(dataset, size, cardinality == tf.data.INFINITE_CARDINALITY)


def _no_op() -> None:
    """Do nothing: the default hook at the start and the end of an epoch."""


class DatasetSource:
    """Batches drawn from a `tf.data.Dataset`.

    Attributes:
        dataset: The dataset of batches.
        num_batches: Batches in one pass; None if unknown before the pass ends.
        is_endless: Whether a pass never ends.
        begin_epoch: Called before the first batch of an epoch.
        end_epoch: Called after the last batch of an epoch, and once before the first epoch.
    """

    def __init__(
        self,
        dataset: tf.data.Dataset,
        num_batches: int | None,
        is_endless: bool = False,
        begin_epoch: Callable[[], None] = _no_op,
        end_epoch: Callable[[], None] = _no_op,
    ):
        self.dataset = dataset
        self.spec = without_optionals(dataset.element_spec)
        self.num_batches = num_batches
        self.is_endless = is_endless
        self.begin_epoch = begin_epoch
        self.end_epoch = end_epoch

    def new_pass(self) -> "DatasetPass":
        """Start an iterator. A dataset that reshuffles draws a new order for each iterator."""
        return DatasetPass(iter(self.dataset))

    def empty_pass(self) -> "DatasetPass":
        """Start a pass that has no batch, and neither starts nor changes a pass over the data."""
        return DatasetPass(iter(self.dataset.take(0)))

    def signature(self, static: bool = False) -> Structure:
        """Return the spec of `DatasetPass.inputs`; `static` has no effect."""
        return tf.data.IteratorSpec(self.dataset.element_spec)

    def draw(self, inputs: Structure, place: tf.Tensor) -> Batch:
        """Return the next batch of the iterator; `place` is ignored. Call it inside a graph."""
        return without_optionals(inputs.get_next())

    def value_of(self, drawn: tf.experimental.Optional) -> Batch:
        """Return the batch in a non-empty result of `Iterator.get_next_as_optional`."""
        return without_optionals(drawn.get_value())


class DatasetPass:
    """One pass over a dataset.

    Attributes:
        inputs: The iterator: the argument from which a compiled call draws batches.
    """

    def __init__(self, iterator: tf.data.Iterator):
        self.inputs = iterator

    def batch(self, place: int) -> Batch:
        """Return the next batch of the iterator; `place` is ignored.

        Raises:
            StopIteration: The pass has no more batches.
        """
        return without_optionals(next(self.inputs))


def without_optionals(batch: Batch) -> Batch:
    """Return a batch, or its spec, with each Optional replaced by None.

    tf.data has no None, so datasets use an Optional in its place.

    Mirrors: keras.src.backend.tensorflow.trainer.TensorFlowTrainer._autoconvert_optionals
    """
    optional = (tf.experimental.Optional, tf.OptionalSpec)
    return keras.tree.map_structure(
        lambda leaf: None if isinstance(leaf, optional) else leaf, batch
    )
