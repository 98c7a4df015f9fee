"""The class of exactness of the very fits that were timed: column "class"."""

from dataclasses import dataclass, field, replace
from typing import Any

import keras
import numpy as np

from compare.recording.recorder import as_array, steps_taken


@dataclass(frozen=True)
class State:
    """What training has left in a model.

    Attributes:
        variables: Copies of `model.variables`, in their order.
        steps: Steps that its optimizer has counted, over all fits.
        returned: Predictions or logs that the last timed call returned; empty for a fit.
    """

    variables: list[np.ndarray]
    steps: int
    returned: list[np.ndarray] = field(default_factory=list)


def state_of(model: keras.Model, returned: Any = None) -> State:
    """Copy the state of a model.

    Args:
        model: A model that was trained, evaluated or asked for predictions.
        returned: What the last call returned, of which numbers are kept: predictions and logs. A
            History is none.
    """
    variables = [as_array(variable) for variable in model.variables]
    leaves = [np.asarray(leaf) for leaf in keras.tree.flatten(returned)]
    numbers = [leaf for leaf in leaves if leaf.dtype.kind in "fiub"]
    return State(variables, steps_taken(model), numbers)


def class_of(
    trained: State, reference: State, under_xla: State | None = None, exact: str = "exact"
) -> str:
    """Return how close a model is to the one that `model.fit` trained equally long.

    Args:
        trained: The model in question.
        reference: The model of `model.fit`.
        under_xla: The model of `model.fit` with `jit_compile=True`, where that was timed too.
        exact: What equality with the reference is called: "exact-xla" where XLA compiles it.

    Returns:
        `exact` where all variables have the bits of the reference, and so have the numbers that
        were returned, where the reference returned any; "exact-xla" where all have those of
        `under_xla`, else "close" and the relative L2 distance of all floats; "-" where another
        number of steps was trained, or other variables.
    """
    if not reference.returned:  # a fit: what a loop of a user's returns is its own affair
        trained = replace(trained, returned=[])
    if _shapes(trained) != _shapes(reference) or trained.steps != reference.steps:
        return "-"
    if _same_bits(trained, reference):
        return exact
    if under_xla is not None and _same_bits(trained, under_xla):
        return "exact-xla"
    return f"close, {_distance(trained, reference):.0e}"


def _values(state: State) -> list[np.ndarray]:
    return [*state.variables, *state.returned]


def _shapes(state: State) -> list[tuple]:
    return [(value.shape, value.dtype) for value in _values(state)]


def _same_bits(one: State, other: State) -> bool:
    pairs = zip(_values(one), _values(other), strict=True)
    return all(a.tobytes() == b.tobytes() for a, b in pairs)


def _distance(trained: State, reference: State) -> float:
    """Return the L2 norm of the difference, divided by that of the reference."""
    ours, theirs = (
        np.concatenate([value.ravel() for value in _values(state) if value.dtype.kind == "f"])
        for state in (trained, reference)
    )
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))
