"""Advice on targets: missing, in another encoding than the loss takes, or in another shape."""

import re

import keras
import numpy as np
import tensorflow as tf

from loop.advice.failure import (
    Advice,
    Data,
    Failure,
    Shape,
    is_complete,
    is_text,
    loss_of,
    output_shape,
    shape_of,
    single_arrays,
)


def no_targets(failure: Failure, _: re.Match[str]) -> Advice | None:
    """Targets are missing, and there is a loss that needs them."""
    without = [data for data in failure.data if data.y is None]
    if not without or getattr(failure.model, "loss", None) is None:
        return None
    data = without[0]
    return Advice(
        f"the {data.name}data have no targets, but {loss_of(failure.model)} needs them.",
        f"{data.name}y beside {data.name}x, one target for each sample.",
        f"{_with_targets(data)}. Or, if the model computes its loss from x alone: add_loss in a "
        "layer, and compile without a loss.",
    )


def _with_targets(data: Data) -> str:
    """Return the line that gives targets."""
    if isinstance(data.x, dict) and data.kind and len(data.x) > 1:
        first, *_, last = data.x
        return f"dataset.map(lambda row: (row[{first!r}], row[{last!r}])), input and target"
    if data.kind:
        return f"let the {data.kind} yield tuples (x, y)"
    return "validation_data=(x_val, y_val)" if data.name else "fit(x, y)"


def label_out_of_range(failure: Failure, found: re.Match[str]) -> Advice | None:
    """A class is as large as the number of outputs, or larger, or negative."""
    label, classes = map(int, found.groups())
    name = _holder_of(label, failure)
    if name is None:
        return None
    if classes == 1:
        return Advice(
            f"{name} holds the class {label}, but a model with a single output has one class "
            "only, 0.",
            "an output for each class; or, for two classes and a single output, a binary loss.",
            'Dense(1, "sigmoid") with loss="binary_crossentropy", or Dense(n, "softmax") for n '
            "classes.",
        )
    if label < 0:
        change = "y = y + 1 if -1 is a class, or leave out the samples without a label"
    elif label == classes:
        change = f"y = y - 1 if classes are counted from 1, or Dense({classes + 1}) if one is new"
    else:
        change = f"y = np.unique(y, return_inverse=True)[1], or Dense({label + 1}) or more"
    return Advice(
        f"{name} holds the class {label}, but the model has {classes} classes, 0 to {classes - 1}.",
        f"integers from 0 to {classes - 1} in {name}.",
        f"{change}.",
    )


def _holder_of(label: int, failure: Failure) -> str | None:
    """Return the name of the targets with a label; None if all are in memory and none has it."""
    for data in failure.data:
        if not data.is_known or any(
            isinstance(leaf, tf.TensorSpec) or np.any(np.asarray(leaf) == label)
            for leaf in keras.tree.flatten(data.y)
        ):
            return f"{data.name}y"
    return None


def one_hot_for_classes(failure: Failure, found: re.Match[str]) -> Advice:
    """Targets are one-hot, or have an axis too many, for a loss that takes classes."""
    target, output = _shape(found["target"]), _shape(found["output"])
    name, loss = _name(failure, target), loss_of(failure.model)
    expected = f"{name} of shape {_rows(output[:-1])}, integers from 0 to {_last(output)}."
    if len(target) == len(output) and target[-1] == output[-1]:
        return Advice(
            f"{name} is one-hot, of shape {_rows(target)}, but {loss} takes an integer a sample.",
            expected,
            'compile(loss="categorical_crossentropy"), or y = y.argmax(axis=-1).',
        )
    return Advice(
        f"{name} has the shape {_rows(target)}, the predictions have {_rows(output)}, but {loss} "
        "takes an integer for each prediction.",
        expected,
        "reshape y; or, if a sample has one class only, Flatten() before the last Dense.",
    )


def shapes_of_a_crossentropy(failure: Failure, found: re.Match[str]) -> Advice:
    """Targets and predictions differ in shape under a loss that compares them one by one."""
    target, output = _shape(found["target"]), _shape(found["output"])
    name, units = _name(failure, target), output[-1]
    if (len(target) < len(output) or target[-1] == 1) and units != 1:
        return Advice(
            f"{name} holds a class a sample, of shape {_rows(target)}, but "
            f"{loss_of(failure.model)} takes {units} numbers, one for each output.",
            f"{name} of shape {_rows(output)}, one-hot.",
            'compile(loss="sparse_categorical_crossentropy"), or '
            f"y = keras.utils.to_categorical(y, {units}).",
        )
    if units == 1:
        return Advice(
            f"{name} has {target[-1]} columns, of shape {_rows(target)}, but the model one output.",
            f"{name} of shape {_rows(output)}, or {target[-1]} outputs.",
            f'Dense({target[-1]}, "softmax") with loss="categorical_crossentropy" for one-hot y.',
        )
    return _other_shape(name, target, output)


