"""Advice on inputs: shapes that a layer refuses, missing batches, lists in place of arrays."""

import re
from typing import Any

import keras
import numpy as np

from loop.advice.failure import Advice, Data, Failure, Shape, described, has_shape, shape_of
from loop.advice.targets import no_targets, text


def no_arrays(failure: Failure, _: re.Match[str]) -> Advice | None:
    """Data of no type that fit takes, most often a list of rows: a list means several inputs."""
    inputs, x = input_shapes(failure.model), failure.data[0].x
    for data in failure.data:
        for name in ("x", "y", "sample_weight"):
            value = getattr(data, name)
            if isinstance(value, list | tuple) and len(value) > max(1, len(inputs)):
                return Advice(
                    f"{data.name}{name} is {described(value)}, but in a list fit expects an array "
                    "for each input or output of the model.",
                    f"one array {name} with a row for each sample.",
                    f"{name} = np.asarray({name}).",
                )
    if callable(x) and not has_shape(x):
        return Advice(
            f"x is the function {getattr(x, '__name__', x)}, not what it yields.",
            "a generator: what a function with `yield` returns.",
            f"fit({getattr(x, '__name__', 'function')}()).",
        )
    return _advice_on_lengths(failure)


def _advice_on_lengths(failure: Failure) -> Advice | None:
    """Return advice if `x` has the samples along another axis than the first."""
    data, inputs = failure.data[0], input_shapes(failure.model)
    if not has_shape(data.x) or not has_shape(data.y) or not shape_of(data.y):
        return None
    came, samples = shape_of(data.x), shape_of(data.y)[0]
    if len(came) < 2 or came[1] != samples or came[0] == samples:
        return None
    several = len(inputs) > 1 and came[0] == len(inputs)
    return Advice(
        f"x has the shape {came}, y {shape_of(data.y)}: x has its samples along the second axis.",
        "samples along the first axis of every array.",
        f"fit([{', '.join(f'x[{place}]' for place in range(len(inputs)))}], y)."
        if several
        else "x = np.swapaxes(x, 0, 1).",
    )


def number_of_inputs(failure: Failure, found: re.Match[str]) -> Advice | None:
    """The model was called with more or fewer inputs than it has."""
    if advice := no_arrays(failure, found):
        return advice
    expected, came = map(int, found.groups())
    names = input_names(failure.model)
    change = (
        f"fit([{', '.join(names)}], y), or fit({{{', '.join(f'{n!r}: {n}' for n in names)}}}, y)"
    )
    if came > expected:
        change = "x = np.concatenate(x, axis=-1), or a keras.Input for each array"
    return Advice(
        f"x holds {_plural(came, 'array')}, but the model has {_plural(expected, 'input')}: "
        f"{', '.join(names)}.",
        f"{_plural(expected, 'array')} as x.",
        f"{change}.",
    )


def names_of_inputs(failure: Failure, found: re.Match[str]) -> Advice | None:
    """A dict of inputs has other names than the inputs of the model, or holds targets too."""
    names = input_names(failure.model)
    for data in failure.data:
        if not isinstance(data.x, dict) or not names:
            continue
        if data.kind and data.y is None:
            return no_targets(failure, found)
        return Advice(
            f"{data.name}x has the keys {list(data.x)}, but the inputs of the model are {names}.",
            f"the keys {names}.",
            "rename the keys of x, or name the inputs: keras.Input(shape, name=...).",
        )
    return None


def shape_of_inputs(failure: Failure, found: re.Match[str]) -> Advice | None:
    """Inputs differ in shape from what the model takes."""
    if advice := text(failure, found) or no_arrays(failure, found):
        return advice
    shapes = input_shapes(failure.model)
    for data in failure.data:
        if len(shapes) == 1 and data.is_known and has_shape(data.x):
            came = shape_of(data.x)
            if not _agree(shapes[0][1:], came[1:]):
                return _advice_on_shape(data, came, shapes[0])
    return None


def _advice_on_shape(data: Data, came: Shape, expected: Shape) -> Advice:
    """Return the advice that fits how two shapes differ."""
    name, wanted = f"{data.name}x", f"{data.name}x of shape {expected}."
    if _agree(expected[1:], came):
        if data.kind:
            return Advice(
                f"the elements of the {data.name}{data.kind} have the shape {came}: they are "
                "samples, not batches.",
                wanted,
                "dataset = dataset.batch(32).",
            )
        return Advice(
            f"{name} has the shape {came}: it is a single sample, without an axis of samples.",
            wanted,
            "x = x[np.newaxis].",
        )
    if len(came) > 1 and _agree(expected[1:-1], came[1:]):
        return Advice(
            f"{name} has the shape {came}: the last axis is missing, that of the channels.",
            wanted,
            _with_channels(expected),
        )
    return Advice(
        f"{name} has the shape {came}, but the model takes {expected}.",
        wanted,
        f"keras.Input({came[1:]}) in the model, or samples of shape {expected[1:]} in x.",
    )


