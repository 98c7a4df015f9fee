"""Rules read off the gradients of several outputs: how a loop weighs their losses."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from compare.diagnosis import mistakes
from compare.diagnosis.broken import BrokenRule, patched
from compare.diagnosis.by_hand import EXACT, short
from compare.diagnosis.observed import Observed, Seen
from compare.diagnosis.rules import objective

MOST = 8
"""Up to so many outputs are trained one by one."""


def output_rules(
    candidate: Observed, step: int, outputs: int, train: Callable[[BrokenRule], Seen | None]
) -> list[BrokenRule]:
    """Return a rule if a candidate's gradients are those of single outputs, each times a factor.

    Args:
        candidate: The candidate.
        step: The step whose gradients are compared.
        outputs: How many losses fit adds up.
        train: Trains the first steps with a rule broken besides those that are known.
    """
    if not 1 < outputs <= MOST:
        return []
    runs = [train(_weighs([float(at == one) for at in range(outputs)])) for one in range(outputs)]
    gradients = [run.gradients(step) for run in runs if run is not None]
    ours = candidate.gradients(step)
    names = [name for name in ours if all(name in of for of in gradients)]
    if len(gradients) < outputs or not names:
        return []
    columns = [np.concatenate([of[name].ravel() for name in names]) for of in gradients]
    wanted = np.concatenate([ours[name].ravel() for name in names])
    factors = np.linalg.lstsq(np.stack(columns, 1), wanted, rcond=None)[0]
    rest = float(np.linalg.norm(wanted - np.stack(columns, 1) @ factors))
    if rest > EXACT * float(np.linalg.norm(wanted)):
        return []
    weights = [short(float(factor), EXACT) for factor in factors]
    return [] if weights == [1.0] * outputs else [_weighs(weights)]  # then they are left out


def _weighs(weights: list[float]) -> BrokenRule:
    words = ", ".join(f"{weight:g}" for weight in weights)
    return BrokenRule(
        "other_loss_weights",
        f"adds up the losses of outputs as with loss_weights=[{words}]: it weighs them otherwise "
        "than fit, or takes a sum where the loss of compile takes a mean",
        "loss = model.compute_loss(x, y, y_pred, sample_weight)  # the losses of compile",
        "keras.src.trainers.compile_utils.CompileLoss.call",
        patched(objective, "loss_terms", mistakes.with_loss_weights(weights)),
        "gradients",
    )
