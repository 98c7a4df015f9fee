"""Rules read off what was observed: settings of optimizer and loss, a factor of the gradients."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np

from compare.diagnosis import mistakes, mistakes_in_logs
from compare.diagnosis.broken import (
    Break,
    BrokenRule,
    FitCall,
    in_steps,
    in_test_step,
    in_train_step,
)
from compare.diagnosis.by_hand import EXACT
from compare.diagnosis.observed import Observed
from compare.diagnosis.rates import brief, rate_rules, rebuilt, steps_by_hand
from compare.diagnosis.rules import BROKEN
from compare.diagnosis.trained import are_several, several_optimizers

NAMES = {
    "clipnorm": "gradient_clipping",
    "clipvalue": "gradient_clipping",
    "global_clipnorm": "gradient_clipping",
    "weight_decay": "weight_decay",
}
"""The rule that a setting belongs to, where the candidate's is None."""


def optimizer_rules(base: Observed, candidate: Observed) -> list[BrokenRule]:
    """Return a rule for each setting in which a candidate's optimizer is not the compiled one.

    Args:
        base: Our engine with the causes found so far.
        candidate: The candidate.
    """
    theirs, ours = base.optimizer, candidate.optimizer
    if ours is None:
        return steps_by_hand(base, candidate)
    if theirs is None:
        return []
    if are_several(candidate):
        return [several_optimizers(base, candidate)]
    rates = rate_rules(base, candidate)
    is_scaled = [isinstance(it, keras.optimizers.LossScaleOptimizer) for it in (theirs, ours)]
    found = [NO_LOSS_SCALE] if is_scaled == [True, False] else []
    if is_scaled[0]:  # otherwise the candidate's scaling is another optimizer
        theirs, ours = (getattr(it, "inner_optimizer", it) for it in (theirs, ours))
    if type(theirs) is not type(ours):
        return [_another_optimizer(theirs, ours, candidate.rates), *rates]
    configs = theirs.get_config(), ours.get_config()
    names = [name for name in configs[0] if name not in ("name", "learning_rate")]
    return [
        *found,
        *rates,
        *(
            _setting(name, configs[0][name], configs[1].get(name))
            for name in names
            if not _equal(configs[0][name], configs[1].get(name))
        ),
    ]


def _without_loss_scale(call: FitCall) -> None:
    inner = getattr(call.model.optimizer, "inner_optimizer", None)
    if inner is not None:
        call.model.optimizer = type(inner).from_config(inner.get_config())


NO_LOSS_SCALE = BrokenRule(
    "no_loss_scale",
    "does not scale the loss of half precision: small gradients become 0 in float16",
    "optimizer = keras.optimizers.LossScaleOptimizer(optimizer)  # as compile does; and then\n"
    "    gradients = tape.gradient(optimizer.scale_loss(loss), weights)",
    "keras.optimizers.LossScaleOptimizer",
    _without_loss_scale,
    "gradients",
)


def loss_rules(base: Observed, candidate: Observed) -> list[BrokenRule]:
    """Return a rule if a candidate's loss is not the compiled one, as far as both are objects.

    Args:
        base: Our engine with the causes found so far.
        candidate: The candidate.
    """
    theirs, ours = base.run.taps.losses, candidate.run.taps.losses
    if len(ours) != 1 or len(theirs) != 1:
        return []
    configs = [of.get_config() for of in (theirs[0], ours[0])]
    settings = [name for name in configs[1] if name in configs[0] and name not in ("name", "fn")]
    other = [name for name in settings if not _equal(*(config[name] for config in configs))]
    values = [", ".join(f"{name}={config[name]!r}" for name in other) for config in configs]
    if type(theirs[0]) is type(ours[0]) and other:
        what = f"computes the loss with {values[1]}, where fit has {values[0]}"
    elif theirs[0].name != ours[0].name:
        what = f"minimizes {ours[0].name}, where the model is compiled with {theirs[0].name}"
    else:
        return []

    def computed(_: Any, __: keras.Model, y: Any, y_pred: Any, sample_weight: Any) -> Any:
        return ours[0](y, y_pred, sample_weight=sample_weight)

    line = "loss = model.compute_loss(x, y, y_pred, sample_weight)  # the loss of compile"
    mirrors = "keras.src.trainers.compile_utils.CompileLoss.call"
    breaks = in_steps("data_loss", computed)
    return [BrokenRule("another_loss", what, line, mirrors, breaks, "gradients")]


def _equal(first: Any, second: Any) -> bool:
    if isinstance(first, float) and isinstance(second, float):
        return math.isclose(first, second, rel_tol=1e-6)
    return bool(np.all(first == second))  # a setting may be an array


def _setting(name: str, theirs: Any, ours: Any) -> BrokenRule:
    known = NAMES.get(name)
    if known and ours is None:
        return BROKEN[known]
    if name == "epsilon" and (theirs, ours) == (1e-7, 1e-8):
        return BROKEN["optimizer_epsilon"]
    return BrokenRule(
        f"optimizer_{name}",
        f"sets {name}={brief(ours)} in its optimizer, where fit has {brief(theirs)}",
        f"optimizer.{name} = {brief(theirs)}",
        "keras.optimizers.Optimizer.apply",
        _with_setting(name, ours),
        "update",
    )


