"""Strict checks: `loop.fit(..., strict=True)`, or any fit within `with loop.strict():`.

Each check raises an error where Keras 3.15.1 silently does something unexpected, which `loop.fit`
mirrors by default. docs/quirks.md lists all cases.
"""

import contextlib
import types
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from loop._keras import restored_epoch
from loop.advice.failure import name_of, output_shape
from loop.data import is_array
from loop.types import FitArguments, Logs, Source, Structure

_strict: ContextVar[bool] = ContextVar("strict", default=False)


@contextlib.contextmanager
def strict() -> Iterator[None]:
    """Run every fit of a block as with `strict=True`.

        with loop.strict():
            loop.fit(model, x, y)

    docs/quirks.md lists what is refused.
    """
    token = _strict.set(True)
    try:
        yield
    finally:
        _strict.reset(token)


def is_strict() -> bool:
    """Return whether this runs inside `with strict():`."""
    return _strict.get()


def check_strictly(arguments: FitArguments, source: Source) -> None:
    """Raise if fit would ignore an argument, misinterpret it or train on invalid data.

    Args:
        arguments: The arguments of fit.
        source: The source of the training batches.

    Raises:
        ValueError: The message describes what fit would do, and what to do instead.
    """
    _check_arguments(arguments)
    _check_monitors(arguments)
    _check_last_layer(arguments.model)
    _check_optimizer(arguments.model)
    _check_length(arguments, source)
    if all(leaf is None or is_array(leaf) for leaf in keras.tree.flatten(arguments.x)):
        _check_arrays(arguments)
    else:
        _check_ignored(arguments)


def _check_arguments(arguments: FitArguments) -> None:
    """Check what does not depend on the kind of data."""
    if not 0 <= arguments.validation_split < 1:
        raise ValueError(
            f"validation_split is {arguments.validation_split}: expected a fraction from 0 to 1. "
            "fit would silently split the arrays at another place."
        )
    if arguments.validation_split and arguments.validation_data is not None:
        raise ValueError(
            "validation_split and validation_data were both given: fit would ignore the split. "
            "Pass one of them."
        )
    if restored_epoch(arguments.model):
        raise ValueError(
            f"The model would start at epoch {restored_epoch(arguments.model)}, which an earlier "
            "BackupAndRestore left behind: fit would skip the epochs before it. Load the weights "
            "into a new model."
        )
    unknown = [key for key in arguments.class_weight or {} if not isinstance(key, int | np.integer)]
    if unknown:
        raise ValueError(
            f"class_weight has keys that are no class: {unknown}. fit would ignore them. Classes "
            "are integers."
        )


def _check_monitors(arguments: FitArguments) -> None:
    """Raise if a callback monitors a validation that does not happen."""
    if arguments.validation_data is not None or arguments.validation_split:
        return
    for callback in keras.tree.flatten(arguments.callbacks) if arguments.callbacks else []:
        monitor = getattr(callback, "monitor", None)
        reads_it = getattr(callback, "save_best_only", True)  # ModelCheckpoint saves anyhow
        if reads_it and isinstance(monitor, str) and monitor.startswith("val_"):
            raise ValueError(
                f"{type(callback).__name__} monitors {monitor!r}, but there is no validation data: "
                "fit would warn in each epoch, and the callback would do nothing. Pass "
                "validation_data=(x_val, y_val) or validation_split=0.2, or "
                f"monitor={monitor.removeprefix('val_')!r}."
            )


def _check_last_layer(model: keras.Model) -> None:
    """Raise if the last layer gives no probabilities to a loss that takes them."""
    activation, output, loss = _last_activation(model), output_shape(model), name_of(model.loss)
    if activation == "softmax" and output is not None and output[-1] == 1:
        raise ValueError(
            "The last layer is a softmax over a single unit: fit would train a model that predicts "
            "1.0 for every sample. Use Dense(1, 'sigmoid') for two classes, Dense(n, 'softmax') "
            "for n."
        )
    takes_logits = getattr(model.loss, "from_logits", False)
    if activation == "linear" and _is_crossentropy(loss) and not takes_logits:
        raise ValueError(
            f"The last layer has no activation, but the loss {loss} takes probabilities: fit would "
            "clip what the layer returns to 0 and 1. Add 'sigmoid' or 'softmax' to the layer, or "
            "pass the loss as an object with from_logits=True."
        )


def _check_optimizer(model: keras.Model) -> None:
    """Raise if tracing would lose values that the optimizer assigns where it makes variables."""
    optimizer = getattr(model, "optimizer", None)
    inner = getattr(optimizer, "inner_optimizer", optimizer)  # of a LossScaleOptimizer
    is_lost = isinstance(inner, keras.optimizers.ScheduleFreeAdamW) and not inner.built
    if is_lost and not model.run_eagerly:
        raise ValueError(
            "ScheduleFreeAdamW has no variables yet: fit would train from weights of 0, because "
            "the optimizer's copy of the weights is lost where the first step is traced twice. "
            "Call `model.optimizer.build(model.trainable_variables)` before fit."
        )


def _last_activation(model: keras.Model) -> str | None:
    """Return the name of the activation of a model's single output; None if unknown."""
    layers, outputs = getattr(model, "layers", None), getattr(model, "outputs", None)
    if not layers or not outputs or len(outputs) > 1 or layers[-1].output is not outputs[0]:
        return None
    return getattr(getattr(layers[-1], "activation", None), "__name__", None)


def _is_crossentropy(loss: str) -> bool:
    return "crossentropy" in loss or loss in ("bce", "ce")


