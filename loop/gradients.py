"""Parts of a step of one's own: minimize a loss, gradients, an update, gradients per example."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from keras.optimizers import Optimizer

from loop.types import Batch, Structure

Gradients = list[tf.Tensor | tf.IndexedSlices | None]


def minimize(
    loss_fn: Callable[[], Structure], optimizer: Optimizer, variables: list[keras.Variable]
) -> Structure:
    """Compute a loss, and update variables by one step of an optimizer to make it smaller.

        def step(model, batch):
            x, y = batch
            def loss():
                return keras.ops.mean(keras.ops.square(model(x, training=True) - y))
            return {"loss": loop.minimize(loss, model.optimizer, model.trainable_variables)}
        loop.fit(model, x, y, train_step=step, plan="fused")

    Args:
        loss_fn: Returns the loss, a scalar, or `(loss, more, ...)`. Losses that layers add, those
            of regularizers for example, are in `model.losses`: add them to it.
        optimizer: The optimizer; a LossScaleOptimizer scales the loss and unscales the gradients.
        variables: What to update.

    Returns:
        What `loss_fn` returned, computed before the update.

    Raises:
        ValueError: The loss is no scalar, there are no variables, or none has a gradient. Those
            without a gradient stay as they are, with a warning.

    Mirrors: keras.Model.train_step
    """
    returned, found = gradients(loss_fn, optimizer, variables)
    apply(optimizer, found, variables)
    return returned


def gradients(
    loss_fn: Callable[[], Structure], optimizer: Optimizer | None, variables: list[keras.Variable]
) -> tuple[Structure, Gradients]:
    """Compute a loss and its gradients; update nothing.

        def step(model, batch):
            x, y = batch
            weights = model.trainable_variables
            loss, found = loop.gradients(
                lambda: keras.ops.mean(keras.ops.abs(model(x) - y)), model.optimizer, weights)
            loop.apply(model.optimizer, [tf.sign(gradient) for gradient in found], weights)
            return {"loss": loss}
        loop.fit(model, x, y, train_step=step, plan="fused")

    Args:
        loss_fn: As in `loop.minimize`.
        optimizer: The optimizer that gets the gradients. If it is a LossScaleOptimizer they are
            those of the scaled loss, until `loop.apply` unscales them. None: never scaled.
        variables: What to differentiate by.

    Returns:
        What `loss_fn` returned, the loss unscaled; and a gradient for each variable, of its shape:
        `[batch, ...]` or any other, `tf.IndexedSlices` for an Embedding, None if the loss does not
        depend on it.

    Raises:
        ValueError: The loss is no scalar.

    Mirrors: keras.Model.train_step
    """
    with tf.GradientTape() as tape:
        returned = loss_fn()
        loss = returned[0] if isinstance(returned, tuple) and returned else returned
        check_scalar(loss)
        scaled = loss if optimizer is None else optimizer.scale_loss(loss)
    return returned, tape.gradient(scaled, variables)


def apply(optimizer: Optimizer, gradients: Gradients, variables: list[keras.Variable]) -> None:
    """Update variables by gradients from `loop.gradients`, one step of an optimizer.

        loop.apply(keras.optimizers.SGD(), [tf.ones([5, 1]), tf.ones([1])], model.variables)

    Args:
        optimizer: The optimizer; a LossScaleOptimizer divides the gradients by its scale first, and
            leaves out the update if one is not finite.
        gradients: A gradient for each variable, a scalar for a scalar, or None.
        variables: What to update.

    Raises:
        ValueError: There are no variables, not as many gradients as variables, or only None.

    Mirrors: keras.optimizers.Optimizer.apply_gradients
    """
    if not variables or len(gradients) != len(variables):
        raise ValueError(
            f"Expected one or more variables and a gradient for each, got {len(variables)} "
            f"variables and {len(gradients)} gradients. Is `trainable` False for these layers?"
        )
    optimizer.apply_gradients(zip(gradients, variables, strict=True))


def per_example_gradients(
    loss_fn: Callable[[keras.Model, Batch], tf.Tensor], model: keras.Model, batch: Batch
) -> list[tf.Tensor]:
    """Compute the gradient of the loss of each example on its own; update nothing.

        def loss(model, one):
            x, y = one
            return keras.ops.mean(keras.ops.square(model(x, training=True) - y))
        found = loop.per_example_gradients(loss, model, (x, y))
        norms = tf.sqrt(sum(tf.reduce_sum(g**2, axis=tuple(range(1, g.ndim))) for g in found))

    All examples are computed at once, and agree with runs on single examples to rounding: 1e-5 of
    the largest value in float32. If the loss draws from seed generators, as Dropout does, examples
    run one after another: each has a draw of its own, that of single runs in this order, and it
    takes longer. BatchNormalization works with `training=False`.

    Args:
        loss_fn: `loss_fn(model, one)` returns the loss of a batch of one, a scalar.
        model: The model whose trainable weights to differentiate by.
        batch: Tensors `[batch, ...]`, nested; None stays None.

    Returns:
        A tensor `[batch, *weight.shape]` for each of `model.trainable_weights`, zeros where the
        loss does not depend on the weight. They are those of the loss as it is: a
        LossScaleOptimizer takes those of `optimizer.scale_loss(loss)`.

    Raises:
        ValueError: The loss is no scalar, or computing it updates statistics.
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
            check_scalar(loss)
        found = tape.gradient(loss, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return [tf.convert_to_tensor(gradient) for gradient in found]

    if not updates(of_one, [tf.TensorSpec(leaf.shape[1:], leaf.dtype) for leaf in leaves]):
        return tf.vectorized_map(of_one, leaves)
    shapes = [tf.TensorSpec(weight.shape, weight.dtype) for weight in weights]
    # One after another: the next example draws with the seed that this one leaves behind.
    return tf.map_fn(of_one, leaves, parallel_iterations=1, fn_output_signature=shapes)


def check_scalar(loss: Any) -> None:
    """Raise ValueError if a loss is no scalar."""
    shape = getattr(loss, "shape", None)
    if shape is None:
        raise ValueError(
            f"Expected a loss, a scalar tensor, got {type(loss).__name__}. Let the function return "
            "the loss, or a tuple that begins with it."
        )
    if tf.TensorShape(shape).rank not in (0, None):
        raise ValueError(
            f"Expected a loss that is a scalar, got the shape {tuple(shape)}. Return its mean: "
            "keras.ops.mean(loss)."
        )


def updates(function: Callable[[list[tf.Tensor]], Any], specs: list[tf.TensorSpec]) -> bool:
    """Return whether a function of tensors updates integer variables, the seeds of draws.

    Raises:
        ValueError: It updates other variables.
    """
    graph = tf.function(function, autograph=False).get_concrete_function(specs).graph.as_graph_def()
    nodes = [*graph.node, *(node for f in graph.library.function for node in f.node_def)]
    assigned = [node.attr["dtype"].type for node in nodes if node.op.startswith("Assign")]
    if any(tf.as_dtype(dtype).is_floating for dtype in assigned):
        raise ValueError(
            "The loss updates variables of floats, as BatchNormalization does in training: one "
            "example has no statistics of a batch. Call the model with training=False, or use "
            "GroupNormalization, and update metrics outside of the loss."
        )
    return bool(assigned)
