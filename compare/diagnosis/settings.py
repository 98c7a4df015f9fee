"""Rules read off what was observed: settings of the optimizer, a factor of the gradients."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np

from compare.diagnosis import mistakes
from compare.diagnosis.broken import Break, BrokenRule, FitCall, in_test_step, in_train_step
from compare.diagnosis.observed import Observed
from compare.diagnosis.rules import BROKEN

NAMES = {
    "clipnorm": "gradient_clipping",
    "clipvalue": "gradient_clipping",
    "global_clipnorm": "gradient_clipping",
    "weight_decay": "weight_decay",
}
"""The rule that a setting belongs to, where the candidate's is None."""

LIKE = 1e-3
"""How close two factors have to be to be the same, relative to their size."""


def optimizer_rules(
    theirs: keras.optimizers.Optimizer | None, ours: keras.optimizers.Optimizer | None
) -> list[BrokenRule]:
    """Return a rule for each setting in which a candidate's optimizer is not the compiled one.

    Args:
        theirs: The optimizer that fit applies.
        ours: The optimizer that the candidate applies.
    """
    if theirs is None or ours is None or theirs is ours:
        return []
    if type(theirs) is not type(ours):
        return [_another_optimizer(theirs, ours)]
    configs = theirs.get_config(), ours.get_config()
    return [
        _setting(name, configs[0][name], configs[1].get(name))
        for name in configs[0]
        if name != "name" and not _equal(configs[0][name], configs[1].get(name))
    ]


def _equal(first: Any, second: Any) -> bool:
    if isinstance(first, float) and isinstance(second, float):
        return math.isclose(first, second, rel_tol=1e-6)
    return bool(first == second)


def _setting(name: str, theirs: Any, ours: Any) -> BrokenRule:
    known = NAMES.get(name)
    if known and ours is None:
        return BROKEN[known]
    if name == "epsilon" and ours == 1e-8:
        return BROKEN["optimizer_epsilon"]
    return BrokenRule(
        f"optimizer_{name}",
        f"sets {name}={_brief(ours)} in its optimizer, where fit has {_brief(theirs)}",
        f"optimizer.{name} = {_brief(theirs)}",
        "keras.optimizers.Optimizer.apply",
        _with_setting(name, ours),
        "update",
    )


def _another_optimizer(
    theirs: keras.optimizers.Optimizer, ours: keras.optimizers.Optimizer
) -> BrokenRule:
    names = type(theirs).__name__, type(ours).__name__

    def breaks(call: FitCall) -> None:
        call.model.optimizer = type(ours).from_config(ours.get_config())

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
        optimizer = call.model.optimizer
        config = {**optimizer.get_config(), name: value}
        call.model.optimizer = type(optimizer).from_config(config)

    return breaks


def _brief(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else repr(value)


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
    rest = float(np.linalg.norm(b - factor * a)) / max(float(np.linalg.norm(b)), 1e-30)
    size = max(map(len, candidate.batches), default=0)
    if rest > LIKE or abs(factor - 1) < LIKE or math.isclose(factor, size, rel_tol=LIKE):
        return []  # `mean_over_samples` is a rule of its own
    what = f"has gradients that are {factor:.4g} times those of fit in every weight"
    name, line = "gradient_factor", "loss = loss_fn(y, y_pred)  # differentiated as it is"
    if replicas > 1 and math.isclose(factor, replicas, rel_tol=LIKE):
        what = (
            f"takes the mean loss of each of {replicas} replicas, whose gradients are summed: they "
            f"are {replicas} times those of fit"
        )
        name, line = "replica_mean", "loss = loss / strategy.num_replicas_in_sync"
    breaks = in_train_step("minimized", mistakes.scaled_by(factor))
    return [BrokenRule(name, what, line, "keras.Model.train_step", breaks, "gradients")]


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
    if max(factors) - min(factors) > LIKE * abs(factors[0]) or abs(factors[0] - 1) < LIKE:
        return []
    factor = float(np.mean(factors))
    part = in_train_step if layer == "logs" else in_test_step
    return [
        BrokenRule(
            f"{'validation_' * (layer != 'logs')}log_factor",
            f"logs a {name} that is {factor:.4g} times that of fit in every epoch",
            "loss_mean.update_state(loss, sample_weight=len(x))",
            "keras.Model.train_step",
            part("logged", mistakes.logged_times(factor)),
            layer,
        )
    ]