def with_finite_loss(callbacks: Structure) -> Structure:
    """Return the callbacks, with one that raises after an epoch whose loss is NaN or infinite."""
    if isinstance(callbacks, keras.callbacks.CallbackList):
        return callbacks
    return [*(keras.tree.flatten(callbacks) if callbacks else []), FiniteLoss()]


class FiniteLoss(keras.callbacks.Callback):
    """A callback that raises after an epoch whose loss is NaN or infinite."""

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Raise ValueError if the loss of the epoch is NaN or infinite."""
        loss = (logs or {}).get("loss", 0.0)
        if not np.isfinite(loss):
            raise ValueError(
                f"The loss is {loss} after epoch {epoch + 1}: fit would train on, with weights "
                "that are NaN. Divide the learning rate by ten, pass clipnorm=1.0 to the "
                "optimizer, and look for log(0) and division by 0 in the loss and the data."
            )


def _check_length(arguments: FitArguments, source: Source) -> None:
    """Raise if there is no batch, if fit would never end, or if a generator would be replayed."""
    if source.num_batches == 0:
        raise ValueError(
            "There is no batch to train on: fit would return an empty History. Pass data with at "
            "least one sample."
        )
    if source.is_endless and not arguments.steps_per_epoch:
        raise ValueError(
            "The data never end: the first epoch of fit would not end either. Pass steps_per_epoch."
        )
    ends = isinstance(arguments.x, types.GeneratorType) and not arguments.steps_per_epoch
    if ends and arguments.epochs > 1:
        raise ValueError(
            "A generator, several epochs and no steps_per_epoch: from the second epoch on fit "
            "would train on the first two batches only. Pass steps_per_epoch, or a PyDataset."
        )


def _check_ignored(arguments: FitArguments) -> None:
    """Check the arguments that fit ignores if `x` yields batches itself."""
    if arguments.class_weight is not None:
        _check_weight_of_each_class(arguments)
    if arguments.batch_size is not None:
        raise ValueError(
            f"batch_size={arguments.batch_size} would be ignored: a {type(arguments.x).__name__} "
            "makes its own batches."
        )
    if arguments.shuffle and not isinstance(arguments.x, keras.utils.PyDataset):
        raise ValueError(
            f"shuffle={arguments.shuffle!r} would be ignored: a {type(arguments.x).__name__} keeps "
            "its order. Pass shuffle=False."
        )


def _check_arrays(arguments: FitArguments) -> None:
    """Check values for NaN, and shapes and classes of targets against the output of the model."""
    for name, value in {
        "x": arguments.x,
        "y": arguments.y,
        "sample_weight": arguments.sample_weight,
    }.items():
        if any(_is_not_finite(leaf) for leaf in keras.tree.flatten(value)):
            raise ValueError(
                f"{name} holds NaN or infinity: fit would train on it. Replace such values."
            )
    output = output_shape(arguments.model)
    if arguments.y is None or keras.tree.is_nested(arguments.y) or output is None:
        return
    labels = np.asarray(arguments.y)
    if arguments.class_weight is not None:
        _check_class_weight(labels, arguments.class_weight, output)
    loss = name_of(arguments.model.loss)
    if "sparse" in loss:
        outside = labels[(labels < 0) | (labels >= output[-1])]
        if outside.size:
            raise ValueError(
                f"y holds {outside[0]}, but the model has the classes 0 to {output[-1] - 1}: fit "
                "would fail inside a kernel, or on a GPU learn nothing from it."
            )
    elif loss not in ("crossentropy", "ce") and _would_broadcast(labels.shape[1:], output[1:]):
        raise ValueError(
            f"y has the shape {labels.shape} and the predictions {output}: fit would broadcast "
            "one of them (stretch it). Reshape y to the shape of the predictions."
        )


def _check_weight_of_each_class(arguments: FitArguments) -> None:
    """Raise if the largest class has no weight: on a dataset its samples would fail.

    Weights are looked up in a table there, which ends with the largest class listed.
    """
    output, listed = output_shape(arguments.model), arguments.class_weight or {0: 1.0}
    largest = max(listed)
    if output is not None and largest + 1 < max(output[-1], 2):
        raise ValueError(
            f"class_weight has no weight for the class {largest + 1}: on a dataset fit would fail "
            "inside a kernel at the first sample of it. List every class."
        )


def _check_class_weight(
    labels: np.ndarray, class_weight: dict[int, float], output: tuple[int, ...]
) -> None:
    """Raise if a class weight is for a class that neither targets nor outputs have."""
    one_hot = labels.ndim > 1 and labels.shape[-1] > 1
    classes = range(labels.shape[-1]) if one_hot else {*np.unique(labels).tolist()}
    classes = {*classes, *range(output[-1])}
    unknown = [key for key in class_weight if key not in classes]
    if unknown:
        raise ValueError(
            f"class_weight has weights for {unknown}, but there are no such classes: fit would "
            "ignore them."
        )


def _is_not_finite(leaf: Any) -> bool:
    if leaf is None or isinstance(leaf, tf.SparseTensor | tf.RaggedTensor):
        return False
    array = np.asarray(leaf)
    return array.dtype.kind == "f" and not np.isfinite(array).all()


def _would_broadcast(target: tuple[int, ...], output: tuple[int, ...]) -> bool:
    """Return whether a loss would broadcast targets or outputs, beyond a last axis of size 1."""
    if target == output or (*target, 1) == output or target == (*output, 1):
        return False
    return None not in output and any(1 in shape for shape in (target, output))
