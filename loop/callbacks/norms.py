"""Norms of gradients and of updates for each layer, computed in the graph of the step."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import keras
import tensorflow as tf

from loop._keras import weights_of
from loop.callbacks.watch import Watching, apart, optimizers_of
from loop.types import Logs


class LayerMeans(Watching):
    """Adds a number for each layer to the logs, averaged over the updates of an epoch.

    The graph adds it up in variables. Callbacks that read its logs come after it.
    """

    def __init__(self, name: str, measure: Callable[..., tf.Tensor]):
        super().__init__()
        self._name = name
        self._measure = measure  # of a layer's gradients, its variables before and after
        self._sums: dict[tuple[str, ...], tf.Variable] = {}  # by layers; the last is the count

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Watch the updates of all optimizers that the model holds."""
        self._sums = {}
        self.begin()
        for optimizer in optimizers_of(self.model):
            inner = getattr(optimizer, "inner_optimizer", optimizer)  # gets unscaled gradients
            self.around(inner, "apply", partial(self._around_apply, inner))

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Add the means of the epoch to the logs."""
        if logs is None:
            return
        for layers, sums in self._sums.items():
            *totals, count = sums.numpy().tolist()  # waits for the device
            sums.assign(tf.zeros_like(sums))
            for layer, total in zip(layers, totals, strict=True) if count else ():
                logs[f"{self._name}/{layer.removeprefix(self.model.name + '/')}"] = total / count

    def _around_apply(
        self,
        optimizer: keras.optimizers.Optimizer,
        apply: Callable[..., Any],
        grads: Sequence[Any],
        trainable_variables: Sequence[keras.Variable] | None = None,
    ) -> None:
        scale = optimizer.loss_scale_factor
        layers: dict[str, list[tuple]] = {}
        variables = trainable_variables or weights_of(optimizer)
        for variable, gradient in zip(variables, grads, strict=True):
            if gradient is not None:
                gradient = tf.convert_to_tensor(apart(gradient))
                unscaled = gradient if scale is None else gradient / scale
                parts = unscaled, tf.convert_to_tensor(variable), variable
                layers.setdefault(variable.path.rpartition("/")[0], []).append(parts)
        apply(grads, trainable_variables)
        values = [self._measure(*zip(*parts, strict=True)) for parts in layers.values()]
        if tuple(layers) not in self._sums:
            with tf.init_scope():  # outside of the graph that is traced
                self._sums[tuple(layers)] = tf.Variable(tf.zeros([len(layers) + 1]))
        self._sums[tuple(layers)].assign_add(tf.stack([*values, 1.0]))


class GradientNorms(LayerMeans):
    """Adds the norm of each layer's gradient, averaged over the updates of an epoch, to the logs.

        history = loop.fit(model, x, y, callbacks=[GradientNorms()])
        history.history["grad_norm/dense"]

    The gradient is that which the optimizer gets, unscaled in mixed precision and before clipping.
    Updates that a loss scale leaves out do not count. Callbacks that read its logs come after it.

    A call runs an epoch. Every step reads all gradients once more, less than 0.1 ms with a small
    MLP. The step of every such fit is traced anew, which takes 0.5 to 0.8 s (docs/research.md).
    """

    def __init__(self) -> None:
        super().__init__("grad_norm", lambda gradients, *_: _norm(gradients))


class UpdateRatios(LayerMeans):
    """Adds the norm of each layer's update, relative to that of its weights, to the logs.

        history = loop.fit(model, x, y, callbacks=[UpdateRatios()])
        history.history["update_ratio/dense"]  # 1e-3 is a usual size

    The mean over the updates of an epoch of `|after - before| / |before|`; 0 where weights are 0.
    Callbacks that read its logs come after it.

    A call runs an epoch. Every step keeps a copy of the weights and reads them twice more, less
    than 0.1 ms with a small MLP. The step of every such fit is traced anew, which takes 0.5 to
    0.8 s (docs/research.md).
    """

    def __init__(self) -> None:
        super().__init__("update_ratio", _ratio)


def _norm(tensors: Sequence[Any]) -> tf.Tensor:
    """Return the norm of all elements; equal indices of a sparse gradient are added up before."""
    return tf.linalg.global_norm([tf.cast(tensor, tf.float32) for tensor in tensors])


def _ratio(_: Any, before: Sequence[tf.Tensor], after: Sequence[keras.Variable]) -> tf.Tensor:
    """Return the norm of an update by the norm of what it updated."""
    moved = [new - old for new, old in zip(after, before, strict=True)]
    return tf.math.divide_no_nan(_norm(moved), _norm(before))