def _with_channels(expected: Shape) -> str:
    """Return the line that adds the last axis."""
    if expected[-1] == 1:
        return "x = x[..., np.newaxis]."
    if expected[-1] == 3:
        return "x = np.repeat(x[..., np.newaxis], 3, axis=-1) for images without colours."
    return f"samples of shape {expected[1:]} in x."


def _agree(expected: Shape, came: Shape) -> bool:
    """Return whether two shapes are the same wherever both are known."""
    return len(expected) == len(came) and all(
        None in sizes or sizes[0] == sizes[1] for sizes in zip(expected, came, strict=True)
    )


def index_beyond_table(failure: Failure, found: re.Match[str]) -> Advice | None:
    """A token is as large as the table of an embedding, or a class has no weight."""
    index, size = map(int, found.groups())
    for layer in getattr(failure.model, "layers", []):
        if isinstance(layer, keras.layers.Embedding) and layer.input_dim == size:
            return Advice(
                f"x holds {index}, but the embedding {layer.name!r} has the rows 0 to {size - 1}.",
                f"integers from 0 to {size - 1} in x.",
                "Embedding(input_dim=x.max() + 1, ...): 1 more than the largest index.",
            )
    weights = failure.arguments.get("class_weight")
    if weights and max(weights) + 1 == size:
        return Advice(
            f"the data hold the class {index}, but class_weight ends with {size - 1}.",
            "a weight for every class: for a dataset fit looks it up in a table.",
            f"class_weight={{**class_weight, {index}: 1.0}}.",
        )
    return None


def shapes_of_batches(_: Failure, __: re.Match[str]) -> Advice:
    """A generator yields batches whose shapes differ in more than the number of samples."""
    return Advice(
        "a later batch of the generator has another shape than its first two.",
        "axes of the same size in all batches, but the first; or of different size in the first "
        "two batches already.",
        "x = keras.utils.pad_sequences(x, maxlen=...) in the generator.",
    )


def parts_of_batches(_: Failure, __: re.Match[str]) -> Advice:
    """A batch has more than three parts."""
    return Advice(
        "a batch has more than three parts.",
        "(x, y) or (x, y, sample_weight), where x or y may be a tuple of several arrays.",
        "yield (x_1, x_2), y.",
    )


def numbers_in_batches(failure: Failure, _: re.Match[str]) -> Advice:
    """A generator yields lists of numbers, or a number for a target."""
    return Advice(
        f"the {failure.data[0].kind or 'data'} yields numbers where arrays were expected: each "
        "entry of a list is an input.",
        "arrays with a row for each sample of the batch.",
        "yield np.asarray(x), np.asarray(y).",
    )


def objects(failure: Failure, _: re.Match[str]) -> Advice | None:
    """An array holds Python objects: rows of different lengths, or numbers of several types."""
    for data in failure.data:
        for name, value in (("x", data.x), ("y", data.y)):
            if has_shape(value) and value.dtype == np.dtype(object) and len(value):
                return _advice_on_objects(f"{data.name}{name}", name, value)
    return None


def _advice_on_objects(name: str, variable: str, array: Any) -> Advice:
    """Return the advice for an array of Python objects."""
    first = array.flat[0]
    if hasattr(first, "__len__") and not isinstance(first, str):
        lengths = [len(row) for row in array.flat]
        return Advice(
            f"{name} holds rows of {min(lengths)} to {max(lengths)} values, as Python objects.",
            "rows of the same length.",
            f'{variable} = keras.utils.pad_sequences({variable}, dtype="float32").',
        )
    return Advice(
        f"{name} is an array of Python objects, the first of type {type(first).__name__}.",
        "an array of numbers.",
        f'{variable} = {variable}.astype("float32").',
    )


def input_shapes(model: Any) -> list[Shape]:
    """Return the shape of each input, `(None, ...)`; [] for a model that does not say."""
    return [tuple(tensor.shape) for tensor in getattr(model, "inputs", None) or []]


def input_names(model: Any) -> list[str]:
    """Return the name of each input; [] for a model that does not say."""
    return [tensor.name for tensor in getattr(model, "inputs", None) or []]


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"
