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
from loop.data import is_array
from loop.types import FitArguments, Source

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
    output = _output_shape(arguments.model)
    if arguments.y is None or keras.tree.is_nested(arguments.y) or output is None:
        return
    labels = np.asarray(arguments.y)
    if arguments.class_weight is not None:
        _check_class_weight(labels, arguments.class_weight, output)
    loss = _name_of(arguments.model.loss)
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
    output, listed = _output_shape(arguments.model), arguments.class_weight or {0: 1.0}
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


def _output_shape(model: keras.Model) -> tuple[int, ...] | None:
    """Return the shape of the output, `(None, ...)`; None if unknown or with several outputs."""
    outputs = getattr(model, "outputs", None) or []
    return tuple(outputs[0].shape) if len(outputs) == 1 else None


def _would_broadcast(target: tuple[int, ...], output: tuple[int, ...]) -> bool:
    """Return whether a loss would broadcast targets or outputs, beyond a last axis of size 1."""
    if target == output or (*target, 1) == output or target == (*output, 1):
        return False
    return None not in output and any(1 in shape for shape in (target, output))


def _name_of(loss: Any) -> str:
    name = loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)
    return name.lower()
