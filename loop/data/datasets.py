"""A `tf.data.Dataset` of batches: it shuffles, batches and repeats as its owner built it."""

from collections.abc import Iterator

import tensorflow as tf

from loop.data.weights import with_class_weight
from loop.types import Batch


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

    def new_pass(self) -> Iterator[Batch]:
        """Starts an iterator. Each one draws anew from a dataset that reshuffles."""
        return iter(self.dataset)
