"""Batches from Python code: generators, torch and grain loaders.

tf.data runs the Python code in a thread of its own. Matches Keras: generators are prefetched, torch
and grain loaders only as far as tf.data does so by default.
"""

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from loop.data.datasets import DatasetSource
from loop.data.specs import PEEKED, check_against_spec, common_spec, for_tensorflow, from_python
from loop.types import Batch


def generator_source(generator: Iterator[Batch]) -> DatasetSource:
    """Return the source for a Python generator, whose number of batches is unknown.

    Matches Keras: every pass begins with the two batches that were peeked at to find the shapes,
    and continues with what the generator yields next. If it has ended, later passes consist of
    these two batches only.

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
            yield keras.tree.map_structure(check_against_spec, batch, spec)

    return DatasetSource(from_python(batches, spec).prefetch(tf.data.AUTOTUNE), None)


def loader_source(loader: Any) -> DatasetSource:
    """Return the source for a torch `DataLoader`; its size is `len(loader)` if that is known.

    Mirrors: keras.src.trainers.data_adapters.torch_data_loader_adapter.TorchDataLoaderAdapter
    """

    def batches() -> Iterator[Batch]:
        for batch in loader:
            yield tuple(keras.tree.map_structure(_from_torch, batch, none_is_leaf=False))

    spec = tuple(common_spec(list(itertools.islice(loader, PEEKED))))
    size = len(loader) if hasattr(loader.dataset, "__len__") else None
    return DatasetSource(from_python(batches, spec), size)


def grain_source(dataset: Iterable[Batch]) -> DatasetSource:
    """Return the source for a grain `MapDataset`, `IterDataset` or `DataLoader`.

    Mirrors: keras.src.trainers.data_adapters.grain_dataset_adapter.GrainDatasetAdapter
    """

    def batches() -> Iterator[Batch]:
        for batch in dataset:
            yield keras.tree.lists_to_tuples(keras.tree.map_structure(for_tensorflow, batch))

    spec = keras.tree.lists_to_tuples(common_spec(list(itertools.islice(dataset, PEEKED))))
    return DatasetSource(from_python(batches, spec), None)


def _from_torch(leaf: Any) -> np.ndarray:
    return np.asarray(leaf.cpu())
