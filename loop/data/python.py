"""Batches that Python makes: generators, PyDatasets, torch and grain loaders.

Like fit, we look at the first two batches to learn their shapes: what differs between them is left
open, and so is the size of a batch. tf.data then runs the Python code, in a thread of its own.
"""

import itertools
import random
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from loop._keras import enqueuer
from loop.data.datasets import DatasetSource
from loop.data.sparse import to_sparse_tensor
from loop.data.weights import class_to_sample_weight
from loop.types import Batch, Structure

PEEKED = 2
"""Batches to look at before training."""


def generator_source(generator: Iterator[Batch]) -> DatasetSource:
    """Batches of a Python generator, which ends when it likes.

    A second pass begins with the two batches that were looked at, and goes on where the generator
    stands: of one that has ended, it sees these two only. fit does the same.

    Raises:
        ValueError: It yields nothing, or no tuples.

    Mirrors: keras.src.trainers.data_adapters.generator_data_adapter.GeneratorDataAdapter
    """
    first = list(itertools.islice(generator, PEEKED))
    if not first:
        raise ValueError(
            "When passing a Python generator to a Keras model, the generator must yield at least "
            "one batch. Received an empty generator."
        )
    if not isinstance(first[0], tuple):
        raise ValueError(
            "When passing a Python generator to a Keras model, the generator must return a tuple, "
            "either (input,) or (inputs, targets) or (inputs, targets, sample_weights). "
            f"Received: {first[0]}"
        )
    spec = common_spec(first)

    def batches() -> Iterator[Batch]:
        for batch in itertools.chain(first, generator):
            yield keras.tree.map_structure(_fitting, batch, spec)

    return DatasetSource(from_python(batches, spec).prefetch(tf.data.AUTOTUNE), None)


def loader_source(loader: Any) -> DatasetSource:
    """Batches of a torch `DataLoader`, as many as it says.

    Mirrors: keras.src.trainers.data_adapters.torch_data_loader_adapter.TorchDataLoaderAdapter
    """

    def batches() -> Iterator[Batch]:
        for batch in loader:
            yield tuple(keras.tree.map_structure(_from_torch, batch, none_is_leaf=False))

    spec = tuple(common_spec(list(itertools.islice(loader, PEEKED))))
    size = len(loader) if hasattr(loader.dataset, "__len__") else None
    return DatasetSource(from_python(batches, spec), size)


def grain_source(dataset: Iterable[Batch]) -> DatasetSource:
    """Batches of a grain `MapDataset`, `IterDataset` or `DataLoader`.

    Mirrors: keras.src.trainers.data_adapters.grain_dataset_adapter.GrainDatasetAdapter
    """

    def batches() -> Iterator[Batch]:
        for batch in dataset:
            yield keras.tree.lists_to_tuples(keras.tree.map_structure(_for_tensorflow, batch))

    spec = keras.tree.lists_to_tuples(common_spec(list(itertools.islice(dataset, PEEKED))))
    return DatasetSource(from_python(batches, spec), None)


