"""Advice on inputs: shapes that a layer refuses, missing batches, lists in place of arrays."""

import re
from typing import Any

import keras

from loop.advice.failure import Advice, Data, Failure, described, shape_of


def rows_as_inputs(failure: Failure, _: re.Match[str]) -> Advice | None:
    """A list of rows was meant as one array: fit takes each entry of a list for an input."""
    inputs = input_shapes(failure.model)
    for data in failure.data:
        for name, value in (("x", data.x), ("y", data.y)):
            if isinstance(value, list | tuple) and len(value) > max(1, len(inputs)):
                return Advice(
                    f"{data.name}{name} is {described(value)}: fit takes a list for several "
                    "inputs or targets, an array each.",
                    f"one array {name} with a row for each sample.",
                    f"{name} = np.asarray({name}).",
                )
    return None


def number_of_inputs(failure: Failure, found: re.Match[str]) -> Advice | None:
    """The model was called with more or fewer inputs than it has."""
    if (advice := rows_as_inputs(failure, found)) is not None:
        return advice
    expected, came = map(int, found.groups())
    names = [tensor.name for tensor in getattr(failure.model, "inputs", None) or []]
    if came > expected:
        change = "np.concatenate(x, axis=-1) for one input, or a model with several: keras.Input"
        if not all(data.is_known for data in failure.data):
            change = "yield a tuple (x, y), not a list [x, y]: a list is several inputs"
    else:
        change = f"fit([{', '.join(names)}], y), or a dict by these names"
    return Advice(
        f"x holds {came} array{'s' * (came != 1)}, but the model has {expected} "
        f"input{'s' * (expected != 1)}: {', '.join(names)}.",
        f"{expected} array{'s' * (expected != 1)} as x.",
        f"{change}.",
    )


def names_of_inputs(failure: Failure, _: re.Match[str]) -> Advice | None:
    """A dict of inputs lacks the name of one."""
    names = [tensor.name for tensor in getattr(failure.model, "inputs", None) or []]
    for data in failure.data:
        if isinstance(data.x, dict) and names:
            return Advice(
                f"x has the keys {list(data.x)}, but the inputs of the model are {names}.",
                f"the keys {names}.",
                "rename the keys of x, or name the inputs: keras.Input(shape, name=...).",
            )
    return None


def shape_of_inputs(failure: Failure, _: re.Match[str]) -> Advice | None:
    """Inputs differ in shape from what the first layer takes."""
    shapes = input_shapes(failure.model)
    if len(shapes) != 1:
        return None
    expected = shapes[0]
    for data in failure.data:
        if not data.is_known or not hasattr(data.x, "shape"):
            continue
        came = shape_of(data.x)
        if not _takes(expected, came):
            return _advice_on_shape(data, came, expected)
    return None


def _advice_on_shape(data: Data, came: tuple, expected: tuple) -> Advice:
    """Return the advice that fits how two shapes differ."""
    wanted = f"{data.name}x of shape {expected}."
    if data.kind and _takes(expected, (None, *came)):
        return Advice(
            f"the elements of the {data.kind} have the shape {came}: they are samples, not "
            "batches.",
            wanted,
            "fit(dataset.batch(32)).",
        )
    if len(came) == len(expected) - 1 and _takes(expected[:-1], came):
        return Advice(
            f"{data.name}x has the shape {came}: the last axis is missing, that of the channels "
            "or features.",
            wanted,
            "x = x[..., np.newaxis]." if expected[-1] == 1 else _repeated(expected[-1]),
        )
    if len(came) == len(expected) - 1 and _takes(expected[1:], came):
        return Advice(
            f"{data.name}x has the shape {came}: it is a single sample, without an axis of "
            "samples.",
            wanted,
            "x = x[np.newaxis].",
        )
    return Advice(
        f"{data.name}x has the shape {came}, but the model takes {expected}.",
        wanted,
        f"keras.Input({_without_batch(came)}) in the model, or x with {expected[-1]} in the last "
        "axis.",
    )


def _repeated(channels: int | None) -> str:
    return f"x = np.repeat(x[..., np.newaxis], {channels}, axis=-1)."


def _without_batch(shape: tuple) -> tuple:
    return shape[1:]


def _takes(expected: tuple, came: tuple) -> bool:
    """Return whether a shape agrees with what a model takes, where both are known."""
    return len(expected) == len(came) and all(
        None in sizes or sizes[0] == sizes[1] for sizes in zip(expected[1:], came[1:], strict=True)
    )


def index_beyond_table(failure: Failure, found: re.Match[str]) -> Advice | None:
    """A token is as large as the table of an embedding, or larger."""
    index, size = map(int, found.groups())
    embeddings = [
        layer.name
        for layer in getattr(failure.model, "layers", [])
        if isinstance(layer, keras.layers.Embedding) and layer.input_dim == size
    ]
    if embeddings:
        return Advice(
            f"x holds {index}, but the layer {embeddings[0]!r} has the rows 0 to {size - 1}.",
            f"integers from 0 to {size - 1} in x.",
            f"Embedding(input_dim={index + 1}, ...): the largest index and 1 more.",
        )
    weights = failure.arguments.get("class_weight")
    if weights and max(weights) + 1 == size:
        return Advice(
            f"the data hold the class {index}, class_weight only the classes up to {size - 1}.",
            "a weight for every class: on a dataset fit looks it up in a table.",
            f"class_weight={{**class_weight, {index}: 1.0}}.",
        )
    return None


def shapes_of_batches(failure: Failure, _: re.Match[str]) -> Advice:
    """A generator yields batches whose shapes differ in more than the number of samples."""
    return Advice(
        "a later batch of the generator has another shape than its first two.",
        "every axis but the first of the same size, or different already in the first two batches.",
        "pad the samples: keras.utils.pad_sequences(x, maxlen=...).",
    )


def objects(failure: Failure, _: re.Match[str]) -> Advice | None:
    """An array holds Python objects, or text: rows of different lengths, mixed columns."""
    for data in failure.data:
        for name, value in (("x", data.x), ("y", data.y)):
            for leaf in keras.tree.flatten(value):
                if getattr(leaf, "dtype", None) == object and len(leaf):
                    return _advice_on_objects(f"{data.name}{name}", leaf)
    return None


def _advice_on_objects(name: str, array: Any) -> Advice:
    first = array.flat[0]
    mistake = f"{name} is an array of Python objects, the first of type {type(first).__name__}."
    if hasattr(first, "__len__") and not isinstance(first, str):
        lengths = sorted({len(row) for row in array.flat})
        return Advice(
            f"{name} holds rows of {lengths[0]} to {lengths[-1]} values: NumPy makes objects of "
            "them.",
            "rows of the same length.",
            f"{name} = keras.utils.pad_sequences({name}, dtype='float32').",
        )
    return Advice(mistake, "numbers.", f'{name} = {name}.astype("float32").')


def input_shapes(model: Any) -> list[tuple]:
    """Return the shape of each input, `(None, ...)`; [] for a model that does not say."""
    return [tuple(tensor.shape) for tensor in getattr(model, "inputs", None) or []]
