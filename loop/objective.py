"""The objective: the one number that a step makes smaller.

    objective = sum over outputs of (loss weight x loss) + everything the layers add

The layers add regularization losses and what they passed to `add_loss`; loops written by hand
lose these most often. The validation loss contains them too.
"""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from loop._keras import compute_loss_takes_training, is_inherited, loss_terms
from loop.types import LossTerm, Structure


def objective(
    model: keras.Model,
    x: Structure,
    y: Structure,
    y_pred: Structure,
    sample_weight: Structure = None,
    training: bool = True,
) -> tf.Tensor:
    """The weighted objective of one batch. A user's own `model.compute_loss` takes its place.

    Args:
        model: A compiled model.
        x: Inputs, leaves `[batch, ...]`.
        y: Targets, leaves `[batch, ...]`, in the structure of `y_pred` or one that fits it.
        y_pred: Predictions of `model(x)`, leaves `[batch, ...]`.
        sample_weight: `[batch]` or `[batch, ...]`, one for all outputs or one for each.
        training: Handed on to a `compute_loss` of the user's.

    Returns:
        A scalar of `keras.config.floatx()`, float32 by default.

    Raises:
        ValueError: There is no loss at all, or targets do not fit the predictions.

    Mirrors: keras.Model.compute_loss
    """
    if not is_inherited(model.compute_loss, keras.Model.compute_loss):
        if compute_loss_takes_training(model):
            return model.compute_loss(x, y, y_pred, sample_weight, training=training)
        return model.compute_loss(x, y, y_pred, sample_weight)
    on_data = data_loss(model, y, y_pred, sample_weight)
    losses = added_losses(model) if on_data is None else [on_data, *added_losses(model)]
    if not losses:
        raise ValueError(
            "No loss to compute: expected a loss from `compile(loss=...)`, `add_loss` or a "
            "regularizer, found none. Provide a `loss` argument in `compile()`."
        )
    # One rounding for the whole sum: Keras stacks the parts and reduces them, it does not add.
    return losses[0] if len(losses) == 1 else keras.ops.sum(losses)


def data_loss(
    model: keras.Model, y: Structure, y_pred: Structure, sample_weight: Structure
) -> tf.Tensor | None:
    """The loss on the data: a scalar over all outputs, or None where `compile` was given none.

    Each loss object weights, masks and reduces over the batch; here they meet their outputs.

    Mirrors: keras.src.trainers.compile_utils.CompileLoss.call
    """
    single = not keras.tree.is_nested(y) and not keras.tree.is_nested(y_pred)
    if not single and model.loss is not None:
        y = match_targets(y, y_pred, model)
    terms, y, y_pred = loss_terms(model, y, y_pred)
    values = []
    for term in terms:
        value = term.loss(
            select(y, term.path), select(y_pred, term.path), weight_of(sample_weight, term)
        )
        value = keras.ops.cast(value, keras.config.floatx())
        if term.tracker is not None and not single:
            # The log of one output is its loss before the loss weight. Its batches count by their
            # static size: where that is unknown (None), every batch counts as one.
            size = keras.tree.flatten(select(y_pred, term.path))[0].shape[0]
            term.tracker.update_state(value, sample_weight=size)
        values.append(value if term.weight is None else keras.ops.multiply(value, term.weight))
    if not values:
        return None
    # Several losses on a single output: fit trains on the first, and so do we.
    return values[0] if single else sum(values)


def added_losses(model: keras.Model) -> list[tf.Tensor]:
    """What `add_loss` and the regularizers of trainable weights add: a list of scalars.

    Mirrors: keras.src.trainers.trainer.Trainer._aggregate_additional_loss
    """
    floatx = keras.config.floatx()
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    added = []
    for loss in model.losses:
        floating = tf.as_dtype(loss.dtype).is_floating
        total = keras.ops.sum(loss if floating else keras.ops.cast(loss, floatx))
        # The gradients of replicas are added up. Losses on data divide by their number themselves.
        added.append(total if replicas == 1 else keras.ops.multiply(total, 1.0 / replicas))
    return added


def select(structure: Structure, path: tuple[str | int, ...]) -> Any:
    """The part of a structure that stands at `path`."""
    for key in path:
        structure = structure[key]
    return structure


def weight_of(sample_weight: Structure, term: LossTerm) -> Any:
    """The sample weights that one loss sees: its own, or the one array given for all outputs."""
    if keras.tree.is_nested(sample_weight):
        return select(sample_weight, term.path)
    return sample_weight


def match_targets(y: Structure, y_pred: Structure, model: keras.Model) -> Structure:
    """Repacks targets into the structure of the predictions: list for tuple, dict for list.

    Raises:
        ValueError: No repacking fits.

    Mirrors: keras.src.trainers.compile_utils.CompileLoss.call
    """
    if _fits(keras.tree.assert_same_structure, y_pred, y):
        return y
    if not keras.tree.is_nested(y) and len(y_pred) == 1:
        y = [y]
    elif isinstance(y_pred, list | tuple) and isinstance(y, dict):
        names = getattr(model, "output_names", None) or []
        y = [y[name] for name in names] if set(names) == set(y) else y
    repackings = (
        lambda: keras.tree.pack_sequence_as(y_pred, y),
        lambda: _by_path(y, y_pred),
        lambda: _by_given_losses(y, model.loss),
    )
    for repack in repackings:
        try:
            return repack()
        except Exception:  # optree raises several kinds; the next way of repacking may fit
            continue
    raise ValueError(
        "y_true and y_pred have different structures.\n"
        f"y_true: {keras.tree.map_structure(lambda _: '*', y)}\n"
        f"y_pred: {keras.tree.map_structure(lambda _: '*', y_pred)}\n"
        "Give one target for each output of the model, in the same structure."
    )


def _fits(check: Callable, one: Structure, other: Structure) -> bool:
    try:
        check(one, other)
    except ValueError:
        return False
    return True


def _by_path(y: Structure, y_pred: Structure) -> Structure:
    """Same names and places in other containers: a list where the model has a tuple."""
    keras.tree.assert_same_paths(y, y_pred)
    return keras.tree.pack_sequence_as(y_pred, keras.tree.flatten(y))


def _by_given_losses(y: Structure, loss: Structure) -> Structure:
    """Targets only for the outputs that have a loss: the others get None."""
    losses, targets = keras.tree.flatten(loss), iter(keras.tree.flatten(y))
    matched = [None if one is None else next(targets) for one in losses]
    if next(targets, None) is not None:
        raise ValueError("More targets than losses.")
    return keras.tree.pack_sequence_as(loss, matched)
