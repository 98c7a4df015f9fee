"""Advice below errors: what came, what was expected, and the line to change.

Errors of a first step come from deep inside Keras or TensorFlow. `advised` wraps the functions that
people call. If such a function raises and the mistake is known, the error gets a note (PEP 678),
which Python prints below the error's own text. The error itself, its class, its text and its
traceback stay. A call that succeeds pays nothing. docs/errors.md lists the mistakes.
"""

import contextlib
import functools
import inspect
import re
import traceback
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

import keras

from loop.advice import inputs, steps, targets
from loop.advice.failure import Advice, Failure, failure_of

P = ParamSpec("P")
R = TypeVar("R")

Advise = Callable[[Failure, re.Match[str]], Advice | None]

_SHAPES = r".*target\.shape=\((?P<target>.*?)\), output\.shape=\((?P<output>.*?)\)"

RULES: tuple[tuple[str, Advise], ...] = (
    (r"None values not supported|value \(None\)|NoneType' object has no", targets.no_targets),
    (
        r"label value of (-?\d+) which is outside the valid range of \[0, (\d+)\)",
        targets.label_out_of_range,
    ),
    (r"`target\.ndim - 1`" + _SHAPES, targets.one_hot_for_classes),
    (r"must have the same (?:rank|shape)" + _SHAPES, targets.shapes_of_a_crossentropy),
    (
        r"Dimensions must be equal|ncompatible shapes: \[[\d,]+\] vs. \[[\d,]+\]|broadcastable",
        targets.shapes_of_a_difference,
    ),
    (r"different structures|can't be found in|of type 'str'", targets.number_of_targets),
    (r"Cast string to float", targets.text),
    (r"Unrecognized data type|Data cardinality is ambiguous", inputs.no_arrays),
    (
        r"expects (\d+) (?:named )?input\(s\).*?received (\d+) input tensors",
        inputs.number_of_inputs,
    ),
    (r"Missing data for input|structure of `inputs` doesn't match", inputs.names_of_inputs),
    (
        r"expected (?:axis|shape|ndim|min_ndim|max_ndim)|Invalid input shape|Negative dimension",
        inputs.shape_of_inputs,
    ),
    (r"indices\[.*?\] = (-?\d+) is not in \[0, (\d+)\)", inputs.index_beyond_table),
    (r"Generator yielded an element of shape", inputs.shapes_of_batches),
    (r"Data is expected to be in format", inputs.parts_of_batches),
    (r"arrays must be at least rank 1", inputs.numbers_in_batches),
    (r"Invalid dtype: object|Unsupported object type", inputs.objects),
    (r"in loss dict|can't be found in|NoneType' object is not iterable", steps.keys_of_losses),
    (r"Invalid `((?:weighted_)?metrics)`", steps.keys_of_metrics),
    (r"Could not interpret (loss|metric) identifier: (\w+)", steps.unknown_name),
    (
        r"interpreted as an integer|can only concatenate str|has no attribute 'get'",
        steps.weights_of_classes,
    ),
    (r"must be integer or None", steps.batch_size_that_is_no_integer),
    (r"required positional argument|has no attribute 'set_model'", steps.no_callback),
    (r"singleton tf\.Variables?|non-first call", steps.variables_in_a_step),
    (r"No gradients provided", steps.no_gradients),
    (r"'SymbolicTensor'|[Uu]sing a symbolic|convert a symbolic", steps.python_in_a_step),
    (r"has type (\w+) that does not match type (\w+)", steps.dtypes_in_a_step),
    (r"OOM when allocating", steps.out_of_memory),
)
"""What texts of errors are about: a pattern, and the function that gives advice if it agrees."""

HEAD = "loop: "
"""How a note of ours begins."""


def advised(function: Callable[P, R]) -> Callable[P, R]:
    """Return the function; errors that it raises get a note if the mistake is known."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        with advice_on(lambda: inspect.signature(function).bind(*args, **kwargs).arguments):
            return function(*args, **kwargs)

    return call


@contextlib.contextmanager
def advice_on(arguments: Callable[[], dict[str, Any]]) -> Iterator[None]:
    """Add a note to an error of the block if the mistake is known.

    Args:
        arguments: Returns the arguments of the call, by name.
    """
    try:
        yield
    except Exception as error:
        with contextlib.suppress(Exception):  # a mistake in here must not take the error's place
            add_advice(error, arguments())
        raise


def add_advice(error: Exception, arguments: dict[str, Any]) -> None:
    """Add a note to an error of a call, unless it has one or the mistake is unknown.

    Args:
        error: The error.
        arguments: The arguments of the call, by name.
    """
    if any(note.startswith(HEAD) for note in getattr(error, "__notes__", [])):
        return  # from an inner call: a callback may evaluate the model
    if _is_from_a_callback(error):
        return  # perhaps from another model, which the arguments say nothing about
    failure = failure_of(error, arguments)
    for pattern, advise in RULES:
        found = re.search(pattern, failure.text, re.DOTALL)
        if found and (advice := advise(failure, found)):
            error.add_note(
                f"{HEAD}{advice.mistake}\n"
                f"  Came:     {failure.came}.\n"
                f"  Expected: {advice.expected}\n"
                f"  Change:   {advice.change}"
            )
            return


def _is_from_a_callback(error: Exception) -> bool:
    """Return whether an error was raised below a hook of a callback."""
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    return any(
        isinstance(frame.f_locals.get("self"), keras.callbacks.Callback)
        and frame.f_code.co_name.startswith("on_")
        for frame in frames
    )
