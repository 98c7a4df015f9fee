"""The objective: the scalar that a training step minimizes.

    objective = sum over outputs of (loss weight x loss) + losses added by layers

Layers add regularization losses and the losses they pass to `add_loss`. Hand-written loops often
omit these. The validation loss includes them too.
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
    """Return the weighted objective of one batch, by the model's own `compute_loss` if it has one.

        loss = loop.objective(model, x, y, loop.forward(model, x, training=True))

    Args:
        model: A compiled model.
        x: Inputs, leaves `[batch, ...]`.
        y: Targets, leaves `[batch, ...]`, in a structure that `match_targets` accepts.
        y_pred: Predictions of `model(x)`, leaves `[batch, ...]`.
        sample_weight: `[batch]` or `[batch, ...]`: one array for all outputs, or an array each.
        training: Passed to the model's own `compute_loss`; not used otherwise.

    Returns:
        A scalar of dtype `keras.config.floatx()`, float32 by default.

    Raises:
        ValueError: There is no loss at all, or targets and predictions differ in structure.

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
    # Matches Keras, which stacks the terms and reduces them: adding one by one may round otherwise.
    return losses[0] if len(losses) == 1 else keras.ops.sum(losses)


def data_loss(
    model: keras.Model, y: Structure, y_pred: Structure, sample_weight: Structure
) -> tf.Tensor | None:
    """Return the loss on the data: a scalar over all outputs, or None without a compiled loss.

    Each loss object applies sample weights and masks and reduces over the batch. This function
    calls each with its output, and adds up the results under their loss weights.

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
            # Matches Keras: the log of an output is its loss without the loss weight, averaged by
            # the static batch size. Where that is None, every batch has the weight 1.
            size = keras.tree.flatten(select(y_pred, term.path))[0].shape[0]
            term.tracker.update_state(value, sample_weight=size)
        values.append(value if term.weight is None else keras.ops.multiply(value, term.weight))
    if not values:
        return None
    # Matches Keras: with several losses on a single output, only the first is trained on.
    return values[0] if single else sum(values)


def added_losses(model: keras.Model) -> list[tf.Tensor]:
    """Return the losses from `add_loss` and from regularizers of trainable weights, as scalars.

    Mirrors: keras.src.trainers.trainer.Trainer._aggregate_additional_loss
    """
    floatx = keras.config.floatx()
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    added = []
    for loss in model.losses:
        floating = tf.as_dtype(loss.dtype).is_floating
        total = keras.ops.sum(loss if floating else keras.ops.cast(loss, floatx))
        # Gradients are summed over replicas. Keras's losses on data already divide by their number.
        added.append(total if replicas == 1 else keras.ops.multiply(total, 1.0 / replicas))
    return added


def select(structure: Structure, path: tuple[str | int, ...]) -> Any:
    """Return the part of a nested structure at `path`."""
    for key in path:
        structure = structure[key]
    return structure


def weight_of(sample_weight: Structure, term: LossTerm) -> Any:
    """Return the sample weights for one loss: those of its output, or the array for all outputs."""
    if keras.tree.is_nested(sample_weight):
        return select(sample_weight, term.path)
    return sample_weight


def match_targets(y: Structure, y_pred: Structure, model: keras.Model) -> Structure:
    """Return the targets in the structure of the predictions, or of the compiled losses.

    A list may stand for a tuple, and a dict, keyed by output name, for a list.

    Raises:
        ValueError: The targets cannot be repacked.

    Mirrors: keras.src.trainers.compile_utils.CompileLoss.call
    """
    if _passes(keras.tree.assert_same_structure, y_pred, y):
        return y
    if not keras.tree.is_nested(y) and len(y_pred) == 1:
        y = [y]
    elif isinstance(y_pred, list | tuple) and isinstance(y, dict):
        names = getattr(model, "output_names", None) or []
        y = [y[name] for name in names] if set(names) == set(y) else y
    repackings = (
        lambda: keras.tree.pack_sequence_as(y_pred, y),
        lambda: _by_path(y, y_pred),
        lambda: _by_compiled_losses(y, model.loss),
    )
    for repack in repackings:
        try:
            return repack()
        except Exception:  # optree raises several classes; the next repacking may succeed
            continue
    raise ValueError(
        "y_true and y_pred have different structures.\n"
        f"y_true: {keras.tree.map_structure(lambda _: '*', y)}\n"
        f"y_pred: {keras.tree.map_structure(lambda _: '*', y_pred)}\n"
        "Give one target for each output of the model, in the same structure."
    )


def _passes(check: Callable, y_pred: Structure, y: Structure) -> bool:
    """Return whether a check of two structures raises no ValueError."""
    try:
        check(y_pred, y)
    except ValueError:
        return False
    return True


def _by_path(y: Structure, y_pred: Structure) -> Structure:
    """Repack targets with the same keys in other containers: a list for a tuple."""
    keras.tree.assert_same_paths(y, y_pred)
    return keras.tree.pack_sequence_as(y_pred, keras.tree.flatten(y))


def _by_compiled_losses(y: Structure, loss: Structure) -> Structure:
    """Assign the targets to the outputs that have a loss, and None to the rest."""
    losses, targets = keras.tree.flatten(loss), iter(keras.tree.flatten(y))
    matched = [None if output_loss is None else next(targets) for output_loss in losses]
    if next(targets, None) is not None:
        raise ValueError("More targets than losses.")
    return keras.tree.pack_sequence_as(loss, matched)
