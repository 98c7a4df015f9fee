"""What an epoch is made of: sources of batches, class weights, the validation split.

A `Source` knows how many batches one pass has, of what shapes, and starts passes.
"""

import warnings
from typing import Any

import keras
import tensorflow as tf

from loop.data.arrays import ArraySource
from loop.data.convert import is_array
from loop.data.datasets import DatasetSource
from loop.data.split import split_validation
from loop.types import Source, Structure

__all__ = ["ArraySource", "DatasetSource", "make_source", "split_validation"]


def make_source(
    x: Structure,
    y: Structure = None,
    sample_weight: Structure = None,
    batch_size: int | None = None,
    steps: int | None = None,
    shuffle: bool | str = False,
    class_weight: dict[int, float] | None = None,
) -> Source:
    """The source for what the user passed as `x`.

    Args:
        x: Arrays `[samples, ...]`, nested as the user likes, or a `tf.data.Dataset` of batches.
        y: Targets `[samples, ...]`; arrays only.
        sample_weight: `[samples]` or `[samples, ...]`; arrays only.
        batch_size: Samples in a batch; ignored for a dataset, which is batched already.
        steps: Steps in an epoch; without a `batch_size` it decides the size of a batch.
        shuffle: True, False or "batch".
        class_weight: A weight for each class of integer targets.

    Raises:
        ValueError: `x` is of a type that fit does not know, or the arguments contradict it.
        NotImplementedError: A source that fit knows and loop does not know yet.

    Mirrors: keras.src.trainers.data_adapters.get_data_adapter
    """
    if all(leaf is None or is_array(leaf) for leaf in keras.tree.flatten((x, y, sample_weight))):
        return ArraySource(
            x,
            y,
            sample_weight,
            batch_size=batch_size,
            steps=steps,
            shuffle=shuffle,
            class_weight=class_weight,
        )
    if isinstance(x, tf.data.Dataset):
        _refuse_beside_dataset("y", "the targets", y)
        _refuse_beside_dataset("sample_weights", "the sample weights", sample_weight)
        if shuffle:
            warnings.warn(
                "`shuffle=True` was passed, but will be ignored since the data `x` was provided "
                "as a tf.data.Dataset. The Dataset is expected to already be shuffled (via "
                "`.shuffle(buffer_size)`).",
                stacklevel=3,
            )
        return DatasetSource(x, class_weight)
    raise _unknown(x, y, sample_weight)


def _refuse_beside_dataset(name: str, what: str, value: Any) -> None:
    if value is not None:
        raise ValueError(
            f"When providing `x` as a tf.data.Dataset, `{name}` should not be passed. Instead, "
            f"{what} should be included as part of the tf.data.Dataset: let it yield tuples "
            "`(x, y)` or `(x, y, sample_weight)`."
        )


# By name: torch and grain need not be installed.
_KERAS_TAKES_TOO = {"generator", "PyDataset", "DataLoader", "MapDataset", "IterDataset"}
_KERAS_TAKES_TOO |= {"DistributedDataset", "DistributedDatasetsFromFunction", "DataAdapter"}


def _unknown(x: Any, y: Any, sample_weight: Any) -> Exception:
    """The error that names the first thing that is no array, and what to pass instead."""
    named = {"x": x, "y": y, "sample_weight": sample_weight}
    if {base.__name__ for base in type(x).__mro__} & _KERAS_TAKES_TOO:
        return NotImplementedError(
            f"`x` is a {type(x).__name__}: `model.fit` takes it, loop.fit does not yet. Pass "
            "arrays or a tf.data.Dataset (`tf.data.Dataset.from_generator` makes one)."
        )
    for name, value in named.items():
        for leaf in keras.tree.flatten(value):
            if type(leaf).__module__.startswith(("scipy.sparse", "jax.experimental.sparse")):
                return NotImplementedError(
                    f"`{name}` holds a {type(leaf).__name__}: `model.fit` takes it, loop.fit does "
                    "not yet. Pass a dense array (`.toarray()`) or a tf.data.Dataset."
                )
            if leaf is not None and not is_array(leaf):
                return ValueError(
                    f"Unrecognized data type: `{name}` holds {leaf!r} of type {type(leaf)}. "
                    "Expected NumPy arrays, TensorFlow tensors, pandas frames, tuples, lists or "
                    "dicts of these, or a tf.data.Dataset as `x`. Turn lists of numbers into "
                    f"arrays first: np.asarray({name})."
                )
    raise AssertionError("all leaves are arrays")  # make_source has taken these
