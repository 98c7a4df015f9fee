"""Why two trainings part: which rule of fit, when broken, gives the candidate's bits.

    for verdict in diagnose(scenario, my_fit):
        print(verdict)  # regularization_losses: leaves out ... (the very same bits)

Every rule of `compare.rules` that matters to the scenario is broken in turn, alone and then in
pairs, and what comes of it is held against the candidate.
"""

import itertools
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np

import loop
from compare.diagnosis.broken import Broken, fit_with
from compare.diagnosis.rules import RULES
from compare.recording.bits import same
from compare.recording.recorder import record
from compare.recording.trace import Trace, on_equal_terms
from compare.recording.trials import trained_by_both
from compare.scenario import Fit, Scenario

MUCH_CLOSER = 0.5
"""A rule counts where breaking it takes away half of the distance to the candidate, or more."""

PAIRED = 5
"""Rules that are broken in pairs, at most: those that came closest alone."""


@dataclass(frozen=True)
class Verdict:
    """One explanation of a difference; prints as a sentence and the line that is missing.

    Attributes:
        rule: The rule that the candidate breaks, like `regularization_losses`; two joined by "+".
        exact: Whether breaking it gives the candidate's history and weights, bit for bit; where
            these are the same without it, all that the candidate leaves behind.
        line: The line that is missing in the candidate.
        mirrors: The Keras function that has it.
        mistake: What the candidate does.
        closeness: How much of the distance it explains, 0 to 1.
    """

    rule: str
    exact: bool
    line: str
    mirrors: str
    mistake: str
    closeness: float

    def __str__(self) -> str:
        degree = "the very same bits" if self.exact else f"{self.closeness:.0%} of the difference"
        return f"{self.rule}: {self.mistake} ({degree})\n    {self.line}\n    see {self.mirrors}"


def diagnose(
    scenario: Scenario,
    candidate: Fit = loop.fit,
    reference: Fit | None = None,
    rules: Sequence[Broken] = RULES,
) -> list[Verdict]:
    """Finds the rules of fit that a candidate breaks.

    Args:
        scenario: What to train.
        candidate: Called as `candidate(model, **fit_arguments)`; returns a History or a dict.
        reference: The same; `keras.Model.fit` by default.
        rules: Those to suspect; all that are known by default.

    Returns:
        The verdicts, best first: those with the candidate's own bits, then those that come much
        closer to it than the reference does. Empty where the two are the same, or where no rule
        that is known explains it.

    Raises:
        CannotCompareError: There are no two trainings to compare, or the reference does not repeat
            itself.
    """
    trained = trained_by_both(scenario, candidate, reference or keras.Model.fit)
    if not trained.found:
        return []
    theirs, ours = on_equal_terms(*trained[:2])
    view = _view(theirs, ours)
    theirs, ours = view(theirs), view(ours)
    broken: dict[tuple[Broken, ...], Trace] = {}
    for rule in rules:
        trace = _broken(scenario, (rule,), view)
        if trace and not same(theirs, trace):  # otherwise the scenario does not need this rule
            broken[rule,] = trace
    if not any(same(trace, ours) for trace in broken.values()):
        near = sorted(broken, key=lambda those: distance(broken[those], ours))[:PAIRED]
        for one, other in itertools.combinations(near, 2):
            trace = _broken(scenario, one + other, view)
            if trace and same(trace, ours):
                broken[one + other] = trace
    before = distance(theirs, ours)
    found = [_verdict(those, trace, ours, before) for those, trace in broken.items()]
    found = [one for one in found if one.exact or one.closeness >= MUCH_CLOSER]
    return sorted(found, key=lambda verdict: (not verdict.exact, -verdict.closeness))


def _verdict(rules: tuple[Broken, ...], trace: Trace, ours: Trace, before: float) -> Verdict:
    return Verdict(
        rule="+".join(rule.rule for rule in rules),
        exact=same(trace, ours),
        line="; ".join(rule.line for rule in rules),
        mirrors=", ".join(dict.fromkeys(rule.mirrors for rule in rules)),
        mistake=", and ".join(rule.mistake for rule in rules),
        closeness=max(0.0, 1 - distance(trace, ours) / before) if before else 0.0,
    )


def _broken(
    scenario: Scenario, rules: tuple[Broken, ...], view: Callable[[Trace], Trace]
) -> Trace | None:
    """What comes of breaking rules; None where the scenario cannot be trained without them."""
    try:
        return view(record(scenario, partial(fit_with, rules), "epochs")[0])
    except Exception as error:  # a model may not stand it: shapes, dtypes, missing data
        names = "+".join(rule.rule for rule in rules)
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        warnings.warn(f"{scenario.name} cannot be trained without {names}: {what}", stacklevel=3)
        return None


def _view(theirs: Trace, ours: Trace) -> Callable[[Trace], Trace]:
    """What to look at: history and weights; where these are the same, everything."""
    if not same(_essence(theirs), _essence(ours)):
        return _essence
    return Trace.as_plain if ours.is_plain else lambda trace: trace


def _essence(trace: Trace) -> Trace:
    """What a training is about: its history and its weights."""
    weights = {
        name: value for name, value in trace.variables.items() if name.startswith("weights/")
    }
    return Trace(history=trace.history, variables=weights)


def distance(one: Trace, other: Trace) -> float:
    """How far two trainings are apart, 0 to 1: the mean relative distance of logs and weights."""
    pairs: list[tuple[dict, dict]] = [
        (one.history, other.history),
        (one.variables, other.variables),
    ]
    each = [
        _relative(a[name], b[name]) if name in a and name in b else 1.0
        for a, b in pairs
        for name in {**a, **b}
    ]
    return float(np.mean(each)) if each else 0.0


def _relative(one: Any, other: Any) -> float:
    try:
        a, b = (np.asarray(value, np.float64).ravel() for value in (one, other))
    except (TypeError, ValueError):  # no numbers
        return float(one != other)
    if a.shape != b.shape or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return 0.0 if np.array_equal(a, b, equal_nan=True) else 1.0
    size = np.linalg.norm(a) + np.linalg.norm(b)
    return float(np.linalg.norm(a - b) / size) if size else 0.0
