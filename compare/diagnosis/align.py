"""Align what goes into two trainings: the number of epochs, the inputs, the samples of a batch."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from compare.diagnosis.accumulation import accumulation_of
from compare.diagnosis.batches import are_known, finding, found_in_batches, same_batches
from compare.diagnosis.broken import Break, BrokenRule, changes_nothing, in_turn
from compare.diagnosis.layers import first_different_step
from compare.diagnosis.observed import Observed
from compare.diagnosis.prepared import preparation_of
from compare.diagnosis.samples import on_batches_of, samples_of
from compare.diagnosis.search import Cause
from compare.diagnosis.stops import epoch_rules

if TYPE_CHECKING:
    from compare.diagnosis.peel import Peel


def align_epochs(peel: Peel) -> None:
    """Find why the candidate trains another number of epochs."""
    ours, theirs = peel.candidate.num_epochs, peel.retraining.observed(()).num_epochs
    if ours == theirs or not ours:
        return
    for rule in epoch_rules(peel.retraining.arguments, ours, theirs, peel.rules):
        peel.say(f"breaking {rule.rule}")
        trace = peel.retraining.tried((rule,))
        if trace and max(map(len, trace.history.values()), default=0) == ours:
            peel.causes.append(Cause(rule))
            return
    peel.unexplained = f"that the loop trains {ours} epochs and fit {theirs}"


def align_batches(peel: Peel) -> None:
    """Find how the candidate's batches differ, and train on its batches from here on."""
    for who, run in (("fit", peel.retraining.observed(())), ("the loop", peel.candidate)):
        if not run.batches:
            peel.unexplained = f"the batches of {who}: {_not_seen(run)}"
            return
    peel.samples = samples_of(peel.retraining.scenario)
    _inputs(peel)
    found = found_in_batches(peel.retraining.observed(peel.broken), peel.candidate, peel.samples)
    are_apart = bool(peel.samples and peel.samples.targets_of_others(peel.candidate))
    if are_apart:
        found = [finding("targets_of_others", [0, 0]), *found]
    peel.causes += [Cause(rule) for rule in found]
    adds_up = peel.candidate.accumulates > 1
    if not (adds_up or are_apart) and (not found or _has_the_batches(peel)):
        return
    parts = accumulation_of(peel.candidate)
    breaks: Break | None = changes_nothing
    if not found:  # the same batches, whose gradients are computed in parts
        peel.causes += _in_parts(peel, parts)
    else:
        breaks = on_batches_of(peel.candidate, peel.samples) if peel.samples else None
    if breaks is not None:
        breaks = in_turn(breaks, parts)
        # The batches are made of the candidate's samples: what the rules do is in the way.
        peel.causes = [_standing_for_batches(cause) for cause in peel.causes]
        peel.aligned = (BrokenRule("batches", "", "", "", breaks, "batches"),)
    if breaks is None or not _has_the_batches(peel):
        peel.unexplained = "what follows from these batches: fit cannot be given the same ones"


def _inputs(peel: Peel) -> None:
    """Find what the candidate does to its inputs, and do so from here on."""
    base = peel.retraining.observed(peel.broken)
    if not peel.samples or are_known(base, peel.candidate, peel.samples):
        return
    found = preparation_of(peel.candidate, peel.samples)
    if found:
        rule, peel.samples = found
        peel.causes.append(Cause(rule))


def _in_parts(peel: Peel, parts: Break) -> list[Cause]:
    """Return what follows from gradients that are computed in parts, if anything does."""
    base = peel.retraining.observed(peel.broken)
    in_parts = BrokenRule("parts", "", "", "", parts, "batches")
    run = peel.retraining.observed((*peel.broken, in_parts))
    if first_different_step(peel.retraining.floor(peel.broken), run) is None:
        return []
    size = max(map(len, base.batches))
    return [Cause(finding("micro_batches", [size, size], peel.candidate.accumulates))]


def _has_the_batches(peel: Peel) -> bool:
    """Return whether our engine, with the causes found so far, has the candidate's batches."""
    peel.say(f"breaking {', '.join(rule.rule for rule in peel.broken)}")
    try:
        return same_batches(peel.retraining.observed(peel.broken), peel.candidate)
    except Exception as error:  # data that a rule is not for
        peel.retraining.warn(peel.broken, error)
        return False


def _not_seen(run: Observed) -> str:
    """Say why no batches of a training were seen."""
    if run.captured.overflows:
        return "it has too many to record them all; train fewer epochs, or on fewer samples"
    return "its model or layers were never called with dense inputs"


def _standing_for_batches(cause: Cause) -> Cause:
    """Return a cause whose rule, if it is about batches, changes nothing by itself."""
    if cause.rule.layer != "batches":
        return cause
    return replace(cause, rule=replace(cause.rule, breaks=changes_nothing))
