"""What fit lets pass, refused: `loop.fit(..., strict=True)`, or `with loop.strict():`.

Each rule names a fault of Keras 3.15.1, which the engine mirrors where nobody is strict;
docs/quirks.md shows all of them.
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
    """Refuses, while the block runs, what fit would let pass: a clear error instead."""
    token = _strict.set(True)
    try:
        yield
    finally:
        _strict.reset(token)


def is_strict() -> bool:
    """Whether this runs inside `with strict():`."""
    return _strict.get()


def check_strictly(arguments: FitArguments, source: Source) -> None:
    """Refuses what fit would ignore, take for something else, or train on wrongly.

    Args:
        arguments: The arguments of fit.
        source: What it would train on.

    Raises:
        ValueError: The message says what fit would do, and what to do instead.
    """
    _check_arguments(arguments)
    _check_end(arguments, source)
    if all(leaf is None or is_array(leaf) for leaf in keras.tree.flatten(arguments.x)):
        _check_arrays(arguments)
    else:
        _check_ignored(arguments)


def _check_arguments(arguments: FitArguments) -> None:
    if not 0 <= arguments.validation_split < 1:
        raise ValueError(
            f"validation_split is {arguments.validation_split}: expected a fraction from 0 to 1. "
            "fit would cut the arrays somewhere else without a word."
        )
    if arguments.validation_split and arguments.validation_data is not None:
        raise ValueError(
            "validation_split and validation_data were both given: fit would ignore the split. "
            "Pass one of them."
        )
    if restored_epoch(arguments.model):
        raise ValueError(
            f"The model goes on from epoch {restored_epoch(arguments.model)}, which an earlier "
            "BackupAndRestore left behind: fit would skip the epochs before. Load the weights "
            "into a new model."
        )
    unknown = [key for key in arguments.class_weight or {} if not isinstance(key, int | np.integer)]
    if unknown:
        raise ValueError(
            f"class_weight has keys that are no class: {unknown}. fit would ignore them. Classes "
            "are integers."
        )


def _check_end(arguments: FitArguments, source: Source) -> None:
    if source.num_batches == 0:
        raise ValueError("There is no batch to train on: fit would return an empty History.")
    if source.is_endless and not arguments.steps_per_epoch:
        raise ValueError("The data never end: fit would not either. Pass steps_per_epoch.")
    ends = isinstance(arguments.x, types.GeneratorType) and not arguments.steps_per_epoch
    if ends and arguments.epochs > 1:
        raise ValueError(
            "A generator, several epochs and no steps_per_epoch: from the second epoch on fit "
            "would train on the first two batches only. Pass steps_per_epoch, or a PyDataset."
        )


def _check_ignored(arguments: FitArguments) -> None:
    """What makes its own batches."""
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
    for name, value in {
        "x": arguments.x,
        "y": arguments.y,
        "sample_weight": arguments.sample_weight,
    }.items():
        if any(_is_not_finite(leaf) for leaf in keras.tree.flatten(value)):
            raise ValueError(f"{name} holds NaN or infinity: fit would train on it.")
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
                f"y holds {outside[0]}, but the model knows the classes 0 to {output[-1] - 1}: fit "
                "would fail inside a kernel, or on a GPU learn nothing from it."
            )
    elif loss not in ("crossentropy", "ce") and _stretch(labels.shape[1:], output[1:]):
        raise ValueError(
            f"y has the shape {labels.shape} and the predictions {output}: fit would stretch one "
            "to the other. Reshape y."
        )


def _check_weight_of_each_class(arguments: FitArguments) -> None:
    """On a dataset weights come from a table, which ends with the largest class listed."""
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
    """The shape of the one output, `(None, ...)`; None where nobody can tell before training."""
    outputs = getattr(model, "outputs", None) or []
    return tuple(outputs[0].shape) if len(outputs) == 1 else None


def _stretch(target: tuple[int, ...], output: tuple[int, ...]) -> bool:
    """Whether one would be stretched to the other; a last axis of 1 more or less is in order."""
    if target == output or (*target, 1) == output or target == (*output, 1):
        return False
    return None not in output and any(1 in one for one in (target, output))


def _name_of(loss: Any) -> str:
    name = loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)
    return name.lower()
