"""A `tf.data.Dataset` of batches: it shuffles, batches and repeats as its owner built it."""

import tensorflow as tf

from loop.data.weights import with_class_weight
from loop.types import Batch, Structure


class DatasetSource:
    """Batches from a dataset, with class weights mapped in where they are given.

    Mirrors: keras.src.trainers.data_adapters.tf_dataset_adapter.TFDatasetAdapter
    """

    def __init__(self, dataset: tf.data.Dataset, class_weight: dict[int, float] | None = None):
        if class_weight is not None:
            dataset = with_class_weight(dataset, class_weight)
        self.dataset = dataset
        self.spec = self.dataset.element_spec
        cardinality = int(self.dataset.cardinality())
        self.num_batches = cardinality if cardinality >= 0 else None  # unknown, or infinite
        self.is_endless = cardinality == tf.data.INFINITE_CARDINALITY

    def new_pass(self) -> "DatasetPass":
        """Starts an iterator. Each one draws anew from a dataset that reshuffles."""
        return DatasetPass(iter(self.dataset))

    def signature(self, static: bool = False) -> Structure:
        """The spec of `DatasetPass.inputs`."""
        return tf.data.IteratorSpec(self.spec)

    def draw(self, inputs: Structure, place: tf.Tensor) -> Batch:
        """Inside a graph: the next batch; the iterator knows its place."""
        return inputs.get_next()


class DatasetPass:
    """One pass over a dataset.

    Attributes:
        inputs: The iterator: all that a compiled call needs to draw batches itself.
    """

    def __init__(self, iterator: tf.data.Iterator):
        self.inputs = iterator
        self.place = 0  # kept for the sake of those who draw by place; the iterator has its own

    def __iter__(self) -> "DatasetPass":
        return self

    def __next__(self) -> Batch:
        return next(self.inputs)
