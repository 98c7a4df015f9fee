"""Norms of gradients and of updates for each layer, computed in the graph of the step."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import keras
import tensorflow as tf
from keras.callbacks import Callback

from loop._keras import trained_variables
from loop.callbacks.watch import Watch, apart, optimizers_of
from loop.types import Logs

Measured = dict[str, tf.Tensor]
"""A scalar for each layer, by its name."""


class GradientNorms(Callback):
    """Adds the norm of each layer's gradient, averaged over the epoch, to the logs.

        history = loop.fit(model, x, y, callbacks=[GradientNorms()])
        history.history["grad_norm/dense"]

    A gradient is that which the optimizer applies: unscaled in mixed precision, before clipping;
    an update that a loss scale skips does not count. Give it before callbacks that read its logs.
    Calls run a whole epoch. The first step of every such fit is traced anew. COST
    """

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Watch the updates of all optimizers that the model holds."""
        self._means = LayerMeans(self.model, "grad_norm", _gradient_norms)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Add the means of the epoch to the logs."""
        self._means.move_to({} if logs is None else logs)

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Watch no longer."""
        self._means.watch.close()

    close = on_train_end


class UpdateRatios(Callback):
    """Adds the norm of each layer's update, relative to that of its weights, to the logs.

        history = loop.fit(model, x, y, callbacks=[UpdateRatios()])
        history.history["update_ratio/dense"]  # about 1e-3 where training goes well

    The mean over the epoch of `|after - before| / |before|`, 0 for weights that are 0. Calls run a
    whole epoch. The first step of every such fit is traced anew. COST
    """

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Watch the updates of all optimizers that the model holds."""
        self._means = LayerMeans(self.model, "update_ratio", _update_ratios)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Add the means of the epoch to the logs."""
        self._means.move_to({} if logs is None else logs)

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Watch no longer."""
        self._means.watch.close()

    close = on_train_end


class LayerMeans:
    """Means over updates of a number for each layer, summed up in variables.

    Attributes:
        watch: The watch on the optimizers.
    """

    def __init__(self, model: keras.Model, prefix: str, measure: Callable[..., Measured]):
        self._model = model
        self._prefix = prefix
        self._measure = measure
        self._sums: dict[tuple[str, ...], tf.Variable] = {}  # by layers; the last is the count
        self.watch = Watch(model)
        for optimizer in optimizers_of(model):
            inner = getattr(optimizer, "inner_optimizer", optimizer)  # gets unscaled gradients
            self.watch.around(inner, "apply", partial(self._around_apply, inner))

    def move_to(self, logs: Logs) -> None:
        """Add the means to the logs, and begin anew."""
        for layers, sums in self._sums.items():
            *totals, count = sums.numpy().tolist()  # waits for the device
            sums.assign(tf.zeros_like(sums))
            if count:
                for layer, total in zip(layers, totals, strict=True):
                    name = layer.removeprefix(f"{self._model.name}/")
                    logs[f"{self._prefix}/{name}"] = total / count

    def _around_apply(
        self,
        optimizer: keras.optimizers.Optimizer,
        apply: Callable[..., Any],
        grads: Sequence[Any],
        trainable_variables: Sequence[keras.Variable] | None = None,
    ) -> None:
        variables = trained_variables(optimizer, trainable_variables)
        update = partial(apply, grads, trainable_variables)
        measured = self._measure(optimizer, grads, variables, update)
        layers = tuple(measured)
        if layers not in self._sums:
            with tf.init_scope():  # outside of the graph that is traced
                self._sums[layers] = tf.Variable(tf.zeros([len(layers) + 1]))
        self._sums[layers].assign_add(tf.stack([*measured.values(), 1.0]))


def _gradient_norms(
    optimizer: keras.optimizers.Optimizer,
    gradients: Sequence[Any],
    variables: Sequence[keras.Variable],
    update: Callable[[], None],
) -> Measured:
    """Return the norm of each layer's gradient, float32 scalars; make the update."""
    pairs = zip(variables, gradients, strict=True)
    given = [(v, apart(gradient)) for v, gradient in pairs if gradient is not None]
    scale = optimizer.loss_scale_factor or 1.0
    norms = {layer: _norm(values) / scale for layer, values in _by_layer(given).items()}
    update()
    return norms


def _update_ratios(
    _: keras.optimizers.Optimizer,
    __: Sequence[Any],
    variables: Sequence[keras.Variable],
    update: Callable[[], None],
) -> Measured:
    """Return the norm of each layer's update by that of its weights; make the update."""
    before = [tf.convert_to_tensor(variable) for variable in variables]
    update()
    changes = [variable - old for variable, old in zip(variables, before, strict=True)]
    moved = _by_layer(zip(variables, changes, strict=True))
    weights = _by_layer(zip(variables, before, strict=True))
    return {
        layer: tf.math.divide_no_nan(_norm(moved[layer]), _norm(weights[layer])) for layer in moved
    }


def _by_layer(pairs: Iterable[tuple[keras.Variable, Any]]) -> dict[str, list[Any]]:
    """Return tensors by the layer of their variable, named as in its path: "encoder/dense"."""
    layers: dict[str, list[Any]] = {}
    for variable, tensor in pairs:
        layers.setdefault(variable.path.rpartition("/")[0], []).append(tensor)
    return layers


def _norm(tensors: Sequence[Any]) -> tf.Tensor:
    """Return the norm of all elements; equal indices of a sparse gradient are added up before."""
    return tf.linalg.global_norm([tf.cast(tf.convert_to_tensor(t), tf.float32) for t in tensors])
