"""`loop.predict`: forward passes over the data, concatenated along the batch axis."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from loop.advice import advised
from loop.callbacks import BatchHooks, ProgressBar, with_defaults
from loop.checks import check_one_process
from loop.distribute import joined_replicas, source_for
from loop.engine.graphs import graph
from loop.engine.kinds import PREDICT
from loop.engine.model_step import cache_on, called_flat
from loop.engine.predictions import PredictFunction
from loop.schedule import Schedule, capped_steps
from loop.types import MAX_SECONDS, Batch, Horizon, Segment, StepFunction, Structure

BARS = (keras.callbacks.ProgbarLogger, ProgressBar)
"""The callbacks whose hooks for batches neither read predictions nor change anything."""


@advised
def predict(
    model: keras.Model,
    x: Structure,
    batch_size: int | None = None,
    verbose: str | int = "auto",
    steps: int | None = None,
    callbacks: Structure = None,
) -> Structure:
    """Return the predictions of a model for data, as `model.predict` does.

        predictions = loop.predict(model, x)

    Args:
        model: Any Keras model; it need not be compiled.
        x: Inputs `[samples, ...]`, nested as the model takes them, or a `tf.data.Dataset`.
        batch_size: Samples per batch, 32 by default.
        verbose: 0 silent, 1 or "auto" a bar, 2 a line.
        steps: Batches to predict; None for all.
        callbacks: Keras callbacks.

    Returns:
        NumPy arrays `[samples, ...]` in the structure of the model's outputs.

    Raises:
        ValueError: There was no batch to predict.
        KeyError: There is no data.
        NotImplementedError: Keras supports the data or the model, loop does not yet.

    Mirrors: keras.Model.predict
    """
    check_one_process(model)
    steps = capped_steps(steps)
    source: Any = source_for(model, x, batch_size=batch_size, steps=steps)
    schedule = Schedule(source, steps, model.steps_per_execution)
    completed = with_defaults(callbacks, model, verbose, epochs=1, steps=schedule.num_batches)
    predict_batches = predict_function(model)
    may_loop = model.steps_per_execution == 1 and predict_batches.may_loop(source)
    horizon = _between_bars(completed.predicting) if may_loop else _one_execution
    model.stop_predicting = False
    completed.on_predict_begin()
    outputs: list[Structure] = []
    hooks = completed.predicting
    with schedule.until_out_of_data():
        for segment in schedule.segments(horizon):
            hooks.begin(segment.first)
            if may_loop:
                count, predictions = predict_batches.run(source, segment)
            else:
                count, predictions = segment.steps, predict_batches(_batches(segment))
            outputs.append(predictions)
            last = schedule.advance(count)
            hooks.end(last, [{"outputs": predictions}])
            if model.stop_predicting:
                break
    completed.on_predict_end()
    if not outputs:
        raise ValueError(f"Expected at least one batch to predict, got an empty {type(x)} as `x`.")
    return keras.tree.map_structure(
        lambda *parts: as_numpy(_ragged_or_concatenated(parts)), *outputs
    )


def _one_execution(step: int) -> Horizon:
    """Return control after every execution, because every call returns its predictions."""
    return Horizon(step, MAX_SECONDS)


def _between_bars(hooks: BatchHooks) -> Callable[[int], Horizon]:
    """Return a function from the next step to how far a call of many batches may run.

    Callbacks with hooks for batches need control after each, and its predictions; a progress bar
    needs neither.
    """

    def horizon(step: int) -> Horizon:
        is_watched = any(type(callback) not in BARS for callback in hooks.listeners)
        return _one_execution(step) if is_watched else hooks.horizon(step)

    return horizon


def _batches(segment: Segment) -> list[Batch]:
    """Return the batches of a segment: at least one, fewer than its steps if the data end."""
    batches = [segment.batches.batch(segment.place)]
    with contextlib.suppress(StopIteration):  # the last execution may exceed the pass
        places = range(segment.place + 1, segment.place + segment.steps)
        batches.extend(map(segment.batches.batch, places))
    return batches


def as_numpy(output: Structure) -> Structure:
    """Return a dense tensor as NumPy (waits for the device), ragged and sparse ones unchanged."""
    return output.numpy() if isinstance(output, tf.Tensor) else output


def predict_function(model: keras.Model) -> PredictFunction:
    """Return the cached function from several batches to their predictions, `[samples, ...]`.

    Matches Keras: it is traced for each new shape, so full and short batches have a graph each.

    Mirrors: keras.Model.make_predict_function
    """
    PREDICT.check(model)
    step = PREDICT.step_of(model)
    predictions = cache_on(PREDICT.keras_function(model)).predictions
    if step not in predictions:
        predictions[step] = _build_predict_function(model, step)
    return predictions[step]


def _build_predict_function(model: keras.Model, step: StepFunction) -> PredictFunction:
    """Build the function: one graph predicts and concatenates; with `jit_compile` steps use XLA."""

    def on_batch(batch: Batch) -> Structure:
        return joined_replicas(model, step, batch)

    jit_compile = model.jit_compile and not model.run_eagerly
    predict_batch = graph(on_batch, jit_compile=True) if jit_compile else on_batch

    def on_batches(batches: list[Batch]) -> Structure:
        outputs = [predict_batch(batch) for batch in batches]
        return keras.tree.map_structure(lambda *parts: _concatenated(parts), *outputs)

    compiled = on_batches if model.run_eagerly else graph(on_batches, jit_compile=None)
    return PredictFunction(called_flat(model, compiled), jit_compile)


def _concatenated(parts: Sequence[Any]) -> Any:
    """Return the predictions of several batches concatenated along the batch axis.

    Mirrors: keras.src.backend.tensorflow.trainer.concat
    """
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], tf.SparseTensor):
        return tf.sparse.concat(0, list(parts))
    return tf.concat(parts, axis=0) if parts[0].shape.rank else tf.stack(parts)


def _ragged_or_concatenated(parts: Sequence[Any]) -> Any:
    """Return predictions concatenated, as a ragged tensor if batches differ in other axes.

    Mirrors: keras.src.backend.tensorflow.trainer.potentially_ragged_concat
    """
    if not all(isinstance(part, tf.Tensor) for part in parts):
        return _concatenated(parts)
    sizes = list(zip(*(part.shape[1:] for part in parts), strict=True))
    differing = [axis for axis, of_batches in enumerate(sizes) if len(set(of_batches)) > 1]
    if not differing:
        return _concatenated(parts)
    inner = parts[0].shape[differing[-1] + 2 :] or None
    return tf.ragged.constant([part.numpy() for part in parts], inner_shape=inner).merge_dims(0, 1)
