"""What loops commonly do to inputs before they train on them, and fit does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from compare.diagnosis.broken import BrokenRule, FitCall
from compare.diagnosis.observed import Observed
from compare.diagnosis.samples import Samples, prints_of

Prepare = Callable[[np.ndarray], np.ndarray]

COMMON: dict[str, Prepare] = {
    "x / 255": lambda x: x / np.float32(255),
    "x / 255, in float64": lambda x: x / np.float64(255),
    "x * (1 / 255)": lambda x: x * np.float32(1 / 255),
    "x / 256": lambda x: x / np.float32(256),
    "x / 127.5 - 1": lambda x: x / np.float32(127.5) - np.float32(1),
    "(x - 127.5) / 127.5": lambda x: (x - np.float32(127.5)) / np.float32(127.5),
    "x * 255": lambda x: x * np.float32(255),
    "(x - x.mean()) / x.std()": lambda x: (x - x.mean()) / x.std(),
    "(x - x.mean(axis=0)) / x.std(axis=0)": lambda x: (x - x.mean(axis=0)) / x.std(axis=0),
}
"""What loops do to inputs, in words and as a function; integers come as float32."""


def preparation_of(candidate: Observed, samples: Samples) -> tuple[BrokenRule, Samples] | None:
    """Return the rule that a candidate prepares its inputs in a common way, and its samples.

    Args:
        candidate: The candidate.
        samples: The samples that fit is given.

    Returns:
        The rule and the samples as the candidate has them; None if it is no common way.
    """
    x, *rest = samples.arrays
    if not samples.in_order or any(leaf.dtype.kind not in "iubf" for leaf in keras.tree.flatten(x)):
        return None
    for words, prepare in COMMON.items():
        with np.errstate(all="ignore"):
            arrays = _applied(prepare, x), *rest
        prepared = replace(samples, arrays=arrays, prints=prints_of(arrays[0]))
        if all(prepared.places_of(batch) is not None for batch in candidate.batches):
            return _rule(words, prepare), prepared
    return None


def _rule(words: str, prepare: Prepare) -> BrokenRule:
    def breaks(call: FitCall) -> None:
        arguments = call.arguments
        arguments["x"] = _applied(prepare, arguments["x"])
        held_out = arguments.get("validation_data")
        if isinstance(held_out, tuple):
            arguments["validation_data"] = (_applied(prepare, held_out[0]), *held_out[1:])

    return BrokenRule(
        "prepared_inputs",
        f"feeds the model {words}, where fit is given x as it is",
        f"model.fit({words.split(',')[0]}, y, ...)  # the same inputs for both",
        "keras.Model.fit",
        breaks,
        "inputs",
    )


def _applied(prepare: Prepare, inputs: Any) -> Any:
    """Return inputs, prepared, as float32."""

    def prepare_leaf(leaf: Any) -> np.ndarray:
        array = np.asarray(leaf)
        array = array.astype("float32") if array.dtype.kind in "iub" else array
        return prepare(array).astype("float32")

    return keras.tree.map_structure(prepare_leaf, inputs)
