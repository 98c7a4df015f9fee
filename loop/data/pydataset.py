"""Batches from a `keras.utils.PyDataset`, by index, loaded by its workers if it has any."""

import itertools
import random
from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from loop._keras import enqueuer, stop_workers
from loop.data.datasets import DatasetSource
from loop.data.specs import PEEKED, common_spec, from_python
from loop.data.weights import class_to_sample_weight
from loop.types import Batch


def pydataset_source(
    dataset: keras.utils.PyDataset, class_weight: dict[int, float] | None, shuffle: bool | str
) -> DatasetSource:
    """Return the source for a `keras.utils.PyDataset`.

    Raises:
        ValueError: It has no batch, or a batch that is neither a tuple nor a dict.

    Mirrors: keras.src.trainers.data_adapters.py_dataset_adapter.PyDatasetAdapter
    """
    passes = PyDatasetPasses(dataset, class_weight, bool(shuffle))
    size = dataset.num_batches
    peeked = [
        passes.complete(dataset[i]) for i in range(PEEKED if size is None else min(PEEKED, size))
    ]
    if not peeked:
        raise ValueError("The PyDataset has length 0")
    batches = from_python(passes.batches, common_spec(peeked))
    if passes.workers is None:
        batches = batches.prefetch(tf.data.AUTOTUNE)
    else:  # the workers prefetch already; more threads of tf.data would compete with them
        options = tf.data.Options()
        options.autotune.enabled = False
        options.threading.private_threadpool_size = 1
        batches = batches.with_options(options)
    return DatasetSource(
        batches,
        size,
        is_endless=size is None,
        begin_epoch=passes.begin_epoch,
        end_epoch=passes.end_epoch,
    )


class PyDatasetPasses:
    """Passes over a PyDataset, and the calls of its hooks at the start and end of epochs.

    Attributes:
        dataset: The dataset.
        class_weight: Weights by integer class, or None.
        shuffle: Whether to draw batches in random order.
        workers: Keras's worker pool, which loads batches; None to load them in this process.
    """

    def __init__(
        self, dataset: keras.utils.PyDataset, class_weight: dict[int, float] | None, shuffle: bool
    ):
        self.dataset = dataset
        self.class_weight = class_weight
        self.shuffle = shuffle
        self.workers = enqueuer(dataset, shuffle)
        self._is_in_epoch = False

    def batches(self) -> Iterator[Batch]:
        """Yield the batches of one pass."""
        if self.workers is not None:
            yield from self._from_workers(self.workers)
            return
        size = self.dataset.num_batches
        indices: Iterable[int] = itertools.count() if size is None else list(range(size))
        if self.shuffle and isinstance(indices, list):
            random.shuffle(indices)  # matches Keras: advances the state of Python's `random`
        for index in indices:
            yield self.complete(self.dataset[index])

    def _from_workers(self, workers: Any) -> Iterator[Batch]:
        workers.start()
        size = self.dataset.num_batches
        for place, batch in enumerate(workers.get(), 1):
            yield self.complete(batch)
            if place == size:
                stop_workers(workers)
                return

    def begin_epoch(self) -> None:
        """Start the workers and call the dataset's hook, before the first batch of an epoch."""
        if self._is_in_epoch:
            raise ValueError(
                "`on_epoch_begin` was called twice without `on_epoch_end` having been called."
            )
        self._is_in_epoch = True
        if self.workers is not None:
            self.workers.start()
        self.dataset.on_epoch_begin()

    def end_epoch(self) -> None:
        """Stop the workers and call the dataset's hook, after the last batch of an epoch."""
        if self.workers is not None:
            stop_workers(self.workers)
        self.dataset.on_epoch_end()
        self._is_in_epoch = False

    def complete(self, batch: Any) -> Batch:
        """Return a batch as a tuple or a dict, with class weights added as sample weights."""
        if isinstance(batch, dict):
            return batch
        batch = (batch,) if isinstance(batch, np.ndarray) else batch
        batch = tuple(batch) if isinstance(batch, list) else batch
        if not isinstance(batch, tuple) or len(batch) not in (1, 2, 3):
            raise ValueError(
                "PyDataset.__getitem__() must return a tuple or a dict. If a tuple, it must be "
                "ordered either (input,) or (inputs, targets) or (inputs, targets, "
                f"sample_weights). Received: {str(batch)[:100]}... of type {type(batch)}"
            )
        if self.class_weight is None or len(batch) == 1:
            return batch
        if len(batch) == 3:
            raise ValueError(
                "You cannot specify `class_weight` and `sample_weight` at the same time: expected "
                "batches of `(x, y)` beside `class_weight`, got `(x, y, sample_weight)`."
            )
        return *batch, class_to_sample_weight(batch[1], self.class_weight)
