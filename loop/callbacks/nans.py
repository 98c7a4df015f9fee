"""Finds where the first NaN or infinity of a training appears."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import keras
import tensorflow as tf

from loop._keras import every_layer, weights_of
from loop.callbacks.cadence import register_cadence
from loop.callbacks.watch import Watching, apart, optimizers_of
from loop.types import MAX_SECONDS, Logs

ADVICE = {
    "input": "Look at the data: np.isfinite(x).all().",
    "output": "All before it was finite: look for log, sqrt, division or exp in that layer.",
    "data": "The loss of it is not finite either. Look at the data: np.isfinite(y).all().",
    "loss": "The outputs of all layers were finite: look at np.isfinite(y).all(), then for log(0) "
    "or 0/0 in the loss; from logits it would be stable (from_logits=True).",
    "gradient": "The loss was finite: sqrt, norm and pow have infinite gradients at 0, and where() "
    "has NaN gradients if the branch not taken has.",
    "weight": "The gradients were finite: lower the learning rate, or pass clipnorm=1.0.",
}
"""What to do, by the kind of tensor."""


class NanHunter(Watching):
    """Ends training where a value is NaN or infinite first, and names step, layer and tensor.

        loop.fit(model, x, y, callbacks=[NanHunter()])
        # FloatingPointError: ... in the gradient of dense/kernel, at step 17 of epoch 1 ...

    The graph of every step looks, in this order, at the input of the model, the output of each
    layer, the loss (where the step calls `optimizer.scale_loss`, as Keras's does) and, if that is
    not finite, the batch, the gradient of each variable, and each variable after the update. A step
    is an update of an optimizer that the model holds. Gradients under a loss scale are left out.

    Calls run for a second or an epoch; fit raises after the call, when the weights may be NaN. The
    step of every such fit is traced anew. Its bits are those without the callback, unless
    TensorFlow had fused a layer with the activation layer after it, and rounds otherwise. Every
    step reads all outputs, gradients and weights once more, less than 0.1 ms with a small MLP;
    tracing takes about 0.5 s (docs/research.md).

    Raises:
        FloatingPointError: From fit.
    """

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Look into every layer, and at every update."""
        self._names: list[tuple[str, str]] = []  # kind and name of all that was ever looked at
        self._seen: list[tuple[tuple[str, str], tf.Tensor]] = []  # since the last update
        self._first = tf.Variable([-1, -1], dtype=tf.int64)  # the step, and the place in `_names`
        self._steps: list[tf.Variable] = []  # updates in this epoch, of each optimizer
        self.begin()
        for layer in every_layer(self.model):
            self.around(layer, "call", partial(self._around_call, layer))
        for optimizer in optimizers_of(self.model):
            self._steps.append(tf.Variable(0, dtype=tf.int64))
            self.around(optimizer, "scale_loss", self._around_loss)
            around_apply = partial(self._around_apply, optimizer, self._steps[-1])
            self.around(optimizer, "apply", around_apply)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Count steps from 0."""
        self._epoch = epoch
        self._seen.clear()  # if steps run eagerly, what a validation has left
        for steps in self._steps:
            steps.assign(0)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Raise FloatingPointError if a value of the steps so far was not finite."""
        step, place = self._first.numpy().tolist()  # waits for the device
        if place >= 0:
            kind, name = self._names[place]
            raise FloatingPointError(
                f"The first value that is NaN or infinite is in {name}, at step {step} of epoch "
                f"{self._epoch + 1} (both counted from 1). {ADVICE[kind]}"
            )

    def _see(self, kind: str, name: str, value: Any) -> None:
        """Note whether the floats of a structure are finite."""
        for leaf in keras.tree.flatten(value):
            tensor = getattr(leaf, "values", leaf)  # of a sparse tensor
            if tensor is not None and tf.as_dtype(tensor.dtype).is_floating:
                tensor = apart(tf.convert_to_tensor(tensor))
                self._seen.append(((kind, name), tf.reduce_all(tf.math.is_finite(tensor))))

    def _around_call(
        self, layer: keras.layers.Layer, call: Callable[..., Any], *inputs: Any, **named: Any
    ) -> Any:
        if isinstance(layer, keras.Model):
            self._see("input", f"the input of {layer.name}", inputs)
        outputs = call(*inputs, **named)
        self._see("output", f"the output of layer {layer.name}", outputs)
        return outputs

    def _around_loss(self, scale_loss: Callable[..., Any], loss: tf.Tensor) -> tf.Tensor:
        graph = loss.graph if tf.is_symbolic_tensor(loss) else tf.Graph()
        arguments = [op.outputs[0] for op in graph.get_operations() if op.type == "Placeholder"]
        is_fine = tf.reduce_all(tf.math.is_finite(apart(loss)))  # then data may be NaN on purpose
        for data in (tensor for tensor in arguments if tensor.dtype.is_floating):
            shown = tf.where(is_fine, tf.zeros_like(data), data)
            self._see("data", "the batch (x, y or sample_weight)", shown)
        self._see("loss", "the loss", loss)
        return scale_loss(loss)

    def _around_apply(
        self,
        optimizer: keras.optimizers.Optimizer,
        steps: tf.Variable,
        apply: Callable[..., Any],
        grads: Sequence[Any],
        trainable_variables: Sequence[keras.Variable] | None = None,
    ) -> None:
        variables = trainable_variables or weights_of(optimizer)
        if not hasattr(optimizer, "inner_optimizer"):
            for variable, gradient in zip(variables, grads, strict=True):
                self._see("gradient", f"the gradient of {variable.path}", gradient)
        apply(grads, trainable_variables)
        for variable in variables:
            self._see("weight", f"{variable.path} after the update", variable)
        self._record(steps)

    def _record(self, steps: tf.Variable) -> None:
        """Write down the step and the first value seen in it that is not finite, if any."""
        steps.assign_add(1)
        step = steps.read_value()
        here = getattr(step, "graph", None)  # what was seen in other graphs cannot be read here
        seen = [(name, ok) for name, ok in self._seen if getattr(ok, "graph", None) is here]
        self._seen.clear()
        is_bad = tf.logical_not(tf.stack([ok for _, ok in seen]))
        found = tf.stack([step, len(self._names) + tf.argmax(tf.cast(is_bad, tf.int32))])
        self._names += [name for name, _ in seen]
        is_first = tf.reduce_any(is_bad) & tf.reduce_all(self._first < 0)
        self._first.assign(tf.where(is_first, found, self._first))


register_cadence(NanHunter, MAX_SECONDS)
