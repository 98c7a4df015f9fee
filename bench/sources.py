"""What `x` may be: 400 steps of the small MLP from every kind of source."""

import functools
import importlib.util
import itertools
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from bench.workloads import (
    BATCH,
    dataset,
    from_batches,
    from_tf_data,
    mlp,
    mlp_data,
    watched,
    with_bar,
    workload,
)

STEPS = 400

Batch = tuple[np.ndarray, np.ndarray]
"""Inputs `[batch, 10]` and targets `[batch]`."""


def batches(steps: int) -> list[Batch]:
    """Return the batches of an epoch."""
    arrays = mlp_data(steps)
    starts = range(0, steps * BATCH, BATCH)
    return [(arrays["x"][at : at + BATCH], arrays["y"][at : at + BATCH]) for at in starts]


def _filtered(steps: int) -> dict[str, Any]:
    return from_batches(dataset(steps).filter(lambda _, y: tf.reduce_sum(y) >= 0))


def _from_generator(steps: int) -> dict[str, Any]:
    signature = (
        tf.TensorSpec((None, 10), tf.float32),
        tf.TensorSpec((None,), tf.int64),
    )
    made = batches(steps)
    return from_batches(
        tf.data.Dataset.from_generator(lambda: iter(made), output_signature=signature)
    )


@functools.cache
def _folder() -> tempfile.TemporaryDirectory:
    """Return a folder for records, removed when the process ends."""
    return tempfile.TemporaryDirectory(prefix="glassfit-bench-")


@functools.cache
def _records(steps: int) -> str:
    """Write the samples of so many batches as TFRecords, and return the file."""
    arrays, path = mlp_data(steps), str(Path(_folder().name) / f"{steps}.tfrecord")
    with tf.io.TFRecordWriter(path) as writer:
        for x, y in zip(arrays["x"], arrays["y"], strict=True):
            features = {
                "x": tf.train.Feature(float_list=tf.train.FloatList(value=x)),
                "y": tf.train.Feature(int64_list=tf.train.Int64List(value=[y])),
            }
            example = tf.train.Example(features=tf.train.Features(feature=features))
            writer.write(example.SerializeToString())
    return path


def _parsed(records: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    features = {
        "x": tf.io.FixedLenFeature((10,), tf.float32),
        "y": tf.io.FixedLenFeature((), tf.int64),
    }
    parsed = tf.io.parse_example(records, features)
    return parsed["x"], parsed["y"]


def _tfrecord(steps: int) -> dict[str, Any]:
    return from_batches(tf.data.TFRecordDataset(_records(steps)).batch(BATCH).map(_parsed))


def _generator(steps: int) -> dict[str, Any]:
    def endless() -> Iterator[Batch]:
        yield from itertools.cycle(made)

    made = batches(steps)
    return from_batches(endless(), steps_per_epoch=steps)


class Batches(keras.utils.PyDataset):
    """The batches of an epoch, by index."""

    def __init__(self, steps: int, workers: int):
        super().__init__(workers=workers)
        self._batches = batches(steps)

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> Batch:
        return self._batches[index]


def _pydataset(steps: int) -> dict[str, Any]:
    return from_batches(Batches(steps, workers=0))


def _pydataset_by_2(steps: int) -> dict[str, Any]:
    return from_batches(Batches(steps, workers=2))


def _torch_loader(steps: int) -> dict[str, Any]:
    import torch

    arrays = mlp_data(steps)
    tensors = torch.utils.data.TensorDataset(*map(torch.from_numpy, (arrays["x"], arrays["y"])))
    return from_batches(torch.utils.data.DataLoader(tensors, batch_size=BATCH))


_ROWS = [
    ("arrays", "NumPy arrays", mlp_data, 1.0),
    ("arrays_bar", "the same at the default verbosity", with_bar, 1.0),
    ("callback", "arrays, a callback of one's own at every batch", watched, 2.5),
    ("dataset", "tf.data of known size", from_tf_data, 3.0),
    ("filtered", "tf.data of unknown size: filter", _filtered, 3.0),
    ("from_generator", "tf.data of unknown size: from_generator", _from_generator, 3.0),
    ("tfrecord", "tf.data of unknown size: a TFRecord file", _tfrecord, 3.0),
    ("generator", "a Python generator", _generator, 1.5),
    ("pydataset", "a PyDataset", _pydataset, 2.5),
    ("pydataset_by_2", "a PyDataset with 2 workers", _pydataset_by_2, 1.5),
]
if importlib.util.find_spec("torch"):
    _ROWS.append(("torch_loader", "a DataLoader of PyTorch", _torch_loader, 1.0))

SOURCES = tuple(
    replace(workload(name, shows, mlp, arguments, STEPS, 1, {"auto": goal}), batches=STEPS)
    for name, shows, arguments, goal in _ROWS
)
