"""Data: sources of batches, class and sample weights, the validation split.

`make_source` returns the `Source` for any kind of data that fit takes: see `loop.types.Source`.
"""

import types
import warnings
from typing import Any

import keras
import tensorflow as tf

from loop.data.arrays import ArraySource, no_data, prepare_arrays
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
    "no_data",
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
    drop_remainder: bool = False,
) -> Source:
    """Return the source of batches for the data arguments of fit.

    Args:
        x: Arrays `[samples, ...]`, in any nested structure, or an object that yields batches: a
            `tf.data.Dataset`, a `PyDataset`, a generator, a torch or a grain loader.
        y: Targets `[samples, ...]`; only if `x` holds arrays.
        sample_weight: `[samples]` or `[samples, ...]`; only if `x` holds arrays.
        batch_size: Samples per batch; ignored if `x` yields batches.
        steps: Steps per epoch; determines the batch size if `batch_size` is None.
        shuffle: True, False or "batch".
        class_weight: Weights by integer class.
        as_dataset: Whether to make a dataset of arrays as well, for distribution over replicas.
        drop_remainder: Whether to leave out a short last batch; only if `x` holds arrays.

    Raises:
        ValueError: `x` is of a type that fit does not support, or the arguments contradict it.
        NotImplementedError: `model.fit` supports the type of `x`, loop does not.

    Mirrors: keras.src.trainers.data_adapters.get_data_adapter
    """
    arrays = keras.tree.flatten((x, y, sample_weight))
    if all(leaf is None or is_array(leaf) for leaf in arrays):
        samples = prepare_arrays(
            x, y, sample_weight, batch_size, steps, class_weight, drop_remainder
        )
        if as_dataset or any(is_composite(leaf) for leaf in arrays):
            return DatasetSource(dataset_of_rows(*samples, shuffle), samples.num_batches)
        return ArraySource(samples, shuffle)
    kind = kind_of(x)
    if kind is None:
        raise _unsupported_type(x, y, sample_weight)
    _raise_if_given(kind, "y", "the targets", y)
    _raise_if_given(kind, "sample_weights", "the sample weights", sample_weight)
    if drop_remainder:
        raise ValueError(
            f"`drop_remainder=True` is for arrays, which fit divides into batches; a {kind} makes "
            f"its own. {_DROPS.get(kind, 'Let it leave out the short last batch')} instead."
        )
    return _source_of_batches(kind, x, shuffle, class_weight)


def _source_of_batches(
    kind: str, x: Any, shuffle: bool | str, class_weight: dict[int, float] | None
) -> Source:
    """Return the source for an object that yields batches."""
    if class_weight is not None and kind not in ("tf.data.Dataset", "PyDataset"):
        raise ValueError(
            f"Argument `class_weight` is not supported for {kind} inputs. Let it yield "
            f"`(x, y, sample_weight)` instead. Received: class_weight={class_weight}"
        )
    if shuffle and (kind != "PyDataset" or x.num_batches is None):
        warnings.warn(
            "`shuffle=True` was passed, but will be ignored since the data `x` was provided as "
            f"{_SHUFFLE_IGNORED_FOR[kind]}.",
            stacklevel=4,
        )
    if kind == "tf.data.Dataset":
        return dataset_source(x, class_weight)
    if kind == "PyDataset":
        return pydataset_source(x, class_weight, shuffle)
    return _PYTHON_SOURCES[kind](x)


_PYTHON_SOURCES = {
    "generator": generator_source,
    "torch DataLoader": loader_source,
    "grain dataset": grain_source,
}


_DROPS = {
    "tf.data.Dataset": "Pass ds.batch(n, drop_remainder=True)",
    "torch DataLoader": "Pass DataLoader(..., drop_last=True)",
    "grain dataset": "Pass ds.batch(n, drop_remainder=True)",
}


_SHUFFLE_IGNORED_FOR = {  # the wording of Keras's warnings
    "tf.data.Dataset": "a tf.data.Dataset. The Dataset is expected to already be shuffled (via "
    "`.shuffle(buffer_size)`)",
    "PyDataset": "an infinite PyDataset. The PyDataset is expected to already be shuffled",
    "torch DataLoader": "a torch DataLoader. The DataLoader is expected to already be shuffled",
    "grain dataset": "a grain dataset. The grain dataset is expected to already be shuffled",
    "generator": "a generator. The generator is expected to yield already-shuffled data",
}


def kind_of(x: Any) -> str | None:
    """Return the kind of `x` if it yields batches, else None. Imports neither torch nor grain."""
    if isinstance(x, tf.data.Dataset | tf.distribute.DistributedDataset):
        return "tf.data.Dataset"
    if isinstance(x, keras.utils.PyDataset):
        return "PyDataset"
    if isinstance(x, types.GeneratorType):
        return "generator"
    for base in type(x).__mro__:
        if base.__name__ == "DataLoader" and "torch.utils.data" in base.__module__:
            return "torch DataLoader"
        if base.__name__ in _GRAIN_CLASSES and "grain" in base.__module__:
            return "grain dataset"
    return None


_GRAIN_CLASSES = {"MapDataset", "IterDataset", "DataLoader"}


def _raise_if_given(kind: str, name: str, what: str, value: Any) -> None:
    if value is not None:
        raise ValueError(
            f"When providing `x` as a {kind}, `{name}` should not be passed. Instead, {what} "
            f"should be included as part of the {kind}: let it yield tuples `(x, y)` or "
            "`(x, y, sample_weight)`."
        )


_ONLY_IN_KERAS = {"DistributedDatasetsFromFunction", "DataAdapter"}


def _unsupported_type(x: Any, y: Any, sample_weight: Any) -> Exception:
    """Return the error that names the first leaf that is no array, and what to pass instead."""
    named = {"x": x, "y": y, "sample_weight": sample_weight}
    if {base.__name__ for base in type(x).__mro__} & _ONLY_IN_KERAS:
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
    raise AssertionError("all leaves are arrays")  # make_source returned an ArraySource
