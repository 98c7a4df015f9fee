"""Draws the first batch of a fit where that leaves the data as they are."""

from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from loop._keras import is_distributed
from loop.data import ArraySource, kind_of
from loop.data.pydataset import PyDatasetPasses
from loop.explain.prepared import Prepared
from loop.types import Batch, FitArguments

INSTEAD = "Pass a batch itself: loop.explain(model, *batch, shuffle=False, step=True)."

FAIL_ON_STATE = 2
"""The policy under which TensorFlow refuses to write down a dataset with state of its own."""


class Drawn(NamedTuple):
    """A batch, and which samples it holds.

    Attributes:
        batch: `x`, `(x,)`, `(x, y)` or `(x, y, sample_weight)`, leaves `[batch, ...]`.
        rows: The places of its samples in the arrays, `[batch]`; None if the data are no arrays.
    """

    batch: Batch
    rows: np.ndarray | None


def why_not_drawn(arguments: FitArguments, prepared: Prepared) -> str | None:
    """Return why the first step cannot be shown; None if it can."""
    kind = kind_of(arguments.x)
    if is_distributed(arguments.model):
        return "The model runs on replicas: its step is not taken apart."
    if prepared.source is None:
        return f"It needs a batch, and a {kind} cannot be read without taking it. {INSTEAD}"
    if prepared.runner is None:
        return "The model has no weights yet. Build it first: model.build(...) or model(x[:1])."
    if prepared.source.num_batches == 0:
        return "There is no batch."
    if kind == "tf.data.Dataset" and _has_state(arguments.x):
        return f"It needs a batch, and reading this tf.data.Dataset would change it. {INSTEAD}"
    return None


def draw(arguments: FitArguments, prepared: Prepared) -> Drawn:
    """Return the first batch. Draws from arrays, a dataset without state, or a PyDataset by index.

    Without a global seed the order of arrays is random: then this is a batch that may come first.
    """
    source: Any = prepared.source
    if kind_of(arguments.x) == "PyDataset":
        passes = PyDatasetPasses(arguments.x, arguments.class_weight, bool(arguments.shuffle))
        passes.workers = None
        return Drawn(_as_tensors(next(passes.batches()), source.spec), None)
    one_pass = source.new_pass()
    rows = None
    if isinstance(source, ArraySource) and source.flat:
        rows = one_pass.inputs[1].numpy()[: source.batch_size]
    return Drawn(one_pass.batch(0), rows)


def _as_tensors(batch: Batch, spec: Any) -> Batch:
    """Return a batch of arrays as tf.data gives it to the step."""

    def as_tensor(leaf: Any, leaf_spec: Any) -> Any:
        return None if leaf_spec is None else tf.convert_to_tensor(leaf, leaf_spec.dtype)

    return keras.tree.map_structure(as_tensor, batch, spec)


def _has_state(dataset: tf.data.Dataset) -> bool:
    """Return whether reading a dataset may change it: it shuffles, caches, or calls Python."""
    variant = tf.data.experimental.to_variant(dataset)
    try:
        written = tf.raw_ops.DatasetToGraphV2(
            input_dataset=variant, external_state_policy=FAIL_ON_STATE
        )
    except tf.errors.OpError:
        return True
    graph = tf.compat.v1.GraphDef.FromString(written.numpy())
    ops = {node.op for node in graph.node}
    return any(op.startswith(("Cache", "Shuffle", "Random", "Generator")) for op in ops)
