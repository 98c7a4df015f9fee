"""Rules read off gradients and weights: what a loop does to them by hand.

Each is read off one step, and then tested by training with it, like any other rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import keras
import numpy as np

from compare.diagnosis import mistakes
from compare.diagnosis.broken import Break, BrokenRule, FitCall, in_train_step
from compare.diagnosis.clipping import KINDS, clip
from compare.diagnosis.layout import place_of
from compare.diagnosis.observed import Observed, Tensors

EXACT = 1e-3
"""How well a number read off tensors has to explain them, relative to their size."""

NOISE = 1e-6
"""Relative differences of gradients that are rounding, where a factor is read off."""


def gradient_rules(base: Observed, candidate: Observed, step: int) -> Iterator[BrokenRule]:
    """Yield rules for what a candidate does to the gradients of a step by hand.

    Args:
        base: Our engine with the causes found so far.
        candidate: The candidate.
        step: The step whose gradients differ.
    """
    yield from _clips(base.raw_gradients(step), candidate.gradients(step))
    yield from _penalties(base, candidate, step)
    yield from _factors(base, candidate, step)


def _clips(theirs: Tensors, ours: Tensors) -> Iterator[BrokenRule]:
    """Yield rules for the ways of clipping that make one set of gradients of the other."""
    names = [name for name in theirs if name in ours and theirs[name].any()]
    norms = {name: float(np.linalg.norm(ours[name])) for name in names}
    if not any(norms.values()):
        return
    limits = {
        "clipvalue": max(float(np.abs(ours[name]).max()) for name in names),
        "clipnorm": max(norms.values()),
        "global_clipnorm": float(np.linalg.norm([*norms.values()])),
    }
    calls = {
        "clipvalue": "[tf.clip_by_value(g, -{0}, {0}) for g in gradients]",
        "clipnorm": "[tf.clip_by_norm(g, {0}) for g in gradients]",
        "global_clipnorm": "tf.clip_by_global_norm(gradients, {0})[0]",
    }
    for kind, limit in limits.items():
        limit = short(limit, EXACT / 10)
        given = clip(kind, limit, [theirs[name] for name in names])
        parts = [(ours[name], np.asarray(g)) for name, g in zip(names, given, strict=True)]
        noise = NOISE * limits["global_clipnorm"]
        digits = f"{limit:g}".replace(".", "").strip("0")
        if len(digits) < 3 and all(_is_close(*pair, noise) for pair in parts):
            call = calls[kind].format(f"{limit:g}")
            yield BrokenRule(
                f"{kind}_by_hand",
                f"clips gradients by hand, as {kind}={limit:g} does, which fit does not",
                f"optimizer = keras.optimizers.Adam({kind}={limit:g})  # in compile, or without "
                f"{call.split('(')[0].strip('[')} in the loop",
                "keras.optimizers.Optimizer.apply",
                partial(_clipped_by_hand, kind, limit),
                "gradients",
            )


def _factors(base: Observed, candidate: Observed, step: int) -> Iterator[BrokenRule]:
    """Yield a rule if the gradients of some weights are those of fit times a factor."""
    theirs, ours = base.gradients(step), candidate.gradients(step)
    factors: dict[int, float] = {}
    noise = _noise(theirs)
    theirs = {name: value for name, value in theirs.items() if np.linalg.norm(value) > noise}
    for name, gradient in theirs.items():
        size = float(np.vdot(gradient, gradient))
        factor = float(np.vdot(gradient, ours[name])) / size
        if np.linalg.norm(ours[name] - factor * gradient) > EXACT * np.linalg.norm(ours[name]):
            return
        if abs(factor - 1) > EXACT:
            factors[place_of(name)] = short(factor, EXACT)
    if len({*factors.values()}) != 1 or len(factors) == len(theirs):
        return
    (factor, *_), places = factors.values(), sorted(factors)
    trained = sorted(base.trained)

    def given(original: Callable[..., Any], gradients: list[Any]) -> list[Any]:
        pairs = zip(trained, original(gradients), strict=True)
        return [g if g is None else g * factors.get(place, 1.0) for place, g in pairs]

    yield BrokenRule(
        "factors_of_gradients",
        f"multiplies the gradients of {_named(places, base)} by {factor:g}",
        "optimizer.apply_gradients(zip(gradients, weights))  # gradients as the tape gives them",
        "keras.Model.train_step",
        in_train_step("given", given),
        "gradients",
    )


def _clipped_by_hand(kind: str, limit: float, call: FitCall) -> None:
    """Clip by hand only: the optimizer does not."""
    mistakes.optimizer_settings(**dict.fromkeys(KINDS))(call)
    in_train_step("given", mistakes.clipped(kind, limit))(call)


def _penalties(base: Observed, candidate: Observed, step: int) -> Iterator[BrokenRule]:
    """Yield rules for a penalty on squares of weights: it adds each weight times one factor."""
    weights = {place_of(name): value for name, value in base.weights(step).items()}
    more = {
        place_of(name): candidate.gradients(step)[name] - gradient
        for name, gradient in base.gradients(step).items()
        if name in candidate.gradients(step)
    }
    noise = _noise(base.gradients(step))
    for factor, places in _multiples(more, weights, noise):
        l2 = short(factor / 2, EXACT)
        yield BrokenRule(
            "penalty_by_hand",
            f"adds {l2:g} times the squares of {_named(places, base)} to the loss: an L2 penalty "
            "besides what the model adds itself",
            f"keras.layers.Dense(..., kernel_regularizer=keras.regularizers.L2({l2:g}))  # in the "
            "model, or no penalty in the loop",
            "keras.src.trainers.trainer.Trainer._aggregate_additional_loss",
            in_train_step("added_losses", mistakes.penalty(places, l2)),
            "gradients",
        )


def decay_rules(base: Observed, candidate: Observed, step: int) -> Iterator[BrokenRule]:
    """Yield rules for a decay of weights by hand, before the update of a step or after it.

    Args:
        base: Our engine with the causes found so far.
        candidate: The candidate.
        step: The step whose weights differ at its start.
    """
    if not step or step - 1 not in base.captured.steps:
        return
    starts, ends = base.weights(step - 1), base.weights(step)
    ours = candidate.weights(step)
    less = {place_of(name): ends[name] - ours[name] for name in ends if name in ours}
    for is_after, of in ((False, starts), (True, ends)):
        weights = {place_of(name): value for name, value in of.items()}
        for factor, places in _multiples(less, weights, _noise(of)):
            decay = short(factor, EXACT)
            rate = candidate.rates[step - 1] if candidate.rates else 0.0
            by_rate = decay / rate if rate else decay
            yield BrokenRule(
                "decay_by_hand",
                f"subtracts {decay:g} times {_named(places, base)} in each step besides the "
                "update: a weight decay that fit does not have",
                f"optimizer = keras.optimizers.Adam(..., weight_decay={short(by_rate, EXACT):g})  "
                "# in compile, or no decay in the loop",
                "keras.optimizers.Optimizer.apply",
                _decaying(places, decay, is_after),
                "update",
            )


def _decaying(places: list[int], decay: float, is_after: bool) -> Break:
    """Return a change of fit that subtracts a part of some variables in each step."""

    class Decay(keras.callbacks.Callback):
        def _variables(self) -> list[keras.Variable]:
            return [self.model.variables[place] for place in places]

        def on_train_batch_begin(self, batch: int, logs: object = None) -> None:
            self.before = [keras.ops.copy(variable.value) for variable in self._variables()]

        def on_train_batch_end(self, batch: int, logs: object = None) -> None:
            for variable, before in zip(self._variables(), self.before, strict=True):
                variable.assign_sub(decay * (variable.value if is_after else before))

    def breaks(call: FitCall) -> None:
        call.add_callback(Decay())

    return breaks


def _multiples(
    differences: dict[int, np.ndarray], weights: dict[int, np.ndarray], noise: float
) -> Iterator[tuple[float, list[int]]]:
    """Yield the factor by which differences are multiples of weights, and of which weights.

    Weights that are 0, or too small to tell, are counted as those that do, and then left out.

    Args:
        differences: What is to be explained, by place of the weight.
        weights: The weights.
        noise: The norm of a difference that is rounding.
    """
    found: dict[int, float] = {}
    unknown: list[int] = []
    faint: dict[int, float] = {}
    for place, difference in differences.items():
        weight = np.asarray(weights.get(place, 0.0), np.float64)
        if weight.shape != difference.shape or weight.dtype.kind != "f":
            continue
        if not weight.any():
            unknown.append(place)
            if np.linalg.norm(difference) > noise:
                return
            continue
        factor = float(np.vdot(difference, weight) / np.vdot(weight, weight))
        rest = float(np.linalg.norm(difference - factor * weight))
        if rest > 0.02 * float(np.linalg.norm(difference)) + noise:
            return
        if float(np.linalg.norm(difference)) > 2 * noise:
            found[place] = factor
        else:
            faint[place] = float(np.linalg.norm(weight))
    if not found or max(found.values()) - min(found.values()) > 0.02 * abs(max(found.values())):
        return
    if min(found.values()) < 0:  # what makes weights larger is no penalty and no decay
        return
    sizes = {place: float(np.linalg.norm(weights[place])) for place in found}
    factor = float(np.average([*found.values()], weights=[sizes[place] for place in found]))
    unknown += [place for place, size in faint.items() if abs(factor) * size < 4 * noise]
    yield factor, sorted([*found, *unknown])
    if unknown:
        yield factor, sorted(found)


def short(value: float, within: float) -> float:
    """Return the number of fewest digits that is as good as a value, relative to its size."""
    for digits in range(1, 7):
        rounded = float(f"{value:.{digits}g}")
        if abs(rounded - value) <= within * abs(value):
            return rounded
    return value


def _named(places: list[int], run: Observed) -> str:
    """Return the names of weights, or "all weights"."""
    names = run.names
    floats = [place_of(name) for name, value in run.weights(0).items() if value.dtype.kind == "f"]
    if {*floats} <= {*places}:
        return "all weights"
    kinds = {names[place].split("/")[-1] for place in places}
    if len(kinds) == 1 and sum(names[place].endswith(min(kinds)) for place in floats) == len(
        places
    ):
        return f"the weights named {min(kinds)}"
    return ", ".join(names[place] for place in places)


def _noise(tensors: Tensors) -> float:
    """Return the norm of a difference that is rounding, beside tensors of these norms."""
    return NOISE * max((float(np.linalg.norm(tensor)) for tensor in tensors.values()), default=0.0)


def _is_close(first: np.ndarray, second: np.ndarray, noise: float) -> bool:
    return bool(np.linalg.norm(first - second) <= EXACT * np.linalg.norm(first) + noise)
