"""Advice on targets: missing, in another encoding than the loss takes, or in another shape."""

import re

import keras

from loop.advice.failure import Advice, Failure, name_of, output_shape, shape_of, single_targets

Shape = tuple[int | None, ...]


def no_targets(failure: Failure, _: re.Match[str]) -> Advice | None:
    """Targets are missing, and there is a loss that needs them."""
    without = [data for data in failure.data if data.y is None]
    if not without or getattr(failure.model, "loss", None) is None:
        return None
    data = without[0]
    if data.kind is None:
        change = "pass y: fit(x, y)"
        if data.name:
            change = "validation_data=(x_val, y_val)"
    else:
        change = f"let the {data.kind} yield tuples (x, y)"
        if isinstance(data.x, dict):
            change = 'dataset.map(lambda row: (row["image"], row["label"])), with your own names'
    return Advice(
        f"the {data.name}data have no targets, but the model has the loss {_loss(failure)}.",
        "y beside x, one target for each sample.",
        f"{change}. If the model computes its loss from x alone, call add_loss in a layer and "
        "compile without a loss.",
    )


def label_out_of_range(failure: Failure, found: re.Match[str]) -> Advice:
    """A class is as large as the number of outputs, or larger, or negative."""
    label, classes = map(int, found.groups())
    if classes == 1:
        return Advice(
            f"y holds the class {label}, but the model has a single output, which is one class.",
            "one output for each class; or, for two classes and a single output, a binary loss.",
            'Dense(1, "sigmoid") with loss="binary_crossentropy", or Dense(n, "softmax") for n '
            "classes.",
        )
    if label == classes:
        change = f"y = y - 1 if classes count from 1, or Dense({classes + 1}) for one class more"
    elif label < 0:
        change = "y = y + 1 if -1 is a class, or drop the samples that have no label"
    else:
        change = f"Dense({label + 1}) or more, or y = np.unique(y, return_inverse=True)[1]"
    return Advice(
        f"y holds the class {label}, but the model has the {classes} classes 0 to {classes - 1}.",
        f"integers from 0 to {classes - 1} in y.",
        f"{change}.",
    )


def one_hot_for_classes(failure: Failure, found: re.Match[str]) -> Advice:
    """Targets are one-hot, or have another axis too many, for a loss that takes classes."""
    target, output = _shape(found["target"]), _shape(found["output"])
    if len(target) == len(output) and target[-1] == output[-1]:
        return Advice(
            f"y is one-hot, of shape {_rows(target)}, but {_loss(failure)} takes one integer a "
            "sample.",
            f"y of shape {_rows(output[:-1])}, integers from 0 to {_last(output)}.",
            'loss="categorical_crossentropy" in compile, or y = y.argmax(axis=-1).',
        )
    return Advice(
        f"y has the shape {_rows(target)}, the predictions have {_rows(output)}: one integer for "
        "each prediction was expected.",
        f"y of shape {_rows(output[:-1])}, integers from 0 to {_last(output)}.",
        "reshape y; or, if each sample has one class only, end the model with Flatten() or "
        'GlobalAveragePooling and Dense(n, "softmax").',
    )


def shapes_of_a_crossentropy(failure: Failure, found: re.Match[str]) -> Advice:
    """Targets and predictions differ in shape under a loss that compares them one by one."""
    target, output = _shape(found["target"]), _shape(found["output"])
    are_classes = len(target) < len(output) or target[-1] == 1
    if are_classes and output[-1] != 1:
        change = 'loss="sparse_categorical_crossentropy" in compile, or '
        return Advice(
            f"y holds one number a sample, of shape {_rows(target)}, but {_loss(failure)} takes "
            f"{output[-1]}, as many as the model has outputs.",
            f"y of shape {_rows(output)}, one-hot.",
            f"{change}y = keras.utils.to_categorical(y, {output[-1]}).",
        )
    if output[-1] == 1:
        return Advice(
            f"y has {target[-1]} columns, of shape {_rows(target)}, but the model has one output.",
            f"y of shape {_rows(output)}; or {target[-1]} outputs.",
            f'Dense({target[-1]}, "softmax") with loss="categorical_crossentropy" for one-hot y.',
        )
    return _other_shape(target, output)


def shapes_of_a_difference(failure: Failure, _: re.Match[str]) -> Advice | None:
    """Targets do not fit the predictions under a loss that subtracts them, such as mse."""
    output = output_shape(failure.model)
    for data in single_targets(failure):
        target = shape_of(data.y)
        if output is not None and not _fits(target[1:], output[1:]):
            return _other_shape(target, output)
    return None


def number_of_targets(failure: Failure, _: re.Match[str]) -> Advice | None:
    """Targets have another structure than the outputs."""
    names = getattr(failure.model, "output_names", None)
    if not names:
        return None
    for data in failure.data:
        if data.is_known and data.y is not None:
            came = _count(data.y)
            return Advice(
                f"y holds {came}, but the model has the outputs {names}.",
                "one target for each output, in their order or by their names.",
                f"fit(x, [{', '.join(f'y_{name}' for name in names)}]), or "
                f"fit(x, {{{', '.join(f'{name!r}: y_{name}' for name in names)}}}).",
            )
    return None


def _count(y: object) -> str:
    if isinstance(y, dict):
        return f"the keys {list(y)}"
    leaves = len(keras.tree.flatten(y))
    return f"{leaves} array{'s' * (leaves != 1)}"


def _fits(target: Shape, output: Shape) -> bool:
    """Return whether shapes without the batch axis are equal, or differ by a last axis of 1."""
    return target == output or (*target, 1) == output or target == (*output, 1)


def _other_shape(target: Shape, output: Shape) -> Advice:
    units = target[-1] if len(target) > 1 else 1
    return Advice(
        f"y has the shape {_rows(target)}, the predictions have {_rows(output)}.",
        f"y of shape {_rows(output)}.",
        f"Dense({units}) as the last layer, or y of the shape of the predictions.",
    )


def _loss(failure: Failure) -> str:
    """Return the name of the compiled loss for messages."""
    loss = failure.model.loss
    return "compiled" if isinstance(loss, dict | list | tuple) else name_of(loss)


def _shape(text: str) -> Shape:
    """Return the shape that the text of an error shows, for example `None, 3`."""
    sizes = [size.strip() for size in text.split(",")]
    return tuple(None if size == "None" else int(size) for size in sizes if size)


def _rows(shape: Shape) -> str:
    """Return a shape for messages, with `samples` for the first axis."""
    return f"({', '.join(['samples', *map(str, shape[1:])])}{',' * (len(shape) == 1)})"


def _last(output: Shape) -> str:
    return "the number of classes less 1" if output[-1] is None else str(output[-1] - 1)
