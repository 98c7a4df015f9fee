"""Why two trainings diverge: the rules of fit that a candidate breaks, causes before effects.

    found = diagnose(scenario, my_fit)
    print(found)            # the answer, as to a question in a forum
    for verdict in found:   # each cause
        print(verdict.rule, verdict.line)

`compare.diagnosis.peel` finds the causes; here each is given its effect: what the training would be
with it mended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

import loop
from compare.diagnosis.broken import BrokenRule
from compare.diagnosis.layers import first_different_step, tensor_distance
from compare.diagnosis.logs import log_distance
from compare.diagnosis.peel import Peel
from compare.diagnosis.retrain import Retraining, Rules
from compare.diagnosis.rules import RULES
from compare.diagnosis.search import Cause
from compare.recording.bits import differences, same
from compare.recording.trace import Trace, on_equal_terms
from compare.recording.trials import Trainings
from compare.scenario import Fit, Scenario

REPEATED = 1e-3
"""The largest relative difference of logs between two runs of a loop that repeats itself."""

HARMLESS = ("two_iterators", "permutation", "shuffled_once")
"""Causes after which a loop trains as well as fit: another order of the samples, no mistake."""


@dataclass(frozen=True)
class Verdict:
    """One cause of a difference; prints as a sentence and the missing line.

        best = diagnose(scenario, my_fit).main
        print(best.rule, best.exact, best.line)

    Attributes:
        rule: The rule that the candidate breaks, like `regularization_losses`.
        exact: Whether our engine with all causes broken gives the candidate's history and weights,
            bit for bit. If only other parts of the trace differ, whether it gives the whole trace.
        line: The line that is missing in the candidate.
        mirrors: The Keras function that has it.
        mistake: What the candidate does.
        closeness: How much of the difference it explains where it shows first, 0 to 1, together
            with the causes that were found there with it.
        logs: The last value of each log with this cause mended and all others as they are; empty if
            that cannot be trained.
        effect: How far the weights at the end are from those with this cause mended, 0 to 1.
        ties: Rules that explain the same in this scenario.
    """

    rule: str
    exact: bool
    line: str
    mirrors: str
    mistake: str
    closeness: float
    logs: dict[str, float] = field(default_factory=dict)
    effect: float = 0.0
    ties: tuple[str, ...] = ()

    def __str__(self) -> str:
        degree = "the very same bits" if self.exact else f"{self.closeness:.0%} of the difference"
        return f"{self.rule}: {self.mistake} ({degree})\n    {self.line}\n    see {self.mirrors}"


@dataclass(frozen=True)
class Diagnosis(Sequence[Verdict]):
    """All causes of a difference, in causal order; prints as an answer.

        found = diagnose(scenario, my_fit)
        print(found.main.line, found.rest)

    Attributes:
        causes: The causes, those first that come first in a step of training.
        rest: What the causes leave unexplained: "nothing" (the very same bits), "rounding", or
            "more".
        unexplained: The first place that no rule explains, in words; None if there is none.
        as_it_is: The last value of each log of the candidate.
        all_mended: The same of our engine, with nothing broken.
        fit: The same of the reference.
        renamed: The candidate's names of logs of fit, where they differ.
        left_out: The logs that only one of the two has.
        repeats: Whether the candidate trains to the same logs when it runs again.
        compiled: How the steps of fit and of the candidate run, where that makes rounding differ.
    """

    causes: tuple[Verdict, ...] = ()
    rest: str = "nothing"
    unexplained: str | None = None
    as_it_is: dict[str, float] = field(default_factory=dict)
    all_mended: dict[str, float] = field(default_factory=dict)
    fit: dict[str, float] = field(default_factory=dict)
    renamed: dict[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    repeats: bool = True
    compiled: str | None = None

    def __getitem__(self, place: int) -> Verdict:  # type: ignore[override]
        return self.causes[place]

    def __len__(self) -> int:
        return len(self.causes)

    def __iter__(self) -> Iterator[Verdict]:
        return iter(self.causes)

    def __eq__(self, other: object) -> bool:
        return list(self) == (list(other) if isinstance(other, Sequence) else other)

    __hash__ = None  # type: ignore[assignment]

    @property
    def main(self) -> Verdict | None:
        """The cause with the largest effect on the weights; of logs, the first one."""
        mistakes = [cause for cause in self.causes if cause.rule not in HARMLESS]
        return max(mistakes or self.causes, key=lambda cause: cause.effect, default=None)

    def __str__(self) -> str:
        return "\n".join(answer(self))

    def effects(self) -> list[tuple[str, dict[str, float]]]:
        """Return the last value of each log as it is, with each cause mended, and with all."""
        mended = [(f"with {cause.rule} mended", cause.logs) for cause in self.causes]
        return [
            ("as you have it", self.as_it_is),
            *(mended if len(mended) > 1 else ()),
            ("with all mended" if len(mended) > 1 else "mended", self.all_mended),
            ("model.fit", self.fit),
        ]

    @property
    def shared_logs(self) -> list[str]:
        """The logs that both have, under the name that fit gives them."""
        return [name for name in self.fit if name in self.as_it_is or name in self.renamed]


def answer(found: Diagnosis, where: str | None = None) -> Iterator[str]:
    """Yield the lines of an answer: the main cause, where, the line to change, the rest.

    Args:
        found: The diagnosis.
        where: Where the two trainings differ first, in words.
    """
    main = found.main
    if main is None:
        yield _nothing_found(found)
    else:
        yield f"The loop {main.mistake}."
    if where:
        yield f"The first difference: {where}"
    if main is not None:
        yield from _to_change(main)
        for verdict in found:
            if verdict is not main:
                yield f"The loop also {verdict.mistake}."
                yield from _to_change(verdict)
        yield _last_sentence(found)
    if not found.repeats:
        yield "The loop does not repeat itself: seed what it draws in the loop, and try again."
    if found.renamed:
        pairs = ", ".join(f"{ours} is {theirs} of fit" for theirs, ours in found.renamed.items())
        yield f"Logs of other names: {pairs}."
    if found.left_out:
        yield f"Not compared, since only one of the two has it: {', '.join(found.left_out)}."


def _to_change(verdict: Verdict) -> Iterator[str]:
    yield f"    {verdict.line}"
    also = f" (here {' or '.join(verdict.ties)} would explain the same)" if verdict.ties else ""
    yield f"    rule {verdict.rule}{also}, see {verdict.mirrors}"


def _nothing_found(found: Diagnosis) -> str:
    if found.rest == "nothing":
        return "History and weights are the same, to the last bit."
    if found.rest == "rounding":
        why = f" {found.compiled}" if found.compiled else ""
        return (
            "The loop is right. What differs is rounding, as much as one ulp in the initial "
            f"weights would make of it.{why}"
        )
    return f"No rule that is known explains {found.unexplained or 'the difference'}."


def _last_sentence(found: Diagnosis) -> str:
    these = "this" if len(found) == 1 else "all of these"
    if found.rest == "nothing":
        return f"Our engine with {these} trains to the very same bits as the loop."
    if found.rest == "rounding":
        return f"Apart from {these}, what is left is rounding."
    return (
        f"This is not all: no rule that is known explains {found.unexplained}. Mend {these} and "
        "run the command again."
    )


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
    return diagnose_in(Trainings(scenario, candidate, reference), rules)


def diagnose_in(
    trainings: Trainings,
    rules: Sequence[BrokenRule] = RULES,
    on_progress: Callable[[str], None] = lambda _: None,
) -> Diagnosis:
    """Do what `diagnose` does, with recorded trainings; report what is trained meanwhile."""
    compared = trainings.compared()
    if not compared.found:
        return Diagnosis()
    peel = Peel(trainings, rules, on_progress)
    peel.run()
    theirs, ours = on_equal_terms(compared.reference, compared.candidate)
    view = _view(theirs, ours)
    if not peel.causes and same(_history_and_weights(theirs), _history_and_weights(ours)):
        _search_in_the_rest(peel, view, theirs, ours)
    return _diagnosis(peel, view, ours, on_progress)


def beyond_rounding(trainings: Trainings) -> str:
    """Say where gradients or weights of two trainings first differ by more than rounding."""
    again = Retraining(trainings.scenario, trainings.reference)
    candidate = again.observe(trainings.candidate)
    place = first_different_step(again.floor(()), candidate)
    if place is None:
        return "No gradient and no weight differs by more than rounding."
    what = "the gradients" if place[0] == "gradients" else "the weights at the start"
    epoch, step = candidate.run.place(place[1])
    where = f"step {step}" if epoch is None else f"epoch {epoch}, step {step}"
    return f"The first difference that is more than rounding: {what} of {where}."


def _diagnosis(
    peel: Peel, view: Callable[[Trace], Trace], ours: Trace, on_progress: Callable[[str], None]
) -> Diagnosis:
    """Return the causes with the effect of each, for which our engine trains once more."""
    whole, theirs = peel.retraining.trace(peel.broken), peel.retraining.trace(())
    exact = same(view(whole), view(ours))
    verdicts = []
    for cause in peel.causes:
        on_progress(f"mending {cause.rule.rule}")
        mended = peel.retraining.tried(_without(peel, cause))
        verdicts.append(_verdict(cause, exact, mended, whole))
    logs = _last(ours)
    own = {*peel.renamed, *peel.renamed.values()}
    return Diagnosis(
        causes=tuple(verdicts),
        rest="nothing" if exact else "more" if peel.unexplained else "rounding",
        unexplained=peel.unexplained,
        as_it_is=logs | {name: logs[theirs] for name, theirs in peel.renamed.items()},
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
    return "fit runs its step {fit}, the loop {the loop}: kernels round otherwise.".format(**ways)


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
    weights = [_float_weights(trace) for trace in (mended or whole, whole)]
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


def _float_weights(trace: Trace) -> dict[str, np.ndarray]:
    """Return weights without the states of seeds, which are integers."""
    weights = _history_and_weights(trace).variables
    return {name: value for name, value in weights.items() if value.dtype.kind == "f"}


def _search_in_the_rest(
    peel: Peel, view: Callable[[Trace], Trace], theirs: Trace, ours: Trace
) -> None:
    """Find a rule that changes only what no layer compares: hooks, metrics, the optimizer."""
    if same(view(theirs), view(ours)):
        return
    for rule in peel.rules:
        trace = peel.retraining.tried((rule,))
        if trace and same(view(trace), view(ours)):
            peel.causes.append(Cause(rule))
            return
    (first, *_) = differences(view(theirs), view(ours))[1]
    peel.unexplained = f"{first.where}, which differs although history and weights do not"


def _last(trace: Trace) -> dict[str, float]:
    return {name: log[-1] for name, log in trace.history.items() if log}


def _view(theirs: Trace, ours: Trace) -> Callable[[Trace], Trace]:
    """Return what to compare of a trace: history and weights or, if these are the same, all.

    The state of the compiled optimizer is left out if the candidate never uses it.
    """
    if not same(_history_and_weights(theirs), _history_and_weights(ours)):
        return lambda trace: _history_and_weights(trace, list(ours.history))
    counts = [v for name, v in ours.variables.items() if name.endswith("/iterations")]
    if ours.is_plain and not any(count > 0 for count in counts):
        return _history_and_weights
    return Trace.as_plain if ours.is_plain else lambda trace: trace


def _history_and_weights(trace: Trace, logs: Sequence[str] | None = None) -> Trace:
    """Return the history and the weights of a trace.

    Args:
        trace: The trace.
        logs: The names of the logs to keep, if the trace has them; None for all.
    """
    weights = {
        name: value for name, value in trace.variables.items() if name.startswith("weights/")
    }
    wanted = trace.history if logs is None else [name for name in logs if name in trace.history]
    return Trace(history={name: trace.history[name] for name in wanted}, variables=weights)
