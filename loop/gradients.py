"""Parts of a step of one's own: minimize a loss, gradients, an update, gradients per example."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from keras.optimizers import Optimizer

from loop.types import Batch, Structure

Gradients = list[tf.Tensor | tf.IndexedSlices | None]
"""A gradient for each variable; None if the loss does not depend on it."""


def minimize(
    loss_fn: Callable[[], Structure], optimizer: Optimizer, variables: list[keras.Variable]
) -> Structure:
    """Compute a loss, and update variables by one step of an optimizer; return the loss.

        def step(model, batch):
            x, y = batch
            def loss_fn():
                y_pred = loop.forward(model, x, training=True)
                return loop.objective(model, x, y, y_pred), y_pred
            loss, y_pred = loop.minimize(loss_fn, model.optimizer, model.trainable_variables)
            loop.track_loss(model, loss, x)
            return loop.update_metrics(model, x, y, y_pred)
        loop.fit(model, x, y, train_step=step, plan="fused")

    Args:
        loss_fn: Returns the loss, a scalar, or `(loss, more, ...)`. What layers add, such as losses
            of regularizers, is in `model.losses` and not added here.
        optimizer: The optimizer. A LossScaleOptimizer scales the loss and unscales gradients.
        variables: What to update. A variable without a gradient stays as it is, with a warning.

    Returns:
        What `loss_fn` returned, computed before the update.

    Raises:
        ValueError: The loss is no scalar, there are no variables, or none has a gradient.

    Mirrors: keras.Model.train_step
    """
    returned, found = gradients(loss_fn, optimizer, variables)
    apply(optimizer, found, variables)
    return returned


def gradients(
    loss_fn: Callable[[], Structure], optimizer: Optimizer | None, variables: list[keras.Variable]
) -> tuple[Structure, Gradients]:
    """Compute a loss and its gradients; update nothing.

        loss, found = loop.gradients(
            lambda: keras.ops.mean(keras.ops.square(model(x) - y)), model.optimizer, model.variables
        )

    Args:
        loss_fn: As in `loop.minimize`.
        optimizer: The one to apply them. Under a LossScaleOptimizer they are those of the scaled
            loss, until `loop.apply` unscales them. None: never scaled.
        variables: What to differentiate by.

    Returns:
        What `loss_fn` returned, unscaled; and a gradient of the shape of each variable, a scalar
        for a scalar: `tf.IndexedSlices` for an Embedding, None without influence on the loss.

    Raises:
        ValueError: The loss is no scalar.

    Mirrors: keras.Model.train_step
    """
    with tf.GradientTape() as tape:
        returned = loss_fn()
        loss = returned[0] if isinstance(returned, tuple) and returned else returned
        _check_scalar(loss)
        scaled = loss if optimizer is None else optimizer.scale_loss(loss)
    return returned, tape.gradient(scaled, variables)


def apply(optimizer: Optimizer, gradients: Gradients, variables: list[keras.Variable]) -> None:
    """Update variables by gradients, one step of an optimizer.

        loop.apply(model.optimizer, [tf.ones([5, 1]), tf.ones([1])], model.trainable_variables)

    Args:
        optimizer: The optimizer. A LossScaleOptimizer divides the gradients by its scale, and does
            not update if one is not finite.
        gradients: A gradient for each variable, a scalar for a scalar, or None.
        variables: What to update.

    Raises:
        ValueError: There are no variables, not as many gradients as variables, or only None.

    Mirrors: keras.optimizers.Optimizer.apply_gradients
    """
    if not variables or len(gradients) != len(variables):
        raise ValueError(
            f"Expected variables and a gradient for each, got {len(variables)} variables and "
            f"{len(gradients)} gradients. Is `trainable` False, or the model not built?"
        )
    optimizer.apply_gradients(zip(gradients, variables, strict=True))


def per_example_gradients(
    loss_fn: Callable[[keras.Model, Batch], tf.Tensor], model: keras.Model, batch: Batch
) -> list[tf.Tensor]:
    """Compute the gradients of the loss of each example on its own; update nothing.

        def loss(model, batch_of_one):
            x, y = batch_of_one
            return keras.ops.mean(keras.ops.square(model(x, training=True) - y))
        kernel, bias = loop.per_example_gradients(loss, model, (x, y))
        norms = tf.sqrt(tf.reduce_sum(kernel**2, [1, 2]) + tf.reduce_sum(bias**2, 1))

    All examples are computed at once, up to 1e-5 of the largest gradient as single runs do. Where
    the loss draws from seed generators, as Dropout does, examples run one after another, with the
    draws of single runs in this order, which takes longer.

    Args:
        loss_fn: `loss_fn(model, batch_of_one)` returns a scalar. A LossScaleOptimizer takes
            gradients of `optimizer.scale_loss(loss)`.
        model: The model whose trainable weights to differentiate by.
        batch: Tensors `[batch, ...]`, nested; None stays None.

    Returns:
        A tensor `[batch, *weight.shape]` for each trainable weight.

    Raises:
        ValueError: The loss is no scalar, or updates statistics, as BatchNormalization does.
    """
    leaves = [tf.convert_to_tensor(leaf) for leaf in tf.nest.flatten(batch) if leaf is not None]
    weights = [weight.value for weight in model.trainable_weights]

    def of_one(example: list[tf.Tensor]) -> list[tf.Tensor]:
        given = iter(example)
        one = tf.nest.map_structure(
            lambda leaf: None if leaf is None else tf.expand_dims(next(given), 0), batch
        )
        with tf.GradientTape() as tape:
            loss = loss_fn(model, one)
            _check_scalar(loss)
        found = tape.gradient(loss, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return [tf.convert_to_tensor(gradient) for gradient in found]

    if not _draws(of_one, [tf.TensorSpec(leaf.shape[1:], leaf.dtype) for leaf in leaves]):
        return tf.vectorized_map(of_one, leaves)
    shapes = [tf.TensorSpec(weight.shape, weight.dtype) for weight in weights]
    # One after another: the next example draws from the seed that this one leaves.
    return tf.map_fn(of_one, leaves, parallel_iterations=1, fn_output_signature=shapes)


def _check_scalar(loss: Any) -> None:
    """Raise ValueError if a loss is no scalar tensor."""
    shape = getattr(loss, "shape", None)
    if shape is None or tf.TensorShape(shape).rank not in (0, None):
        came = type(loss).__name__ if shape is None else f"the shape {tuple(shape)}"
        raise ValueError(
            f"Expected a loss that is a scalar tensor, got {came}. Return "
            "keras.ops.mean(loss), or a tuple that begins with the scalar."
        )


def _draws(function: Callable[[list[tf.Tensor]], Any], specs: list[tf.TensorSpec]) -> bool:
    """Return whether a function updates integers, which seeds are; ValueError if it does floats."""
    graph = tf.function(function, autograph=False).get_concrete_function(specs).graph.as_graph_def()
    nodes = [*graph.node, *(node for body in graph.library.function for node in body.node_def)]
    updated = [node.attr["dtype"].type for node in nodes if node.op.startswith("Assign")]
    if any(tf.as_dtype(dtype).is_floating for dtype in updated):
        raise ValueError(
            "The loss updates statistics, as BatchNormalization does in training, and one example "
            "is no batch to take them from: call the model with training=False, or use "
            "GroupNormalization. Update metrics outside of the loss."
        )
    return bool(updated)
