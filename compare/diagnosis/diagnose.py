"""Why two trainings diverge: which rule of fit, when broken, gives the candidate's bits.

    for verdict in diagnose(scenario, my_fit):
        print(verdict)  # regularization_losses: leaves out ... (the very same bits)

Every rule of `compare.diagnosis.rules` that matters to the scenario is broken in turn, alone and
then in pairs, and each training is compared with the candidate's.
"""

import itertools
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

import loop
from compare.diagnosis.broken import BrokenRule, fit_with
from compare.diagnosis.rules import RULES
from compare.recording.bits import same
from compare.recording.recorder import record
from compare.recording.trace import Trace, on_equal_terms
from compare.recording.trials import Trainings
from compare.scenario import Fit, Scenario

MUCH_CLOSER = 0.5
"""A rule is reported if breaking it removes at least this part of the distance to the candidate."""

PAIRED = 5
"""How many rules are also broken in pairs: those that came closest alone."""


@dataclass(frozen=True)
class Verdict:
    """One explanation of a difference; prints as a sentence and the missing line.

        best = diagnose(scenario, my_fit)[0]
        print(best.rule, best.exact, best.line)

    Attributes:
        rule: The rule that the candidate breaks, like `regularization_losses`; two joined by "+".
        exact: Whether breaking the rule gives the candidate's history and weights, bit for bit. If
            only other parts of the trace differ, whether it gives the whole trace.
        line: The line that is missing in the candidate.
        mirrors: The Keras function that has it.
        mistake: What the candidate does.
        closeness: The part of the distance that the rule explains, 0 to 1.
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
    rules: Sequence[BrokenRule] = RULES,
) -> list[Verdict]:
    """Find the rules of fit that a candidate breaks.

        for verdict in diagnose(scenario, my_fit):
            print(verdict)

    Args:
        scenario: What to train.
        candidate: Called as `candidate(model, **fit_arguments)`; returns a History or a dict.
        reference: The same; `keras.Model.fit` by default.
        rules: The rules to break in turn; all by default.

    Returns:
        The verdicts, best first: rules that give the candidate's own bits, then rules that come
        much closer to it than the reference does. Empty if the two trainings are the same, or if
        no known rule explains the difference.

    Raises:
        CannotCompareError: One of the two trainings is missing, or the reference does not repeat
            its own bits.
    """
    return diagnose_in(Trainings(scenario, candidate, reference), rules)


def diagnose_in(trainings: Trainings, rules: Sequence[BrokenRule] = RULES) -> list[Verdict]:
    """Do what `diagnose` does, with recorded trainings."""
    scenario, compared = trainings.scenario, trainings.compared()
    if not compared.found:
        return []
    theirs, ours = on_equal_terms(compared.reference, compared.candidate)
    view = _view(theirs, ours)
    theirs, ours = view(theirs), view(ours)
    broken: dict[tuple[BrokenRule, ...], Trace] = {}
    for rule in rules:
        trace = _broken(scenario, (rule,), view)
        if trace and not same(theirs, trace):  # otherwise the scenario does not need this rule
            broken[rule,] = trace
    if not any(same(trace, ours) for trace in broken.values()):
        near = sorted(broken, key=lambda alone: distance(broken[alone], ours))[:PAIRED]
        for first, second in itertools.combinations(near, 2):
            trace = _broken(scenario, first + second, view)
            if trace and same(trace, ours):
                broken[first + second] = trace
    before = distance(theirs, ours)
    verdicts = [_verdict(group, trace, ours, before) for group, trace in broken.items()]
    verdicts = [found for found in verdicts if found.exact or found.closeness >= MUCH_CLOSER]
    return sorted(verdicts, key=lambda verdict: (not verdict.exact, -verdict.closeness))


def _verdict(rules: tuple[BrokenRule, ...], trace: Trace, ours: Trace, before: float) -> Verdict:
    return Verdict(
        rule="+".join(rule.rule for rule in rules),
        exact=same(trace, ours),
        line="; ".join(rule.line for rule in rules),
        mirrors=", ".join(dict.fromkeys(rule.mirrors for rule in rules)),
        mistake=", and ".join(rule.mistake for rule in rules),
        closeness=max(0.0, 1 - distance(trace, ours) / before) if before else 0.0,
    )


def _broken(
    scenario: Scenario, rules: tuple[BrokenRule, ...], view: Callable[[Trace], Trace]
) -> Trace | None:
    """Train with rules broken; return None, with a warning, if the scenario needs them to train."""
    try:
        return view(record(scenario, partial(fit_with, rules), "epochs")[0])
    except Exception as error:  # shapes, dtypes or missing data: a model may need the rule
        names = "+".join(rule.rule for rule in rules)
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        warnings.warn(f"{scenario.name} cannot be trained without {names}: {what}", stacklevel=3)
        return None


def _view(theirs: Trace, ours: Trace) -> Callable[[Trace], Trace]:
    """Return what to compare of a trace: history and weights or, if these are the same, all."""
    if not same(_history_and_weights(theirs), _history_and_weights(ours)):
        return _history_and_weights
    return Trace.as_plain if ours.is_plain else lambda trace: trace


def _history_and_weights(trace: Trace) -> Trace:
    """Return the history and the weights of a trace."""
    weights = {
        name: value for name, value in trace.variables.items() if name.startswith("weights/")
    }
    return Trace(history=trace.history, variables=weights)


def distance(first: Trace, second: Trace) -> float:
    """Return the mean relative distance of logs and weights, 0 to 1."""
    pairs: list[tuple[dict, dict]] = [
        (first.history, second.history),
        (first.variables, second.variables),
    ]
    distances = [
        _relative(a[name], b[name]) if name in a and name in b else 1.0
        for a, b in pairs
        for name in {**a, **b}
    ]
    return float(np.mean(distances)) if distances else 0.0


def _relative(first: Any, second: Any) -> float:
    """Return the distance of two logs or arrays relative to their size, 0 to 1."""
    try:
        a, b = (np.asarray(value, np.float64).ravel() for value in (first, second))
    except (TypeError, ValueError):  # no numbers
        return float(first != second)
    if a.shape != b.shape or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return 0.0 if np.array_equal(a, b, equal_nan=True) else 1.0
    size = np.linalg.norm(a) + np.linalg.norm(b)
    return float(np.linalg.norm(a - b) / size) if size else 0.0
