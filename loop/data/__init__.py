"""What an epoch is made of: sources of batches, class weights, the validation split.

A `Source` knows how many batches one pass has, of what shapes, and starts passes.
"""

import types
import warnings
from typing import Any

import keras
import tensorflow as tf

from loop.data.arrays import ArraySource, gathered
from loop.data.convert import is_array
from loop.data.datasets import DatasetSource, dataset_source, without_optionals
from loop.data.pydataset import pydataset_source
from loop.data.python import generator_source, grain_source, loader_source
from loop.data.sparse import dataset_of_rows, is_composite
from loop.data.split import split_validation
from loop.data.weights import class_to_sample_weight
from loop.types import Source, Structure

__all__ = [
    "ArraySource",
    "DatasetSource",
    "class_to_sample_weight",
    "is_array",
    "kind_of",
    "make_source",
    "split_validation",
    "without_optionals",
]


def make_source(
    x: Structure,
    y: Structure = None,
    sample_weight: Structure = None,
    batch_size: int | None = None,
    steps: int | None = None,
    shuffle: bool | str = False,
    class_weight: dict[int, float] | None = None,
    as_dataset: bool = False,
) -> Source:
    """The source for what the user passed as `x`.

    Args:
        x: Arrays `[samples, ...]`, nested as the user likes, or what makes batches itself: a
            `tf.data.Dataset`, a `PyDataset`, a generator, a torch or a grain loader.
        y: Targets `[samples, ...]`; arrays only.
        sample_weight: `[samples]` or `[samples, ...]`; arrays only.
        batch_size: Samples in a batch; ignored for what makes batches itself.
        steps: Steps in an epoch; without a `batch_size` it decides the size of a batch.
        shuffle: True, False or "batch".
        class_weight: A weight for each class of integer targets.
        as_dataset: Whether arrays must come from a dataset, too: it can be spread over replicas.

    Raises:
        ValueError: `x` is of a type that fit does not know, or the arguments contradict it.
        NotImplementedError: A source that fit knows and loop does not.

    Mirrors: keras.src.trainers.data_adapters.get_data_adapter
    """
    arrays = keras.tree.flatten((x, y, sample_weight))
    if all(leaf is None or is_array(leaf) for leaf in arrays):
        samples = gathered(x, y, sample_weight, batch_size, steps, class_weight)
        if as_dataset or any(is_composite(leaf) for leaf in arrays):
            return DatasetSource(dataset_of_rows(*samples, shuffle), samples.num_batches)
        return ArraySource(samples, shuffle)
    kind = kind_of(x)
    if kind is None:
        raise _unknown(x, y, sample_weight)
    _refuse_beside(kind, "y", "the targets", y)
    _refuse_beside(kind, "sample_weights", "the sample weights", sample_weight)
    if class_weight is not None and kind not in ("tf.data.Dataset", "PyDataset"):
        raise ValueError(
            f"Argument `class_weight` is not supported for {kind} inputs. Let it yield "
            f"`(x, y, sample_weight)` instead. Received: class_weight={class_weight}"
        )
    if shuffle and (kind != "PyDataset" or x.num_batches is None):
        warnings.warn(
            "`shuffle=True` was passed, but will be ignored since the data `x` was provided as "
            f"{_SHUFFLED_BY_ITSELF[kind]}.",
            stacklevel=3,
        )
    if kind == "tf.data.Dataset":
        return dataset_source(x, class_weight)
    if kind == "PyDataset":
        return pydataset_source(x, class_weight, shuffle)
    return _OF_PYTHON[kind](x)


_OF_PYTHON = {
    "generator": generator_source,
    "torch DataLoader": loader_source,
    "grain dataset": grain_source,
}


_SHUFFLED_BY_ITSELF = {  # Keras's words
    "tf.data.Dataset": "a tf.data.Dataset. The Dataset is expected to already be shuffled (via "
    "`.shuffle(buffer_size)`)",
    "PyDataset": "an infinite PyDataset. The PyDataset is expected to already be shuffled",
    "torch DataLoader": "a torch DataLoader. The DataLoader is expected to already be shuffled",
    "grain dataset": "a grain dataset. The grain dataset is expected to already be shuffled",
    "generator": "a generator. The generator is expected to yield already-shuffled data",
}


def kind_of(x: Any) -> str | None:
    """Return what `x` is if it makes batches itself, else None. Imports neither torch nor grain."""
    if isinstance(x, tf.data.Dataset | tf.distribute.DistributedDataset):
        return "tf.data.Dataset"
    if isinstance(x, keras.utils.PyDataset):
        return "PyDataset"
    if isinstance(x, types.GeneratorType):
        return "generator"
    for base in type(x).__mro__:
        if base.__name__ == "DataLoader" and "torch.utils.data" in base.__module__:
            return "torch DataLoader"
        if base.__name__ in _OF_GRAIN and "grain" in base.__module__:
            return "grain dataset"
    return None


_OF_GRAIN = {"MapDataset", "IterDataset", "DataLoader"}


def _refuse_beside(kind: str, name: str, what: str, value: Any) -> None:
    if value is not None:
        raise ValueError(
            f"When providing `x` as a {kind}, `{name}` should not be passed. Instead, {what} "
            f"should be included as part of the {kind}: let it yield tuples `(x, y)` or "
            "`(x, y, sample_weight)`."
        )


_KERAS_TAKES_TOO = {"DistributedDatasetsFromFunction", "DataAdapter"}


def _unknown(x: Any, y: Any, sample_weight: Any) -> Exception:
    """The error that names the first thing that is no array, and what to pass instead."""
    named = {"x": x, "y": y, "sample_weight": sample_weight}
    if {base.__name__ for base in type(x).__mro__} & _KERAS_TAKES_TOO:
        return NotImplementedError(
            f"`x` is a {type(x).__name__}: `model.fit` takes it, loop.fit does not. Pass the "
            "tf.data.Dataset that it was made from."
        )
    for name, value in named.items():
        for leaf in keras.tree.flatten(value):
            if leaf is not None and not is_array(leaf):
                return ValueError(
                    f"Unrecognized data type: `{name}` holds {leaf!r} of type {type(leaf)}. "
                    "Expected NumPy arrays, TensorFlow tensors, pandas frames, tuples, lists or "
                    "dicts of these; or, as `x`, a tf.data.Dataset, a PyDataset, a generator, a "
                    "torch or a grain loader. Turn lists of numbers into arrays first: "
                    f"np.asarray({name})."
                )
    raise AssertionError("all leaves are arrays")  # make_source has taken these
