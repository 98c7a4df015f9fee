"""What is known when a call fails: the text of the error, the data and the model, described."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from loop.data import kind_of
from loop.types import Structure

MOST_PARTS = 6
"""The most entries of a list that are described one by one."""

Shape = tuple[Any, ...]
"""A shape: a size for each axis, None where it is unknown."""


class Advice(NamedTuple):
    """What to say below the text of an error.

    Attributes:
        mistake: What is wrong, in a line.
        expected: What was expected in its place.
        change: The line to change.
    """

    mistake: str
    expected: str
    change: str


class Data(NamedTuple):
    """The training or the validation data of a call that failed.

    Attributes:
        name: How messages refer to it: "" or "validation ".
        kind: What yields the batches, for example "tf.data.Dataset"; None for arrays.
        x: Inputs: arrays `[samples, ...]`, or specs `[batch, ...]` of what a dataset yields.
        y: Targets in the same form. None if there are none, or if only a batch would tell.
        sample_weight: Sample weights in the same form.
        is_known: Whether the shapes of `x` and `y` are known without drawing a batch.
    """

    name: str
    kind: str | None
    x: Structure
    y: Structure
    sample_weight: Structure
    is_known: bool

    def __str__(self) -> str:
        if not self.is_known:
            return f"{self.name}batches from a {self.kind}"
        parts = {"x": self.x, "y": self.y, "sample_weight": self.sample_weight}
        if self.sample_weight is None:
            del parts["sample_weight"]
        text = ", ".join(f"{self.name}{name} {described(part)}" for name, part in parts.items())
        return f"{text} from a {self.kind}" if self.kind else text


class Failure(NamedTuple):
    """A call that failed.

    Attributes:
        text: The text of the error.
        arguments: The arguments of the call, by name.
        model: The model; anything, if the mistake is that it is none.
        data: The training data, then the validation data if there are any.
    """

    text: str
    arguments: dict[str, Any]
    model: Any
    data: list[Data]

    @property
    def came(self) -> str:
        """The data and the outputs of the model, in a line."""
        outputs = output_shapes(self.model)
        returns = f"; the model returns {_joined(outputs)}" if outputs else ""
        return ", ".join(map(str, self.data)) + returns


def failure_of(error: Exception, arguments: dict[str, Any]) -> Failure:
    """Return what is known of a call that raised an error, from the arguments of the call."""
    given = [arguments.get(name) for name in ("x", "y", "sample_weight")]
    data = [data_of("", *given)]
    if (validation := arguments.get("validation_data")) is not None:
        data.append(data_of("validation ", *keras.utils.unpack_x_y_sample_weight(validation)))
    return Failure(str(error), arguments, arguments.get("model"), data)


def data_of(name: str, x: Structure, y: Structure, sample_weight: Structure) -> Data:
    """Return what is known of data: arrays themselves, the specs of a dataset, or its kind only."""
    kind = kind_of(x)
    if isinstance(x, tf.data.Dataset):
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(x.element_spec)
        return Data(name, kind, x, y, sample_weight, is_known=True)
    x, y, sample_weight = map(_without_pandas, (x, y, sample_weight))
    return Data(name, kind, x, y, sample_weight, is_known=kind is None)


def _without_pandas(value: Structure) -> Structure:
    """Return a frame or a series of pandas as an array, anything else unchanged."""
    return np.asarray(value) if hasattr(value, "iloc") else value


def described(value: Structure) -> str:
    """Return dtypes and shapes of a structure, or its type if it holds no arrays."""
    if isinstance(value, dict) and value:
        return "{" + ", ".join(f"{name!r}: {described(part)}" for name, part in value.items()) + "}"
    if isinstance(value, list | tuple) and value:
        if len(value) <= MOST_PARTS and all(map(has_shape, keras.tree.flatten(value))):
            return _joined(map(described, value))
        first = f"arrays, the first {described(value[0])}"
        what = first if has_shape(value[0]) else f"objects of type {type(value[0]).__name__}"
        return f"a {type(value).__name__} of {len(value)} {what}"
    if has_shape(value):
        return f"{getattr(value.dtype, 'name', value.dtype)} {shape_of(value)}"
    return "None" if value is None else f"a {type(value).__name__}"


def shape_of(value: Any) -> Shape:
    """Return the shape of an array or a spec, with None for sizes that are unknown."""
    return tuple(value.shape)


def has_shape(value: Any) -> bool:
    """Return whether a value is an array or the spec of one."""
    return hasattr(value, "shape") and hasattr(value, "dtype")


def is_text(value: Any) -> bool:
    """Return whether a value is an array, or the spec of one, that holds text."""
    if not has_shape(value):
        return False
    if isinstance(value.dtype, tf.DType):
        return value.dtype == tf.string
    return (
        value.dtype == np.dtype(object)
        and len(value) > 0
        and isinstance(value.flat[0], str | bytes)
    )


def single_arrays(failure: Failure) -> Iterator[Data]:
    """Yield the data whose targets are a single array of a known shape."""
    for data in failure.data:
        if data.is_known and has_shape(data.y):
            yield data


def output_shapes(model: Any) -> list[Shape]:
    """Return the shape of each output, `(None, ...)`; [] for a model that does not say."""
    return [tuple(output.shape) for output in getattr(model, "outputs", None) or []]


def output_shape(model: Any) -> Shape | None:
    """Return the shape of the output, `(None, ...)`; None if unknown or with several outputs."""
    shapes = output_shapes(model)
    return shapes[0] if len(shapes) == 1 else None


def is_complete(given: Structure, names: list[str]) -> bool:
    """Return whether a loss or a target is given for each output, by name or in their order."""
    if isinstance(given, dict):
        return set(given) == set(names)
    return len(keras.tree.flatten(given)) == len(names)


def name_of(loss: Any) -> str:
    """Return the name of a loss that was given as text, function or object, in lower case."""
    name = loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)
    return name.lower()


def loss_of(model: Any) -> str:
    """Return the loss of a model for messages."""
    loss = model.loss
    return "its loss" if isinstance(loss, dict | list | tuple) else f"the loss {name_of(loss)}"


def _joined(parts: Iterable[Any]) -> str:
    texts = [str(part) for part in parts]
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