def shapes_of_a_difference(failure: Failure, found: re.Match[str]) -> Advice | None:
    """Targets, or sample weights, do not fit the predictions under a loss such as mse."""
    output = output_shape(failure.model)
    for data in single_arrays(failure):
        target = shape_of(data.y)
        if output is not None and not _fits(target[1:], output[1:]):
            return _other_shape(f"{data.name}y", target, output)
        weights = () if data.sample_weight is None else shape_of(data.sample_weight)
        if len(weights) > 1 and not _fits(weights[1:], target[1:]):
            return Advice(
                f"sample_weight has the shape {_rows(weights)}.",
                "sample_weight of shape (samples,), a weight for each sample.",
                "sample_weight = sample_weight[:, 0], or its mean over the last axis.",
            )
    sizes = [list(map(int, shape.split(","))) for shape in re.findall(r"\[([\d,]+)\]", found[0])]
    if len(sizes) == 2 and not all(data.is_known for data in failure.data):
        (came, *rest), (expected, *others) = sizes
        if came != expected and rest == others:
            return Advice(
                f"a batch has {expected} samples, but {came} targets.",
                "as many targets as samples in each batch.",
                "x and y cut alike in what yields the batches: x[i:i + 32], y[i:i + 32].",
            )
    return None


def number_of_targets(failure: Failure, found: re.Match[str]) -> Advice | None:
    """Targets have another structure, or other names, than the outputs."""
    if advice := no_targets(failure, found):
        return advice
    names = getattr(failure.model, "output_names", None) or []
    for data in failure.data:
        if not data.is_known or len(names) < 2 or is_complete(data.y, names):
            continue
        targets = ", ".join(f"y_{name}" for name in names)
        by_name = ", ".join(f"{name!r}: y_{name}" for name in names)
        return Advice(
            f"{data.name}y holds {_count(data.y)}, but the outputs of the model are {names}.",
            "a target for each output, in their order or by their names.",
            f"fit(x, [{targets}]), or fit(x, {{{by_name}}}).",
        )
    return None


def _count(y: object) -> str:
    if isinstance(y, dict):
        return f"the keys {list(y)}"
    leaves = len(keras.tree.flatten(y))
    return f"{leaves} array{'s' * (leaves != 1)}"


def text(failure: Failure, _: re.Match[str]) -> Advice | None:
    """Inputs or targets are text, which no layer but those for text takes."""
    for data in failure.data:
        for name, value in (("x", data.x), ("y", data.y)):
            if is_text(value):
                return Advice(
                    f"{data.name}{name} holds text.",
                    "numbers.",
                    "y = np.unique(y, return_inverse=True)[1] for the names of classes."
                    if name == "y"
                    else 'x = x.astype("float32") for digits; for words a layer before the model: '
                    "keras.layers.StringLookup, keras.layers.TextVectorization.",
                )
    return None


def _fits(target: Shape, output: Shape) -> bool:
    """Return whether shapes without the batch axis are equal, or differ by a last axis of 1."""
    return target == output or (*target, 1) == output or target == (*output, 1)


def _other_shape(name: str, target: Shape, output: Shape) -> Advice:
    """Return the advice for targets that differ from the predictions in another way."""
    units = target[-1] if len(target) > 1 else 1
    return Advice(
        f"{name} has the shape {_rows(target)}, the predictions have {_rows(output)}.",
        f"{name} of shape {_rows(output)}.",
        f"Dense({units}) as the last layer, or a y of the shape of the predictions.",
    )


def _name(failure: Failure, target: Shape) -> str:
    """Return the name of the targets with a shape: those of training, or of validation."""
    of_shape = [data for data in single_arrays(failure) if shape_of(data.y)[1:] == target[1:]]
    return f"{of_shape[0].name}y" if of_shape else "y"


def _shape(text: str) -> Shape:
    """Return the shape that the text of an error shows, for example `None, 3`."""
    sizes = [size.strip() for size in text.split(",")]
    return tuple(None if size == "None" else int(size) for size in sizes if size)


def _rows(shape: Shape) -> str:
    """Return a shape for messages, with `samples` for the first axis."""
    return f"({', '.join(['samples', *map(str, shape[1:])])}{',' * (len(shape) == 1)})"


def _last(output: Shape) -> str:
    return "the number of classes less 1" if output[-1] is None else str(output[-1] - 1)
