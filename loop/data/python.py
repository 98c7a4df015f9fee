"""Batches that Python makes: generators, torch and grain loaders.

tf.data runs the Python code, in a thread of its own, ahead of the training where fit lets it.
"""

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from loop.data.datasets import DatasetSource
from loop.data.specs import PEEKED, common_spec, fitting, for_tensorflow, from_python
from loop.types import Batch


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
            yield keras.tree.map_structure(fitting, batch, spec)

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
            yield keras.tree.lists_to_tuples(keras.tree.map_structure(for_tensorflow, batch))

    spec = keras.tree.lists_to_tuples(common_spec(list(itertools.islice(dataset, PEEKED))))
    return DatasetSource(from_python(batches, spec), None)


def _from_torch(leaf: Any) -> np.ndarray:
    return np.asarray(leaf.cpu())