def pydataset_source(
    dataset: keras.utils.PyDataset, class_weight: dict[int, float] | None, shuffle: bool | str
) -> DatasetSource:
    """Batches of a `keras.utils.PyDataset`, by its workers where it has any.

    Raises:
        ValueError: It has no batch, or one that is neither a tuple nor a dict.

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
    else:  # the workers run ahead themselves, and tf.data's threads would be in their way
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
    """Passes over a PyDataset, and who tells it where an epoch begins and ends."""

    def __init__(
        self, dataset: keras.utils.PyDataset, class_weight: dict[int, float] | None, shuffle: bool
    ):
        self.dataset = dataset
        self.class_weight = class_weight
        self.shuffle = shuffle
        self.workers = enqueuer(dataset, shuffle)
        self._is_in_epoch = False

    def batches(self) -> Iterator[Batch]:
        """One pass."""
        if self.workers is not None:
            yield from self._from_workers(self.workers)
            return
        size = self.dataset.num_batches
        indices: Iterable[int] = itertools.count() if size is None else list(range(size))
        if self.shuffle and isinstance(indices, list):
            random.shuffle(indices)  # Python's generator, as under Keras
        for index in indices:
            yield self.complete(self.dataset[index])

    def _from_workers(self, workers: Any) -> Iterator[Batch]:
        workers.start()
        size = self.dataset.num_batches
        for place, batch in enumerate(workers.get(), 1):
            yield self.complete(batch)
            if place == size:
                workers.stop()
                return

    def begin_epoch(self) -> None:
        """Before the first batch of an epoch."""
        if self._is_in_epoch:
            raise ValueError(
                "`on_epoch_begin` was called twice without `on_epoch_end` having been called."
            )
        self._is_in_epoch = True
        if self.workers is not None:
            self.workers.start()
        self.dataset.on_epoch_begin()

    def end_epoch(self) -> None:
        """After the last batch of an epoch, and once before the first epoch of all."""
        if self.workers is not None:
            self.workers.stop()
        self.dataset.on_epoch_end()
        self._is_in_epoch = False

    def complete(self, batch: Any) -> Batch:
        """A batch as a tuple or a dict, with the weights of its classes."""
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


def from_python(batches: Callable[[], Iterator[Batch]], spec: Structure) -> tf.data.Dataset:
    """A dataset whose passes run Python."""
    return tf.data.Dataset.from_generator(batches, output_signature=spec)


def common_spec(batches: list[Batch]) -> Structure:
    """What some batches have in common: a spec for each leaf, `[None, ...]`.

    Raises:
        ValueError: A leaf has no axis for samples, or another rank in another batch.

    Mirrors: keras.src.trainers.data_adapters.data_adapter_utils.get_tensor_spec
    """
    return keras.tree.map_structure(_leaf_spec, *batches)


def _leaf_spec(*leaves: Any) -> tf.TypeSpec:
    first = leaves[0]
    if first is None:
        return tf.OptionalSpec(None)
    first = first if hasattr(first, "shape") else np.array(first)
    if len(first.shape) < 1:
        raise ValueError(
            "When passing a dataset to a Keras model, the arrays must be at least rank 1. "
            f"Received: {first} of rank {len(first.shape)}."
        )
    shapes = [
        tuple(np.shape(leaf) if not hasattr(leaf, "shape") else leaf.shape) for leaf in leaves
    ]
    if len({len(shape) for shape in shapes}) > 1:
        raise ValueError(
            "When passing a dataset to a Keras model, the corresponding arrays in each batch must "
            f"have the same rank. Received: shapes {shapes}"
        )
    alike = [sizes[0] if len(set(sizes)) == 1 else None for sizes in zip(*shapes, strict=True)]
    shape = [None, *alike[1:]]
    dtype = keras.backend.standardize_dtype(first.dtype)
    if isinstance(first, tf.RaggedTensor):
        return tf.RaggedTensorSpec(shape, dtype, first.ragged_rank, first.row_splits.dtype)
    if isinstance(_for_tensorflow(first), tf.SparseTensor):
        return tf.SparseTensorSpec(shape, dtype)
    return tf.TensorSpec(shape, dtype)


def _fitting(leaf: Any, spec: tf.TypeSpec) -> Any:
    """A leaf of a batch as tf.data takes it.

    Raises:
        TypeError: Its shape is not that of the batches that were looked at.
    """
    leaf = _for_tensorflow(leaf)
    if not isinstance(spec, tf.OptionalSpec) and not spec.shape.is_compatible_with(leaf.shape):
        raise TypeError(
            f"Generator yielded an element of shape {leaf.shape} where an element of shape "
            f"{spec.shape} was expected. Your generator provides tensors with variable input "
            "dimensions other than the batch size. Make sure that the generator's first two "
            "batches do not have the same dimension value wherever there is a variable input "
            "dimension."
        )
    return leaf


def _for_tensorflow(leaf: Any) -> Any:
    return tf.experimental.Optional.empty(None) if leaf is None else to_sparse_tensor(leaf)


def _from_torch(leaf: Any) -> np.ndarray:
    return np.asarray(leaf.cpu())
