"""What loops of one's own get wrong: replacements for parts of `loop`, and of a model.

`compare.broken` says which rule each of them breaks.
"""

from collections.abc import Callable
from typing import Any
from unittest import mock

import keras
import numpy as np
import tensorflow as tf

from loop import objective
from loop.metrics import loss_tracker, output_metrics, track_loss, update_metrics
from loop.objective import data_loss, loss_terms
from loop.objective import objective as honest_objective
from loop.step import forward
from loop.types import LossTerm, OutputMetrics

Patch = tuple[Any, str, Any]
"""What is replaced: the attribute of an owner, and by what."""


def nothing(*_: Any, **__: Any) -> None:
    """Does nothing, in the place of something."""


def nothing_added(_: keras.Model) -> list[tf.Tensor]:
    """No loss of any layer."""
    return []


def unweighted_mean(model: keras.Model, loss: tf.Tensor, _: Any) -> None:
    """The mean of the losses of batches, whatever their sizes."""
    loss_tracker(model).update_state(loss)


def last_loss_only(model: keras.Model, loss: tf.Tensor, x: Any) -> None:
    """The loss of the last batch."""
    loss_tracker(model).reset_state()
    track_loss(model, loss, x)


def never_training(model: keras.Model, x: Any, training: bool) -> Any:
    """A forward pass without dropout, with stale batch statistics."""
    return forward(model, x, training=False)


def always_training(model: keras.Model, x: Any, training: bool) -> Any:
    """A forward pass with dropout, and batch statistics that move, in validation too."""
    return forward(model, x, training=True)


def forward_twice(model: keras.Model, x: Any, training: bool) -> Any:
    """Two forward passes in a training step."""
    if training:
        forward(model, x, training=True)
    return forward(model, x, training)


def metrics_of_a_second_forward(
    model: keras.Model, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
) -> Any:
    """Metrics of a forward pass after the update."""
    again = forward(model, x, training=False)
    return update_metrics(model, x, y, again, sample_weight)


def weights_in_all_metrics(model: keras.Model, y: Any, y_pred: Any) -> OutputMetrics:
    """Sample weights in plain metrics as well."""
    plain, weighted = output_metrics(model, y, y_pred)
    return OutputMetrics([], [a + b for a, b in zip(plain, weighted, strict=True)])


def weights_in_no_metrics(model: keras.Model, y: Any, y_pred: Any) -> OutputMetrics:
    """Sample weights in no metric."""
    plain, weighted = output_metrics(model, y, y_pred)
    return OutputMetrics([a + b for a, b in zip(plain, weighted, strict=True)], [])


def loss_without_weights(model: keras.Model, y: Any, y_pred: Any, sample_weight: Any) -> Any:
    """The loss without sample weights and class weights."""
    return data_loss(model, y, y_pred, None)


def mean_by_weights(model: keras.Model, y: Any, y_pred: Any, sample_weight: Any) -> Any:
    """The sum of weighted losses over the sum of weights, and not over the number of samples."""
    value = data_loss(model, y, y_pred, sample_weight)
    if value is None or sample_weight is None or keras.tree.is_nested(sample_weight):
        return value
    return value / tf.cast(tf.reduce_mean(sample_weight), value.dtype)


def without_loss_weights(*arguments: Any) -> Any:
    """Losses of outputs added up as they are."""
    terms, y, y_pred = loss_terms(*arguments)
    return [LossTerm(term.path, term.loss, None, term.tracker) for term in terms], y, y_pred


def without_masks(model: keras.Model, y: Any, y_pred: Any, sample_weight: Any) -> Any:
    """The loss over masked time steps as well."""

    def unmasked(tensor: tf.Tensor) -> tf.Tensor:
        return tensor if getattr(tensor, "_keras_mask", None) is None else tf.identity(tensor)

    bare = keras.tree.map_structure(unmasked, y_pred)
    return data_loss(model, y, bare, sample_weight)


def stretched(model: keras.Model, y: Any, y_pred: Any, sample_weight: Any) -> Any:
    """Targets [n] against predictions [n, 1]: subtracted from each other they make [n, n]."""
    if keras.tree.is_nested(y) or len(y.shape) != 1 or len(y_pred.shape) != 2:
        return data_loss(model, y, y_pred, sample_weight)
    rows = tf.tile(y[tf.newaxis], [tf.shape(y_pred)[0], 1])
    wide = tf.tile(y_pred, [1, tf.shape(y)[0]])
    return data_loss(model, rows, wide, sample_weight)


def numpy_order(samples: int, *_: Any) -> Callable[[], tf.Tensor]:
    """A permutation drawn by NumPy."""
    draw = np.random.default_rng(0).permutation
    return lambda: tf.constant(draw(samples), tf.int64)


def in_place(samples: int, *_: Any) -> Callable[[], tf.Tensor]:
    """No permutation."""
    return lambda: tf.range(samples, dtype=tf.int64)


def full_batches(samples: Any) -> int:
    """Batches in a pass without the short last one."""
    return max(1, samples.num_samples // samples.batch_size)


def of_optimizer(**values: Any) -> Callable[..., list[Patch]]:
    """Other settings of the optimizer, where it has them."""

    def breaks(model: keras.Model, _: dict[str, Any]) -> list[Patch]:
        optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
        for name, value in values.items():
            if getattr(optimizer, name, None):
                setattr(optimizer, name, value)
        return []

    return breaks


def unscaled(model: keras.Model, _: dict[str, Any]) -> list[Patch]:
    """A loss in half precision that is not scaled."""
    return [(type(model.optimizer), "scale_loss", lambda _, loss: loss)]


def validation_first(_: keras.Model, arguments: dict[str, Any]) -> list[Patch]:
    """Takes the head of the data to validate on, where Keras takes the tail."""
    part = arguments.get("validation_split")
    if not part:
        return []
    count = len(arguments["x"])
    tail = count - int(count * (1 - part))
    for name in ("x", "y", "sample_weight"):
        if isinstance(arguments.get(name), np.ndarray):
            rolled = arguments[name]
            arguments[name] = np.concatenate([rolled[tail:], rolled[:tail]])
    return []


def bare_validation(
    model: keras.Model, x: Any, y: Any, y_pred: Any, weight: Any = None, training: bool = True
) -> tf.Tensor:
    """The objective, without what the layers add where it validates."""
    if training:
        return honest_objective(model, x, y, y_pred, weight, training)
    with mock.patch.object(objective, "added_losses", return_value=[]):
        return honest_objective(model, x, y, y_pred, weight, training)