def _another_optimizer(
    theirs: keras.optimizers.Optimizer, ours: keras.optimizers.Optimizer, rates: list[float]
) -> BrokenRule:
    names = type(theirs).__name__, type(ours).__name__

    def breaks(call: FitCall) -> None:
        config = ours.get_config()
        if isinstance(config.get("learning_rate"), float) and rates:
            config["learning_rate"] = rates[0]  # it may have been changed by hand
        call.model.optimizer = type(ours).from_config(config)

    return BrokenRule(
        "another_optimizer",
        f"trains with {names[1]}, where the model is compiled with {names[0]}",
        "model.optimizer.apply_gradients(zip(gradients, weights))",
        "keras.optimizers.Optimizer.apply",
        breaks,
        "update",
    )


def _with_setting(name: str, value: Any) -> Break:
    def breaks(call: FitCall) -> None:
        call.model.optimizer = rebuilt(call.model.optimizer, **{name: value})

    return breaks


def scale_rule(base: Observed, candidate: Observed, step: int, replicas: int) -> list[BrokenRule]:
    """Return a rule if all gradients of a candidate are those of fit times one factor.

    Args:
        base: Our engine with the causes found so far.
        candidate: The candidate.
        step: The step whose gradients are compared.
        replicas: The number of replicas that the model trains on.
    """
    theirs, ours = base.gradients(step), candidate.gradients(step)
    names = [name for name in theirs if name in ours]
    a, b = (np.concatenate([run[name].ravel() for name in names]) for run in (theirs, ours))
    if not a.size or not float(a @ a):
        return []
    factor = float(a @ b / (a @ a))
    parts = candidate.accumulates
    rest = float(np.linalg.norm(b - factor * a)) / max(float(np.linalg.norm(b)), 1e-30)
    size = max(map(len, candidate.batches), default=0)
    is_sum = math.isclose(factor, size, rel_tol=EXACT) and parts != size
    if rest > EXACT or abs(factor - 1) < EXACT or is_sum:
        return []  # `mean_over_samples` is a rule of its own
    what = f"has gradients that are {factor:.4g} times those of fit in every weight"
    name, line = "gradient_factor", "loss = loss_fn(y, y_pred)  # differentiated as it is"
    found = [_loss_factor(factor)] if parts == replicas == 1 else []
    if replicas > 1 and math.isclose(factor, replicas, rel_tol=EXACT):
        what = (
            f"takes the mean loss of each of {replicas} replicas, whose gradients are summed: they "
            f"are {replicas} times those of fit"
        )
        name, line = "replica_mean", "loss = loss / strategy.num_replicas_in_sync"
    if parts > 1 and math.isclose(factor, parts, rel_tol=EXACT):
        what = (
            f"adds up the gradients of {parts} batches and applies the sum: it is {parts} times "
            "their mean, which fit applies"
        )
        name = "accumulated_sum"
        line = f"loss = loss_fn(y, y_pred) / {parts}  # so that {parts} gradients add up to a mean"
    breaks = in_train_step("minimized", mistakes.scaled_by(factor))
    return [BrokenRule(name, what, line, "keras.Model.train_step", breaks, "gradients"), *found]


def _loss_factor(factor: float) -> BrokenRule:
    """Return the rule that a loss is that of fit times a factor, in its gradients and its logs."""
    return BrokenRule(
        "loss_factor",
        f"computes a loss that is {factor:.4g} times that of fit: it may take a sum where the loss "
        "of compile takes a mean, or leave out a factor",
        "loss = model.compute_loss(x, y, y_pred, sample_weight)  # the loss of compile",
        "keras.losses.Loss.__call__",
        in_steps("data_loss", mistakes.loss_times(factor)),
        "gradients",
    )


def factor_rules(
    theirs: dict[str, list[float]], ours: dict[str, list[float]], name: str, layer: str
) -> list[BrokenRule]:
    """Return a rule if the loss that a candidate logs is that of fit times one factor.

    Args:
        theirs: The history of our engine with the causes found so far.
        ours: The history of the candidate.
        name: The log.
        layer: "logs" or "validation".
    """
    pairs = list(zip(theirs.get(name, []), ours.get(name, []), strict=False))
    if name not in ("loss", "val_loss") or len(pairs) < 2 or not all(a for a, _ in pairs):
        return []
    factors = [b / a for a, b in pairs]
    if max(factors) - min(factors) > EXACT * abs(factors[0]) or abs(factors[0] - 1) < EXACT:
        return []
    factor = float(np.mean(factors))
    part = in_train_step if layer == "logs" else in_test_step
    return [
        BrokenRule(
            f"{'validation_' * (layer != 'logs')}log_factor",
            f"logs a {name} that is {factor:.4g} times that of fit in every epoch",
            "loss_mean.update_state(loss, sample_weight=len(x))",
            "keras.Model.train_step",
            part("logged", mistakes_in_logs.logged_times(factor)),
            layer,
        )
    ]
