"""`loop.predict`: forward passes over the data, joined along the batch axis."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from loop.callbacks import with_defaults
from loop.checks import check_one_process
from loop.compiled import graph, kept
from loop.distribute import joined_replicas, source_for
from loop.epoch import Epochs, capped_steps
from loop.function import PREDICT
from loop.types import Batch, StepFunction, Structure


def predict(
    model: keras.Model,
    x: Structure,
    batch_size: int | None = None,
    verbose: str | int = "auto",
    steps: int | None = None,
    callbacks: Structure = None,
) -> Structure:
    """The predictions of a model for data, as `model.predict` gives them.

    Args:
        model: Any Keras model; it need not be compiled.
        x: Inputs `[samples, ...]`, nested as the model takes them, or a `tf.data.Dataset`.
        batch_size: Samples in a batch, 32 by default.
        verbose: 0 silent, 1 or "auto" a bar, 2 a line.
        steps: Batches to predict; None for all.
        callbacks: Keras callbacks.

    Returns:
        NumPy arrays `[samples, ...]` in the structure of the model's outputs.

    Raises:
        ValueError: There was no batch to predict.
        KeyError: There is no data.
        NotImplementedError: A source or a model that Keras takes and loop does not yet.

    Mirrors: keras.Model.predict
    """
    check_one_process(model)
    steps = capped_steps(steps)
    source = source_for(model, x, batch_size=batch_size, steps=steps)
    schedule = Epochs(source, steps, model.steps_per_execution)
    told = with_defaults(callbacks, model, verbose, epochs=1, steps=schedule.num_batches)
    on_batches = prediction(model)
    model.stop_predicting = False
    told.on_predict_begin()
    outputs: list[Structure] = []
    hooks = told.predicting
    with schedule.until_out_of_data():
        for first, last, batches in schedule.one_epoch(lambda batch: batch):  # one call a batch
            hooks.begin(first)
            some = [next(batches), *itertools.islice(batches, last - first)]
            outputs.append(on_batches(some))
            hooks.end(last, [{"outputs": outputs[-1]}])
            if model.stop_predicting:
                break
    told.on_predict_end()
    if not outputs:
        raise ValueError(f"Expected at least one batch to predict, got an empty {type(x)} as `x`.")
    return keras.tree.map_structure(lambda *parts: as_numpy(_ragged_or_joined(parts)), *outputs)


def as_numpy(output: Structure) -> Structure:
    """Reads predictions: waits for the device. Ragged and sparse ones stay what they are."""
    return output.numpy() if isinstance(output, tf.Tensor) else output


def prediction(model: keras.Model) -> Callable[[list[Batch]], Structure]:
    """The call that predicts some batches; leaves `[batch, ...]`.

    Keras traces it by the shapes that come, one graph for full batches and one for others.

    Mirrors: keras.Model.make_predict_function
    """
    PREDICT.check(model)
    step = PREDICT.chosen(model)
    return kept(PREDICT.owner(model), step, lambda: _prediction(model, step))


def _prediction(model: keras.Model, step: StepFunction) -> Callable[[list[Batch]], Structure]:
    """One graph for all batches of a call, the joining included; only the step is XLA's."""

    def on_batch(batch: Batch) -> Structure:
        return joined_replicas(model, step, batch)

    jit_compile = model.jit_compile and not model.run_eagerly
    one = graph(on_batch, jit_compile=True) if jit_compile else on_batch

    def on_batches(batches: list[Batch]) -> Structure:
        outputs = [one(batch) for batch in batches]
        return keras.tree.map_structure(lambda *parts: _joined(parts), *outputs)

    return on_batches if model.run_eagerly else graph(on_batches, jit_compile=None)


def _joined(parts: Sequence[Any]) -> Any:
    """Predictions of several batches as one, joined along the batch axis.

    Mirrors: keras.src.backend.tensorflow.trainer.concat
    """
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], tf.SparseTensor):
        return tf.sparse.concat(0, list(parts))
    return tf.concat(parts, axis=0) if parts[0].shape.rank else tf.stack(parts)


def _ragged_or_joined(parts: Sequence[Any]) -> Any:
    """The same where batches may differ in other axes: then a ragged tensor.

    Mirrors: keras.src.backend.tensorflow.trainer.potentially_ragged_concat
    """
    if not all(isinstance(part, tf.Tensor) for part in parts):
        return _joined(parts)
    sizes = list(zip(*(part.shape[1:] for part in parts), strict=True))
    differing = [axis for axis, of_batches in enumerate(sizes) if len(set(of_batches)) > 1]
    if not differing:
        return _joined(parts)
    inner = parts[0].shape[differing[-1] + 2 :] or None
    return tf.ragged.constant([part.numpy() for part in parts], inner_shape=inner).merge_dims(0, 1)
