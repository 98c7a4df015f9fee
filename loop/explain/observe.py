"""Computes what a training step computes, and returns all of it; updates no weight.

The lines are those of `loop.step.train_step` and `loop.objective.data_loss`, as far as the
gradients, with every value in between returned.
"""

from typing import Any, NamedTuple

import keras
import tensorflow as tf

from loop._keras import is_inherited, loss_terms, mask_of
from loop.objective import added_losses, match_targets, objective, select, weight_of
from loop.step import forward
from loop.types import Batch, LossTerm, Structure


class Observed(NamedTuple):
    """The values within a step, before the weights are updated: tensors, or NumPy arrays.

    Attributes:
        y_pred: The predictions, leaves `[batch, ...]`.
        terms: The values of each loss on data.
        added: The losses that the layers add, scalars.
        objective: The scalar that the step minimizes.
        gradients: Of the scaled objective, one for each trainable weight; None without one.
        loss_scale: By what the objective is multiplied for the gradients; None if it is not.
    """

    y_pred: Structure
    terms: list["ObservedTerm"]
    added: list[Any]
    objective: Any
    gradients: list[Any]
    loss_scale: Any


class ObservedTerm(NamedTuple):
    """The values within a loss object.

    Attributes:
        target: `[batch, ...]`.
        prediction: `[batch, ...]`.
        values: The loss of each element, `[batch, ...]`, before weights; None if the loss object
            has a `__call__` of its own.
        weight: The sample weights, `[batch, ...]`; None without.
        mask: `[batch, ...]` bool; None without.
        result: What the loss object returns.
    """

    target: Any
    prediction: Any
    values: Any
    weight: Any
    mask: Any
    result: Any


def observe(model: keras.Model, batch: Batch) -> Observed:
    """Return the values within a training step on a batch. Updates metrics, but no weight."""
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
    with tf.GradientTape() as tape:
        y_pred = forward(model, x, training=True)
        terms = _observed_terms(model, y, y_pred, sample_weight)
        loss = objective(model, x, y, y_pred, sample_weight, training=True)
        scaled = loss if model.optimizer is None else model.optimizer.scale_loss(loss)
    gradients = tape.gradient(scaled, model.trainable_weights)
    return Observed(
        y_pred=y_pred,
        terms=terms,
        added=added_losses(model),
        objective=loss,
        gradients=[None if g is None else tf.convert_to_tensor(g) for g in gradients],
        loss_scale=loss_scale(model.optimizer),
    )


def loss_scale(optimizer: Any) -> Any:
    """Return by what an optimizer multiplies the objective; None if it does not."""
    dynamic = getattr(optimizer, "dynamic_scale", None)
    if dynamic is not None:
        return tf.identity(dynamic.value)
    return getattr(optimizer, "loss_scale_factor", None)


def resolved_terms(
    model: keras.Model, y: Structure, y_pred: Structure
) -> tuple[list[LossTerm], Structure, Structure]:
    """Return the losses that fit trains on, and targets and predictions in their structure."""
    if not is_inherited(model.compute_loss, keras.Model.compute_loss):
        return [], y, y_pred
    single = not keras.tree.is_nested(y) and not keras.tree.is_nested(y_pred)
    if not single and model.loss is not None:
        y = match_targets(y, y_pred, model)
    terms, y, y_pred = loss_terms(model, y, y_pred)
    return (terms[:1] if single else terms), y, y_pred  # matches Keras: see `data_loss`


def _observed_terms(
    model: keras.Model, y: Structure, y_pred: Structure, sample_weight: Structure
) -> list[ObservedTerm]:
    terms, y, y_pred = resolved_terms(model, y, y_pred)
    return [
        _observed(
            term, select(y, term.path), select(y_pred, term.path), weight_of(sample_weight, term)
        )
        for term in terms
    ]


def _observed(term: LossTerm, target: Any, prediction: Any, weight: Any) -> ObservedTerm:
    """Return the values within a loss object on one output."""
    result = term.loss(target, prediction, weight)
    mask, values = mask_of(prediction), None
    if type(term.loss).__call__ is keras.losses.Loss.__call__:

        def converted(tensor: Any) -> tf.Tensor:
            return keras.ops.convert_to_tensor(tensor, dtype=term.loss.dtype)

        values = term.loss.call(
            keras.tree.map_structure(converted, target),
            keras.tree.map_structure(converted, prediction),
        )
        mask_of_values = mask_of(values)
        if mask_of_values is not None:
            mask = mask_of_values if mask is None else mask & mask_of_values
    return ObservedTerm(target, prediction, values, weight, mask, result)
