"""The class of exactness of the very fits that were timed: column "class"."""

from dataclasses import dataclass, field
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

    @property
    def values(self) -> list[np.ndarray]:
        """All that is compared."""
        return [*self.variables, *self.returned]


def state_of(model: keras.Model, returned: Any = None) -> State:
    """Copy the state of a model.

    Args:
        model: A model that was trained, evaluated or asked for predictions.
        returned: What the last call returned. A History and the dict of lists that a loop may
            return in its place are left out: they hold the logs of a fit.
    """
    variables = [as_array(variable) for variable in model.variables]
    if returned is None or isinstance(returned, keras.callbacks.History | dict):
        return State(variables, steps_taken(model))
    leaves = keras.tree.flatten(returned)
    return State(variables, steps_taken(model), [np.asarray(leaf) for leaf in leaves])


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
        `exact` where all variables, and what was returned, have the bits of the reference,
        "exact-xla" where they have those of `under_xla`, else "close" and the relative L2 distance
        of all floats; "-" where another number of steps was trained, or other variables.
    """
    if _shapes(trained) != _shapes(reference) or trained.steps != reference.steps:
        return "-"
    if _same_bits(trained, reference):
        return exact
    if under_xla is not None and _same_bits(trained, under_xla):
        return "exact-xla"
    return f"close, {_distance(trained, reference):.0e}"


def _shapes(state: State) -> list[tuple]:
    return [(value.shape, value.dtype) for value in state.values]


def _same_bits(one: State, other: State) -> bool:
    pairs = zip(one.values, other.values, strict=True)
    return all(a.tobytes() == b.tobytes() for a, b in pairs)


def _distance(trained: State, reference: State) -> float:
    """Return the L2 norm of the difference, divided by that of the reference."""
    ours, theirs = (
        np.concatenate([value.ravel() for value in state.values if value.dtype.kind == "f"])
        for state in (trained, reference)
    )
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))
