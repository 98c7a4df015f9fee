"""What loops of one's own get wrong: replacements for parts of `loop`, and of a model.

Most are given what they replace (`honest`) before its own arguments: so two mistakes about the same
part add up. `compare.rules` says which rule each of them breaks.
"""

from collections.abc import Callable
from typing import Any
from unittest import mock

import keras
import numpy as np
import tensorflow as tf

from loop import objective, step
from loop.data import arrays
from loop.metrics import loss_tracker
from loop.types import LossTerm, OutputMetrics

Patch = tuple[Any, str, Any]
"""What is replaced: the attribute of an owner, and by what."""

Honest = Callable[..., Any]
"""What a mistake is made in the place of."""


def nothing(*_: Any, **__: Any) -> None:
    """Does nothing, in the place of something."""


def nothing_added(_: Honest, __: keras.Model) -> list[tf.Tensor]:
    """No loss of any layer."""
    return []


def unweighted_mean(_: Honest, model: keras.Model, loss: tf.Tensor, __: Any) -> None:
    """The mean of the losses of batches, whatever their sizes."""
    loss_tracker(model).update_state(loss)


def last_loss_only(honest: Honest, model: keras.Model, loss: tf.Tensor, x: Any) -> None:
    """The loss of the last batch."""
    loss_tracker(model).reset_state()
    honest(model, loss, x)


def never_training(honest: Honest, model: keras.Model, x: Any, training: bool) -> Any:
    """A forward pass without dropout, with stale batch statistics."""
    return honest(model, x, training=False)


def always_training(honest: Honest, model: keras.Model, x: Any, training: bool) -> Any:
    """A forward pass with dropout, and batch statistics that move, in validation too."""
    return honest(model, x, training=True)


def forward_twice(honest: Honest, model: keras.Model, x: Any, training: bool) -> Any:
    """Two forward passes in a training step."""
    if training:
        honest(model, x, training=True)
    return honest(model, x, training)


def metrics_of_a_second_forward(
    honest: Honest, model: keras.Model, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
) -> Any:
    """Metrics of a forward pass after the update."""
    return honest(model, x, y, step.forward(model, x, training=False), sample_weight)


def weights_in_all_metrics(honest: Honest, *of: Any) -> OutputMetrics:
    """Sample weights in plain metrics as well."""
    plain, weighted = honest(*of)
    return OutputMetrics([], [a + b for a, b in zip(plain, weighted, strict=True)])


def weights_in_no_metrics(honest: Honest, *of: Any) -> OutputMetrics:
    """Sample weights in no metric."""
    plain, weighted = honest(*of)
    return OutputMetrics([a + b for a, b in zip(plain, weighted, strict=True)], [])


def loss_without_weights(
    honest: Honest, model: keras.Model, y: Any, y_pred: Any, sample_weight: Any
) -> Any:
    """The loss without sample weights and class weights."""
    return honest(model, y, y_pred, None)


def mean_by_weights(
    honest: Honest, model: keras.Model, y: Any, y_pred: Any, sample_weight: Any
) -> Any:
    """The sum of weighted losses over the sum of weights, and not over the number of samples."""
    value = honest(model, y, y_pred, sample_weight)
    if value is None or sample_weight is None or keras.tree.is_nested(sample_weight):
        return value
    return value / tf.cast(tf.reduce_mean(sample_weight), value.dtype)


def without_loss_weights(honest: Honest, *of: Any) -> Any:
    """Losses of outputs added up as they are."""
    terms, y, y_pred = honest(*of)
    return [LossTerm(term.path, term.loss, None, term.tracker) for term in terms], y, y_pred


def without_masks(
    honest: Honest, model: keras.Model, y: Any, y_pred: Any, sample_weight: Any
) -> Any:
    """The loss over masked time steps as well."""

    def unmasked(tensor: tf.Tensor) -> tf.Tensor:
        return tensor if getattr(tensor, "_keras_mask", None) is None else tf.identity(tensor)

    bare = keras.tree.map_structure(unmasked, y_pred)
    return honest(model, y, bare, sample_weight)


def stretched(honest: Honest, model: keras.Model, y: Any, y_pred: Any, sample_weight: Any) -> Any:
    """Targets [n] against predictions [n, 1]: subtracted from each other they make [n, n]."""
    if keras.tree.is_nested(y) or len(y.shape) != 1 or len(y_pred.shape) != 2:
        return honest(model, y, y_pred, sample_weight)
    rows = tf.tile(y[tf.newaxis], [tf.shape(y_pred)[0], 1])
    wide = tf.tile(y_pred, [1, tf.shape(y)[0]])
    return honest(model, rows, wide, sample_weight)


def numpy_order(_: Honest, samples: int, *__: Any) -> Callable[[], tf.Tensor]:
    """A permutation drawn by NumPy."""
    draw = np.random.default_rng(0).permutation
    return lambda: tf.constant(draw(samples), tf.int64)


def in_place(_: Honest, samples: int, *__: Any) -> Callable[[], tf.Tensor]:
    """No permutation."""
    return lambda: tf.range(samples, dtype=tf.int64)


def full_batches_only(_: keras.Model, __: dict[str, Any]) -> list[Patch]:
    """Batches in a pass without the short last one."""

    def full(samples: Any) -> int:
        return max(1, samples.num_samples // samples.batch_size)

    return [(arrays.Samples, "num_batches", property(full))]


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
    honest: Honest, model: keras.Model, x: Any, y: Any, y_pred: Any, weight: Any, training: bool
) -> tf.Tensor:
    """The objective, without what the layers add where it validates."""
    if training:
        return honest(model, x, y, y_pred, weight, training)
    with mock.patch.object(objective, "added_losses", return_value=[]):
        return honest(model, x, y, y_pred, weight, training)
