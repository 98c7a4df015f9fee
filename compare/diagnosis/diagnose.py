"""Why two trainings diverge: the rules of fit that a candidate breaks, causes before effects.

    found = diagnose(scenario, my_fit)
    print(found)            # the answer, as to a question in a forum
    for verdict in found:   # each cause
        print(verdict.rule, verdict.line)

`compare.diagnosis.peel` finds the causes; here each is given its effect: what the training would be
with it mended.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

import loop
from compare.diagnosis.answer import Diagnosis, Verdict
from compare.diagnosis.broken import BrokenRule
from compare.diagnosis.job import Epochs, Rules
from compare.diagnosis.layers import (
    common_steps,
    first_different_step,
    floats_of,
    in_words,
    tensor_distance,
)
from compare.diagnosis.layout import capture_of
from compare.diagnosis.logs import log_distance
from compare.diagnosis.peel import Peel
from compare.diagnosis.retrain import Retraining
from compare.diagnosis.rules import RULES
from compare.diagnosis.search import Cause
from compare.location.tapped import TappedTrainings
from compare.recording.bits import differences, same
from compare.recording.trace import Trace, on_equal_terms
from compare.recording.trials import Trainings
from compare.scenario import Fit, Scenario

REPEATED = 1e-3
"""The largest relative difference of logs between two runs of a loop that repeats itself."""


def diagnose(
    scenario: Scenario,
    candidate: Fit = loop.fit,
    reference: Fit | None = None,
    rules: Sequence[BrokenRule] = RULES,
) -> Diagnosis:
    """Find the rules of fit that a candidate breaks.

        print(diagnose(scenario, my_fit))

    Args:
        scenario: What to train.
        candidate: Called as `candidate(model, **fit_arguments)`; returns a History or a dict.
        reference: The same; `keras.Model.fit` by default.
        rules: The rules to break in turn; all by default.

    Returns:
        The causes, in causal order, as a sequence of `Verdict`. Empty if the two trainings are the
        same, differ by rounding, or if no known rule explains the difference: `rest` says which.

    Raises:
        CannotCompareError: One of the two trainings is missing, or the reference does not repeat
            its own bits.
    """
    trainings = Trainings(scenario, candidate, reference)
    return diagnose_in(Retraining(TappedTrainings(trainings, capture_of)), rules)


def diagnose_in(
    retraining: Retraining,
    rules: Sequence[BrokenRule] = RULES,
    on_progress: Callable[[str], None] = lambda _: None,
) -> Diagnosis:
    """Do what `diagnose` does, with recorded trainings; report what is trained meanwhile.

    Args:
        retraining: The trainings, with taps that capture what `capture_of` does.
        rules: The rules to break in turn.
        on_progress: Called with a few words before each training.
    """
    compared = retraining.tapped.compared()
    if not compared.found:
        return Diagnosis()
    retraining.begin_ahead()
    peel = Peel(retraining, rules, on_progress)
    theirs, ours = on_equal_terms(compared.reference, compared.candidate)
    trains_alike = same(_history_and_weights(theirs), _history_and_weights(ours))
    if not trains_alike:
        peel.run()
    view = _view(theirs, ours, peel.renamed)
    if trains_alike:
        _search_in_the_rest(peel, view, theirs, ours)
    return _diagnosis(peel, view, ours, on_progress)


def beyond_rounding(trainings: Trainings) -> str:
    """Say where gradients or weights of two trainings first differ by more than rounding."""
    again = Retraining(TappedTrainings(trainings, capture_of))
    candidate = again.candidate()
    place = first_different_step(again.floor(()), candidate)
    if place is None:
        steps = len(common_steps(again.observed(()), candidate))
        return f"No gradient and no weight of {steps} steps differs by more than rounding."
    layer, at = place
    epoch, step = candidate.run.place(at)
    where = in_words(layer, step if epoch is None else f"{step} of epoch {epoch}")
    return f"The first difference that is more than rounding: {where}."


def _diagnosis(
    peel: Peel, view: Callable[[Trace], Trace], ours: Trace, on_progress: Callable[[str], None]
) -> Diagnosis:
    """Return the causes with the effect of each, for which our engine trains once more."""
    theirs = peel.retraining.trace(())
    whole = peel.retraining.tried(peel.broken) or theirs  # fit, where it cannot train so
    exact = same(view(whole), view(ours))
    verdicts = []
    without = [_without(peel, cause) for cause in peel.causes]
    peel.retraining.expect([Epochs(rules) for rules in without])
    for cause, rules in zip(peel.causes, without, strict=True):
        on_progress(f"mending {cause.rule.rule}")
        mended = peel.retraining.tried(rules)
        verdicts.append(_verdict(cause, exact, mended, whole))
    logs = _last(ours)
    own = {*peel.renamed, *peel.renamed.values()}
    return Diagnosis(
        causes=tuple(verdicts),
        rest="nothing" if exact else "more" if peel.unexplained else "rounding",
        unexplained=peel.unexplained,
        as_it_is=logs | {in_fit: logs[in_loop] for in_fit, in_loop in peel.renamed.items()},
        all_mended=_last(peel.retraining.with_nothing_broken()) if verdicts else {},
        fit=_last(theirs),
        renamed=peel.renamed,
        left_out=tuple(sorted(({*theirs.history} ^ {*ours.history}) - own)),
        repeats=_repeats(ours, peel.candidate.trace),
        compiled=_compiled(peel),
    )


def _repeats(first: Trace, again: Trace) -> bool:
    """Return whether two trainings of a candidate have the same logs; the second one had taps."""
    return max(log_distance(first.history, again.history).values(), default=0.0) < REPEATED


def _compiled(peel: Peel) -> str | None:
    """Say how the steps of both run, if in different ways."""
    ways = {
        name: "eagerly" if run.run.taps.runs_eagerly else "in a graph"
        for name, run in (("fit", peel.retraining.observed(())), ("the loop", peel.candidate))
    }
    if peel.retraining.is_under_xla:
        ways["fit"] = "under XLA"
    if ways["fit"] == ways["the loop"]:
        return None
    return "fit runs its step {fit}, the loop {the loop}: they round differently.".format(**ways)


def _without(peel: Peel, cause: Cause) -> Rules:
    """Return all rules but one; a rule of batches takes the alignment with it."""
    rules = tuple(other.rule for other in peel.causes if other is not cause)
    if cause.rule.layer != "batches":
        return peel.with_batches(rules)
    return tuple(rule for rule in rules if rule.layer != "batches" or not peel.is_aligned)


def _verdict(cause: Cause, exact: bool, mended: Trace | None, whole: Trace) -> Verdict:
    """Return a cause with its effect.

    Args:
        cause: The cause.
        exact: Whether our engine with all causes has the candidate's bits.
        mended: Our engine with all causes but this one; None if it cannot train so.
        whole: Our engine with all causes.
    """
    weights = [floats_of(trace.variables) for trace in (mended or whole, whole)]
    return Verdict(
        rule=cause.rule.rule,
        exact=exact,
        line=cause.rule.line,
        mirrors=cause.rule.mirrors,
        mistake=cause.rule.mistake,
        closeness=cause.explains,
        logs=_last(mended) if mended else {},
        effect=tensor_distance(*weights),
        ties=cause.ties,
    )


def _search_in_the_rest(
    peel: Peel, view: Callable[[Trace], Trace], theirs: Trace, ours: Trace
) -> None:
    """Find a rule that changes only what no layer compares: hooks, metrics, the optimizer."""
    if same(view(theirs), view(ours)):
        return
    # A scenario without callbacks has those of the recorder all the same.
    for rule in [it for it in peel.rules if peel.may_matter(it) or it.rule == "callbacks"]:
        peel.say(f"breaking {rule.rule}")
        trace = peel.retraining.tried((rule,))
        if trace and same(view(trace), view(ours)):
            peel.causes.append(Cause(rule))
            return
    (first, *_) = differences(view(theirs), view(ours))[1]
    peel.unexplained = f"{first.where}, which differs although history and weights do not"


def _last(trace: Trace) -> dict[str, float]:
    return {name: log[-1] for name, log in trace.history.items() if log}


def _view(theirs: Trace, ours: Trace, renamed: dict[str, str]) -> Callable[[Trace], Trace]:
    """Return what to compare of a trace: history and weights or, if these are the same, all.

    The state of the compiled optimizer is left out if the candidate never uses it.

    Args:
        theirs: What fit leaves behind.
        ours: What the candidate leaves behind.
        renamed: The candidate's names of logs of fit, where they differ.
    """
    if not same(_history_and_weights(theirs), _history_and_weights(ours)):
        names = {name: renamed.get(name, name) for name in theirs.history}
        names = {name: own for name, own in names.items() if own in ours.history}
        in_fit = {name: name for name in names}
        return lambda trace: _values_of_logs(trace, names if trace is ours else in_fit)
    counts = [v for name, v in ours.variables.items() if name.endswith("/iterations")]
    if ours.is_plain and not any(count > 0 for count in counts):
        return _history_and_weights
    return Trace.as_plain if ours.is_plain else lambda trace: trace


def _history_and_weights(trace: Trace) -> Trace:
    """Return the history and the weights of a trace."""
    weights = {
        name: value for name, value in trace.variables.items() if name.startswith("weights/")
    }
    return Trace(history=trace.history, variables=weights)


def _values_of_logs(trace: Trace, names: dict[str, str]) -> Trace:
    """Return the weights of a trace, and some logs, whatever types their values have.

    Args:
        trace: The trace.
        names: The logs to keep, by their names in fit: what the trace calls them.
    """
    history = {
        name: [value.item() if isinstance(value, np.generic) else value for value in log]
        for name, log in ((name, trace.history.get(own, [])) for name, own in names.items())
    }
    return replace(_history_and_weights(trace), history=history)
