"""Common mistakes in training loops, as replacements for parts of a step and as changed calls.

A replacement is passed the function that it replaces (`original`) before its other arguments, so
two mistakes in the same part add up. `compare.diagnosis.rules` says which rule each breaks.
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from compare.diagnosis.broken import Break, FitCall
from loop.data import arrays
from loop.metrics import loss_tracker
from loop.step import forward
from loop.types import LossTerm, OutputMetrics

Original = Callable[..., Any]
"""The function that a mistake replaces."""


def nothing(*_: Any, **__: Any) -> None:
    """Do nothing."""


def nothing_added(_: Original, __: keras.Model) -> list[tf.Tensor]:
    """Return no losses of layers."""
    return []


def unweighted_mean(_: Original, model: keras.Model, loss: tf.Tensor, __: Any) -> None:
    """Log the mean of the losses of batches, whatever their sizes."""
    loss_tracker(model).update_state(loss)


def last_loss_only(original: Original, model: keras.Model, loss: tf.Tensor, x: Any) -> None:
    """Log the loss of the last batch."""
    loss_tracker(model).reset_state()
    original(model, loss, x)


def never_training(original: Original, model: keras.Model, x: Any, training: bool) -> Any:
    """Run the forward pass without dropout, with moving batch statistics."""
    return original(model, x, training=False)


def always_training(original: Original, model: keras.Model, x: Any, training: bool) -> Any:
    """Run the forward pass with dropout and update batch statistics, in validation too."""
    return original(model, x, training=True)


def forward_twice(original: Original, model: keras.Model, x: Any, training: bool) -> Any:
    """Run two forward passes in a training step."""
    if training:
        original(model, x, training=True)
    return original(model, x, training)


def metrics_of_a_second_forward(
    original: Original, model: keras.Model, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
) -> Any:
    """Update metrics with predictions made after the update of the weights."""
    return original(model, x, y, forward(model, x, training=False), sample_weight)


def weights_in_all_metrics(original: Original, *of: Any) -> OutputMetrics:
    """Pass sample weights to plain metrics, too."""
    plain, weighted = original(*of)
    return OutputMetrics([], [a + b for a, b in zip(plain, weighted, strict=True)])


def loss_without_weights(
    original: Original, model: keras.Model, y: Any, y_pred: Any, sample_weight: Any
) -> Any:
    """Return the loss without sample weights and class weights."""
    return original(model, y, y_pred, None)


def mean_by_weights(
    original: Original, model: keras.Model, y: Any, y_pred: Any, sample_weight: Any
) -> Any:
    """Divide the sum of weighted losses by the sum of weights, not by the number of samples."""
    value = original(model, y, y_pred, sample_weight)
    if value is None or sample_weight is None or keras.tree.is_nested(sample_weight):
        return value
    return value / tf.cast(tf.reduce_mean(sample_weight), value.dtype)


def without_loss_weights(original: Original, *of: Any) -> Any:
    """Return the losses of outputs without their loss weights."""
    terms, y, y_pred = original(*of)
    return [LossTerm(term.path, term.loss, None, term.tracker) for term in terms], y, y_pred


def without_masks(
    original: Original, model: keras.Model, y: Any, y_pred: Any, sample_weight: Any
) -> Any:
    """Return the loss over all time steps, masked ones included."""

    def unmasked(tensor: tf.Tensor) -> tf.Tensor:
        return tensor if getattr(tensor, "_keras_mask", None) is None else tf.identity(tensor)

    bare = keras.tree.map_structure(unmasked, y_pred)
    return original(model, y, bare, sample_weight)


def broadcast(
    original: Original, model: keras.Model, y: Any, y_pred: Any, sample_weight: Any
) -> Any:
    """Subtract targets `[n]` from predictions `[n, 1]`, which makes `[n, n]`."""
    if keras.tree.is_nested(y) or len(y.shape) != 1 or len(y_pred.shape) != 2:
        return original(model, y, y_pred, sample_weight)
    rows = tf.tile(y[tf.newaxis], [tf.shape(y_pred)[0], 1])
    wide = tf.tile(y_pred, [1, tf.shape(y)[0]])
    return original(model, rows, wide, sample_weight)


def numpy_order(_: Original, samples: int, *__: Any) -> Callable[[], tf.Tensor]:
    """Draw the permutation with NumPy."""
    draw = np.random.default_rng(0).permutation
    return lambda: tf.constant(draw(samples), tf.int64)


def metrics_without_weights(
    original: Original, model: keras.Model, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
) -> Any:
    """Update weighted metrics without sample weights."""
    return original(model, x, y, y_pred, None)


def full_batches_only(call: FitCall) -> None:
    """Leave the short last batch out of every pass over arrays."""

    def full(samples: Any) -> int:
        return max(1, samples.num_samples // samples.batch_size)

    call.patch(arrays.Samples, "num_batches", property(full))


def optimizer_settings(**values: Any) -> Break:
    """Change settings of the optimizer, where they are set."""

    def breaks(call: FitCall) -> None:
        optimizer = getattr(call.model.optimizer, "inner_optimizer", call.model.optimizer)
        for name, value in values.items():
            if getattr(optimizer, name, None):
                setattr(optimizer, name, value)

    return breaks


def unscaled_loss(call: FitCall) -> None:
    """Leave the loss of half precision unscaled."""
    call.patch(type(call.model.optimizer), "scale_loss", lambda _, loss: loss)


def validation_first(call: FitCall) -> None:
    """Validate on the first samples, where Keras takes the last ones."""
    arguments = call.arguments
    part = arguments.get("validation_split")
    if not part:
        return
    count = len(arguments["x"])
    tail = count - int(count * (1 - part))
    for name in ("x", "y", "sample_weight"):
        array = arguments.get(name)
        if isinstance(array, np.ndarray):
            arguments[name] = np.concatenate([array[tail:], array[:tail]])
