"""Common mistakes in training loops, as replacements for parts of a step and as changed calls.

A replacement is passed the function that it replaces (`original`) before its other arguments, so
two mistakes in the same part add up. `compare.diagnosis.rules` says which rule each breaks.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from compare.diagnosis.broken import Break, FitCall
from compare.diagnosis.clipping import clip

Original = Callable[..., Any]
"""The function that a mistake replaces."""


def nothing(*_: Any, **__: Any) -> None:
    """Do nothing."""


def nothing_added(_: Original, __: keras.Model) -> list[tf.Tensor]:
    """Return no losses of layers."""
    return []


def summed_over_samples(
    original: Original, model: keras.Model, loss: tf.Tensor, x: Any
) -> tf.Tensor:
    """Differentiate the sum of the losses of samples, where fit takes their mean."""
    return original(model, loss, x) * tf.cast(tf.shape(keras.tree.flatten(x)[0])[0], loss.dtype)


def divided_into(parts: int, size: int) -> Callable[..., list[Any]]:
    """Return a mistake that splits a batch into parts of `size` samples.

    Args:
        parts: How many there are, where a batch does not say how many samples it has.
        size: How many samples each part has; the last one has what is left.
    """

    def divided(_: Original, batch: Any) -> list[Any]:
        samples = keras.tree.flatten(batch)[0].shape[0]
        count = parts if samples is None else -(-samples // size)
        return [
            keras.tree.map_structure(
                lambda leaf, at=place * size: None if leaf is None else leaf[at : at + size], batch
            )
            for place in range(count)
        ]

    return divided


def clipped(kind: str, limit: float) -> Callable[..., list[Any]]:
    """Return a mistake that clips gradients by hand, in one of the `clipping.KINDS`."""
    return lambda original, gradients: clip(kind, limit, original(gradients))


def penalty(places: Sequence[int], factor: float) -> Callable[..., list[Any]]:
    """Return a mistake that adds `factor` times the squares of some variables to the loss."""

    def added(original: Original, model: keras.Model) -> list[Any]:
        squares = [tf.reduce_sum(tf.square(model.variables[place].value)) for place in places]
        return [*original(model), factor * tf.add_n(squares)]

    return added


def scaled_by(factor: float) -> Callable[..., tf.Tensor]:
    """Return a mistake that differentiates `factor` times the loss."""

    def scaled(original: Original, model: keras.Model, loss: tf.Tensor, x: Any) -> tf.Tensor:
        return original(model, loss, x) * tf.cast(factor, loss.dtype)

    return scaled


def other_logits(
    original: Original, model: keras.Model, y: Any, y_pred: Any, sample_weight: Any
) -> Any:
    """Take logits for probabilities, or probabilities for logits."""
    if keras.tree.is_nested(y_pred):
        return original(model, y, y_pred, sample_weight)
    binary = y_pred.shape[-1] == 1 or "binary" in _name_of_loss(model)
    if getattr(model.loss, "from_logits", False):
        clipped = keras.ops.clip(y_pred, 1e-7, 1 - 1e-7)
        logits = keras.ops.log(clipped)
        return original(
            model, y, logits - keras.ops.log(1 - clipped) if binary else logits, sample_weight
        )
    if "crossentropy" not in _name_of_loss(model):
        return original(model, y, y_pred, sample_weight)
    squashed = keras.ops.sigmoid(y_pred) if binary else keras.ops.softmax(y_pred)
    return original(model, y, squashed, sample_weight)


def exchanged(
    original: Original, model: keras.Model, y: Any, y_pred: Any, sample_weight: Any
) -> Any:
    """Take predictions for targets, and targets for predictions."""
    if is_flat(y, y_pred):
        y = y[:, tf.newaxis]
    if y is None or keras.tree.is_nested(y) or len(y.shape) != len(y_pred.shape):
        return original(model, y, y_pred, sample_weight)
    return original(model, y_pred, tf.cast(y, y_pred.dtype), sample_weight)


def _name_of_loss(model: keras.Model) -> str:
    loss = model.loss
    return str(getattr(loss, "name", getattr(loss, "__name__", loss)))


def fresh_optimizer(call: FitCall) -> None:
    """Give the optimizer its first state again at the start of each epoch, but for its rate."""

    class Fresh(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            optimizer = self.model.optimizer
            if optimizer.built:
                fresh = type(optimizer).from_config(optimizer.get_config())
                fresh.build(self.model.trainable_variables)
                for variable, first in zip(optimizer.variables, fresh.variables, strict=True):
                    variable.assign(first)

    call.add_callback(Fresh())


def never_training(original: Original, model: keras.Model, x: Any, training: bool) -> Any:
    """Run the forward pass without dropout, with moving batch statistics."""
    return original(model, x, training=False)


def always_training(original: Original, model: keras.Model, x: Any, training: bool) -> Any:
    """Run the forward pass with dropout and update batch statistics, in validation too."""
    return original(model, x, training=True)


def stale_statistics(call: FitCall) -> None:
    """Run BatchNormalization with training=False, whatever other layers are told."""
    original = keras.layers.BatchNormalization.call

    def call_of_layer(
        layer: keras.Layer, inputs: Any, training: Any = None, mask: Any = None
    ) -> Any:
        return original(layer, inputs, training=False, mask=mask)

    call.patch(keras.layers.BatchNormalization, "call", call_of_layer)


def states_reset(call: FitCall) -> None:
    """Reset the states of stateful layers before each epoch."""

    class Reset(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            for layer in every_layer(self.model):
                if getattr(layer, "stateful", False):
                    layer.reset_state()

    call.add_callback(Reset())


def every_layer(model: keras.Model) -> list[keras.Layer]:
    """Return the layers of a model, and those of the models inside it."""
    inside = [every_layer(it) if isinstance(it, keras.Model) else [it] for it in model.layers]
    return [layer for of in inside for layer in of]


def forward_twice(original: Original, model: keras.Model, x: Any, training: bool) -> Any:
    """Run two forward passes in a training step."""
    if training:
        original(model, x, training=True)
    return original(model, x, training)


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


def loss_times(factor: float) -> Callable[..., Any]:
    """Return a mistake that computes `factor` times the loss."""

    def loss(original: Original, *of: Any) -> Any:
        value = original(*of)
        return None if value is None else value * tf.cast(factor, value.dtype)

    return loss


def with_loss_weights(weights: Sequence[float]) -> Callable[..., Any]:
    """Return a mistake that weighs the losses of outputs otherwise."""

    def terms_of(original: Original, *of: Any) -> Any:
        terms, y, y_pred = original(*of)
        pairs = zip(terms, weights, strict=True)
        return [term._replace(weight=weight) for term, weight in pairs], y, y_pred

    return terms_of


def without_loss_weights(original: Original, *of: Any) -> Any:
    """Return the losses of outputs without their loss weights."""
    terms, y, y_pred = original(*of)
    return [term._replace(weight=None) for term in terms], y, y_pred


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
    if not is_flat(y, y_pred):
        return original(model, y, y_pred, sample_weight)
    rows = tf.tile(y[tf.newaxis], [tf.shape(y_pred)[0], 1])
    wide = tf.tile(y_pred, [1, tf.shape(y)[0]])
    return original(model, rows, wide, sample_weight)


def is_flat(y: Any, y_pred: Any) -> bool:
    """Return whether targets are `[n]` and predictions `[n, 1]`."""
    if y is None or any(map(keras.tree.is_nested, (y, y_pred))):
        return False
    return len(y.shape) == 1 and len(y_pred.shape) == 2 and y_pred.shape[1] == 1


def numpy_order(_: Original, samples: int, *__: Any) -> Callable[[], tf.Tensor]:
    """Draw the permutation with NumPy."""
    draw = np.random.default_rng(0).permutation
    return lambda: tf.constant(draw(samples), tf.int64)


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
    count = len(keras.tree.flatten(arguments["x"])[0])
    tail = count - int(count * (1 - part))

    def rotated(leaf: Any) -> Any:
        is_array = isinstance(leaf, np.ndarray)
        return np.concatenate([leaf[tail:], leaf[:tail]]) if is_array else leaf

    for name in ("x", "y", "sample_weight"):
        arguments[name] = keras.tree.map_structure(rotated, arguments.get(name))
