"""Models created under a `tf.distribute` strategy: replicas run the step on shards of a batch.

Keras's losses divide by the number of replicas, so that gradients can be summed. This module shards
the batches, runs the steps and combines their results. It supports strategies of one process, such
as MirroredStrategy and OneDeviceStrategy.
"""

from typing import Any

import keras
import tensorflow as tf

from loop._keras import is_distributed, symbolic_build
from loop.data import DatasetSource, make_source
from loop.types import Batch, Source, StepFunction, Structure


def on_replicas(model: keras.Model, step: StepFunction, batch: Batch) -> Structure:
    """Run a step on every replica; return the mean of their logs.

    Mirrors: keras.src.backend.tensorflow.trainer.reduce_per_replica
    """
    if not is_distributed(model):
        return step(model, batch)
    logs = model.distribute_strategy.run(step, args=(model, batch))
    return keras.tree.map_structure(
        lambda log: tf.reduce_mean(log.values, axis=0) if _is_per_replica(log) else log, logs
    )


def joined_replicas(model: keras.Model, step: StepFunction, batch: Batch) -> Structure:
    """Run a step on every replica; return predictions concatenated along the batch axis."""
    if not is_distributed(model):
        return step(model, batch)
    outputs = model.distribute_strategy.run(step, args=(model, batch))
    return keras.tree.map_structure(
        lambda output: tf.concat(output.values, axis=0) if _is_per_replica(output) else output,
        outputs,
    )


def source_for(
    model: keras.Model,
    x: Structure,
    y: Structure = None,
    sample_weight: Structure = None,
    batch_size: int | None = None,
    steps: int | None = None,
    shuffle: bool | str = False,
    class_weight: dict[int, float] | None = None,
    drop_remainder: bool = False,
) -> Source:
    """Return the source that `loop.data.make_source` returns, sharded over a model's replicas.

    Mirrors: keras.src.backend.tensorflow.trainer.TFEpochIterator
    """
    sharded = is_distributed(model)
    data = x, y, sample_weight
    source = make_source(
        *data, batch_size, steps, shuffle, class_weight, sharded, drop_remainder=drop_remainder
    )
    return _shard(model, source) if isinstance(source, DatasetSource) and sharded else source


def _shard(model: keras.Model, source: DatasetSource) -> Source:
    """Return the source with sharded batches; create the variables that the model still lacks."""
    strategy, dataset = model.distribute_strategy, source.dataset
    if not isinstance(dataset, tf.distribute.DistributedDataset):
        dataset = strategy.experimental_distribute_dataset(dataset)
    batch = next(iter(dataset))
    if all(_is_per_replica(leaf) for leaf in keras.tree.flatten(batch)):
        batch = strategy.reduce("MEAN", batch, axis=None)
    with strategy.scope():
        symbolic_build(model, batch)
    return DatasetSource(
        dataset, source.num_batches, source.is_endless, source.begin_epoch, source.end_epoch
    )


def _is_per_replica(value: Any) -> bool:
    """Return whether a value has a part for each replica."""
    return isinstance(value, tf.distribute.DistributedValues) and hasattr(value, "values")
