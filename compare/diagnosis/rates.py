"""Rules read off the learning rates of steps, and off how far steps move the weights."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np

from compare.diagnosis.broken import Break, BrokenRule, FitCall
from compare.diagnosis.by_hand import EXACT, short
from compare.diagnosis.layers import floats_of
from compare.diagnosis.observed import Observed


def rate_rules(base: Observed, candidate: Observed) -> list[BrokenRule]:
    """Return a rule if the learning rates of steps differ.

    Args:
        base: Our engine with the causes found so far.
        candidate: The candidate.
    """
    theirs, ours = base.rates, candidate.rates
    pairs = [*zip(theirs, ours, strict=False)]
    if all(math.isclose(*pair, rel_tol=1e-6) for pair in pairs):
        return []
    of_fit, of_loop = (_course(rates, base.ends) for rates in (theirs, ours))
    breaks = _with_rates(ours)
    if len({*ours}) == 1 and len({*theirs}) == 1:
        mistake = f"sets learning_rate={brief(ours[0])} in its optimizer, where fit has {of_fit}"
        return [_rule_of_rates("optimizer_learning_rate", mistake, f"= {brief(theirs[0])}", breaks)]
    if len({*ours}) == 1:
        mistake = f"keeps the learning rate at {of_loop}, where fit changes it {of_fit}"
        line = f"= {_of_fit(theirs, base.ends)}"
    elif len({*theirs}) == 1:
        mistake = f"changes the learning rate {of_loop}, where fit keeps {of_fit}"
        line = f"= {brief(theirs[0])}  # or fit(..., callbacks=[LearningRateScheduler(...)])"
    else:
        mistake = f"changes the learning rate {of_loop}, where fit changes it {of_fit}"
        line = f"= {_of_fit(theirs, base.ends)}"
        if _is_late(theirs, ours, base.ends):
            mistake += ": it sets the rate of an epoch once that epoch is over"
    return [_rule_of_rates("learning_rates", mistake, line, breaks)]


def steps_by_hand(base: Observed, candidate: Observed) -> list[BrokenRule]:
    """Return a rule if weights that are updated by hand move farther than those of fit, or less.

    Args:
        base: Our engine with the causes found so far.
        candidate: The candidate, which applies no optimizer.
    """
    if min(base.steps, candidate.steps) < 2 or not base.rates:
        return []
    starts = floats_of(base.weights(0))
    moves = [
        np.concatenate([(run.weights(1)[name] - starts[name]).ravel() for name in starts])
        for run in (base, candidate)
    ]
    size = float(moves[0] @ moves[0])
    factor = float(moves[0] @ moves[1]) / size if size else 1.0
    rest = float(np.linalg.norm(moves[1] - factor * moves[0]))
    if abs(factor - 1) < EXACT or rest > EXACT * float(np.linalg.norm(moves[1])):
        return []
    rate = short(factor * base.rates[0], EXACT)
    mistake = (
        f"updates weights by hand with a rate of {rate:g}, where fit has {brief(base.rates[0])}"
    )
    rates = [at_step * rate / base.rates[0] for at_step in base.rates]
    line = f"= {brief(base.rates[0])}  # and optimizer.apply_gradients(zip(gradients, weights))"
    return [_rule_of_rates("optimizer_learning_rate", mistake, line, _with_rates(rates))]


def _rule_of_rates(name: str, mistake: str, line: str, breaks: Break) -> BrokenRule:
    mirrors = "keras.optimizers.Optimizer.apply"
    return BrokenRule(name, mistake, f"optimizer.learning_rate {line}", mirrors, breaks, "update")


def _course(rates: list[float], ends: list[int]) -> str:
    """Return in words how learning rates go on."""
    if len({*rates}) == 1:
        return brief(rates[0])
    by_epoch = _by_epoch(rates, ends)
    course = by_epoch or rates
    some = ", ".join([*map(brief, course[:4]), *["..."] * (len(course) > 4)])
    return f"from {'epoch to epoch' if by_epoch else 'step to step'} ({some})"


def _by_epoch(rates: list[float], ends: list[int]) -> list[float]:
    """Return the learning rate of each epoch; [] if it changes within one."""
    starts = [0, *ends[:-1]]
    if any(len({*rates[start:end]}) > 1 for start, end in zip(starts, ends, strict=True)):
        return []
    return [rates[start] for start in starts if start < len(rates)]


def _of_fit(rates: list[float], ends: list[int]) -> str:
    """Return where fit takes its learning rates from, as the right side of a line."""
    if _by_epoch(rates, ends):
        return "rate_of(epoch)  # the one that fit has, before the first step of each epoch"
    return "schedule(optimizer.iterations)  # the one that fit has"


def _is_late(theirs: list[float], ours: list[float], ends: list[int]) -> bool:
    """Return whether each epoch of a loop has the learning rate of the epoch of fit before it."""
    of_fit, of_loop = (_by_epoch(rates, ends) for rates in (theirs, ours))
    pairs = [*zip(of_fit, of_loop[1:], strict=False)]
    return bool(pairs) and all(math.isclose(*pair, rel_tol=1e-6) for pair in pairs)


def _with_rates(rates: list[float]) -> Break:
    """Return a change of fit that sets the learning rate before each step."""

    class Rates(keras.callbacks.Callback):
        def __init__(self) -> None:
            super().__init__()
            self.left: list[float] = []

        def on_train_begin(self, logs: object = None) -> None:
            self.left = [*rates]

        def on_train_batch_begin(self, batch: int, logs: object = None) -> None:
            if self.left:
                self.model.optimizer.learning_rate = self.left.pop(0)

    def breaks(call: FitCall) -> None:
        optimizer = call.model.optimizer
        config = getattr(optimizer, "inner_optimizer", optimizer).get_config()
        if isinstance(config.get("learning_rate"), dict):  # a schedule cannot be set to a number
            call.model.optimizer = rebuilt(optimizer, learning_rate=rates[0])
        call.add_callback(Rates())

    return breaks


def rebuilt(optimizer: keras.optimizers.Optimizer, **settings: Any) -> keras.optimizers.Optimizer:
    """Return a new optimizer with other settings; those of one that scales the loss go inside."""
    config = optimizer.get_config()
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        config["inner_optimizer"]["config"] |= settings
    else:
        config |= settings
    return type(optimizer).from_config(config)


def brief(value: Any) -> str:
    """Return a number in six digits at most; anything else as Python writes it."""
    return f"{value:.6g}" if isinstance(value, float) else repr(value)
