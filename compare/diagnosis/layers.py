"""How far two trainings are apart, layer by layer, and how much of it is rounding.

Rounding is measured, not assumed: the reference trains once more from weights that are one ulp off.
What differs no more than `ROUNDING` times as much as these two trainings is called rounding.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from compare.diagnosis.broken import FitCall
from compare.diagnosis.observed import Observed, Seen, Tensors

ROUNDING = 30.0
"""How many times the effect of one ulp still counts as rounding: loops round in every step anew."""

FAINT = 1e-4
"""Tensors smaller than this part of the largest one weigh less: their digits are rounding."""


Pair = Callable[[int], tuple[Any, Any]]
"""Gives a training, and the same from weights that are one ulp off, of at least so many steps or
epochs."""


@dataclass(frozen=True)
class Floor:
    """What rounding alone does to a training.

    It is measured where it is asked for: what differs by no more than `least` is rounding anyway.

    Attributes:
        base: The training.
        least: The smallest relative difference that can be more than rounding.
        steps: What the first steps do, twice, as `Observed`.
        epochs: What the first epochs leave behind, twice, as `Trace`.
    """

    base: Observed
    least: float
    steps: Pair
    epochs: Pair

    def gradients(self, step: int) -> float:
        """Return the largest relative distance of gradients that is rounding."""
        first, nudged = self.steps(step + 1)
        return self.rounding_of(tensor_distance(first.gradients(step), nudged.gradients(step)))

    def weights(self, step: int) -> float:
        """Return the largest relative distance of weights that is rounding."""
        return self.rounding_of(weight_distance(*self.steps(step + 1), step))

    def log(self, name: str, epoch: int) -> float:
        """Return the largest relative difference of a log that is rounding."""
        logs = [trace.history.get(name, []) for trace in self.epochs(epoch + 1)]
        values = [log[epoch] for log in logs if epoch < len(log)]
        return self.rounding_of(relative(*values) if len(values) == 2 else 0.0)

    def rounding_of(self, effect: float) -> float:
        """Return the largest distance that is rounding, of the distance that one ulp makes."""
        return ROUNDING * effect + self.least


def least_difference(model: keras.Model) -> float:
    """Return the smallest relative difference that can be more than rounding, by the dtypes."""
    dtypes = {layer.compute_dtype for layer in model.layers if layer.compute_dtype}
    eps = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23}
    return 32 * max([eps.get(dtype, 2.0**-23) for dtype in dtypes], default=2.0**-23)


def nudge(call: FitCall) -> None:
    """Move every weight by one ulp before a fit begins."""
    random = np.random.default_rng(0)
    shape = getattr(call.arguments.get("x"), "shape", None)
    if not call.model.built and shape is not None:
        with contextlib.suppress(Exception):  # a model may only know its shapes from a batch
            call.model.build((None, *shape[1:]))
    for weight in call.model.trainable_weights:
        value = keras.ops.convert_to_numpy(weight.value)
        if value.dtype in (np.float32, np.float64):
            towards = np.where(random.random(value.shape) < 0.5, np.inf, -np.inf)
            nudged = np.nextafter(value, towards.astype(value.dtype))
            weight.assign(np.where(value == 0, value, nudged))


def first_different_step(floor: Floor, candidate: Observed) -> tuple[str, int] | None:
    """Return the first captured step whose weights or gradients differ by more than rounding.

    Returns:
        "update" (the weights that the step begins with) or "gradients", and the step; None if all
        captured steps agree.
    """
    base = floor.base
    for step in common_steps(base, candidate):
        apart = weight_distance(base, candidate, step)
        if apart > floor.least and apart > floor.weights(step):
            return "update", step
        apart = tensor_distance(base.gradients(step), candidate.gradients(step))
        if apart > floor.least and apart > floor.gradients(step):
            return "gradients", step
    return None


def in_words(layer: str, step: int | str) -> str:
    """Return a place that `first_different_step` found, in words."""
    return f"the {'gradients' if layer == 'gradients' else 'weights at the start'} of step {step}"


def common_steps(first: Observed, second: Observed) -> list[int]:
    """Return the steps that were captured of both trainings."""
    steps = min(first.steps, second.steps)
    return [step for step in first.captured.steps if step < steps]


def tensor_distance(first: Tensors, second: Tensors) -> float:
    """Return the mean relative distance of tensors, 0 to 1; tensors that one lacks are left out."""
    names = [name for name in first if name in second and first[name].shape == second[name].shape]
    norms = {name: max(_norm(first[name]), _norm(second[name])) for name in names}
    floats = [name for name in names if _is_finite(first[name]) and _is_finite(second[name])]
    faint = FAINT * max((norms[name] for name in floats), default=0.0)
    found = [
        _norm(first[name] - second[name]) / (2 * norms[name] + faint)
        if name in floats
        else float(not np.array_equal(first[name], second[name], equal_nan=True))
        for name in names
        if norms[name]
    ]
    return float(np.mean(found)) if found else 0.0


def weight_distance(first: Seen, second: Seen, step: int) -> float:
    """Return how far the weights before a step are apart, relative to how far they have moved.

    At step 0 nothing has moved: the distance is relative to the weights themselves.
    """
    weights = first.weights(step), second.weights(step)
    if not step:
        return tensor_distance(*weights)
    start = first.weights(0)
    return tensor_distance(*(_moved(run, start) for run in weights))


def floats_of(variables: Tensors) -> Tensors:
    """Return the weights of a model without the states of seeds, which are integers."""
    return {
        name: value
        for name, value in variables.items()
        if "weights/" in name and value.dtype.kind == "f"
    }


def _is_finite(value: np.ndarray) -> bool:
    """Return whether a tensor holds floats that have distances."""
    return value.dtype.kind == "f" and bool(np.isfinite(value).all())


def _moved(weights: Tensors, start: Tensors) -> Tensors:
    """Return how far float weights have moved; integers, the states of seeds, as they are."""
    return {
        name: value.astype(np.float64) - start[name] if value.dtype.kind == "f" else value
        for name, value in weights.items()
    }


def relative(first: Any, second: Any) -> float:
    """Return the difference of two numbers relative to the larger one; infinite for other kinds."""
    try:
        a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    except (TypeError, ValueError):
        return 0.0 if first == second else np.inf
    if a.shape != b.shape:
        return np.inf
    if np.array_equal(a, b, equal_nan=True):
        return 0.0
    size = max(_norm(a), _norm(b))
    return float(_norm(a - b) / size) if np.isfinite(size) and size else np.inf


def _norm(value: np.ndarray) -> float:
    return float(np.linalg.norm(np.asarray(value, np.float64)))
