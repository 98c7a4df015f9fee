"""Find why two trainings of the same weights log other values, in training and in validation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from compare.diagnosis.broken import BrokenRule
from compare.diagnosis.job import Rules
from compare.diagnosis.layers import Floor
from compare.diagnosis.logs import Logs, renamed, unexplained
from compare.diagnosis.needs import may_change
from compare.diagnosis.search import FAR, Cause, Score
from compare.diagnosis.settings import factor_rules
from compare.diagnosis.stops import validation_rules

if TYPE_CHECKING:
    from compare.diagnosis.peel import Peel


def find_in_logs(peel: Peel, floor: Floor) -> None:
    """Find why logs of training differ although the weights are the same."""
    _in_logs(peel, "logs", lambda name: not name.startswith("val_"), peel.rules, floor)


def find_in_validation(peel: Peel, floor: Floor) -> None:
    """Find why logs of validation differ although the weights are the same."""
    if not _only(peel.retraining.trace(()).history, _is_of_validation):
        return
    histories = floor.base.trace.history, peel.candidate.trace.history
    has_logs = [bool(_only(history, _is_of_validation)) for history in histories]
    if all(has_logs):
        extra = validation_rules(floor.base, peel.candidate, peel.rules, peel.samples)
        _in_logs(peel, "validation", _is_of_validation, [*peel.rules, *extra], floor)
    elif has_logs[0] and not any(map(len, peel.candidate.tests)):
        peel.causes += [Cause(rule) for rule in peel.rules if rule.rule == "validation"]


def _in_logs(
    peel: Peel,
    layer: str,
    wanted: Callable[[str], bool],
    rules: Sequence[BrokenRule],
    floor: Floor,
) -> None:
    """Find why logs differ, one log after the other, the loss first."""
    ours = _only(peel.candidate.trace.history, wanted)
    agreed: list[str] = []
    left: list[str] = []
    for name in _only(floor.base.trace.history, wanted):
        theirs = _only(peel.retraining.trace(peel.broken).history, wanted)
        tried = [*factor_rules(theirs, ours, name, layer), *rules]
        # Without validation there would be no log left to differ: that is looked at before.
        tried = [it for it in tried if it.layer == layer and it.rule != "validation"]
        tried = [it for it in tried if may_change(it, name) and peel.may_matter(it)]
        names = [*agreed, name]
        if until := _first_different_epoch(theirs, ours, names, floor):
            peel.causes += peel.search(tried, _score(peel, names, wanted, floor, until), 0.0)
            theirs = _only(peel.retraining.trace(peel.broken).history, wanted)
        (left if unexplained(theirs, ours, names, floor) else agreed).append(name)
    _rename(peel, ours, wanted, floor)
    if left:
        also = f"{peel.unexplained} and " if peel.unexplained else ""
        peel.unexplained = f"{also}the log{'s' * (len(left) > 1)} {' and '.join(left)}"


def _first_different_epoch(
    theirs: Logs, ours: Logs, names: Sequence[str], floor: Floor
) -> int | None:
    """Return how many epochs it takes until a log differs by more than rounding; None if never."""
    epochs = range(1, 1 + max(map(len, theirs.values()), default=0))
    return next(
        (it for it in epochs if unexplained(_until(it, theirs), _until(it, ours), names, floor)),
        None,
    )


def _score(
    peel: Peel, names: Sequence[str], wanted: Callable[[str], bool], floor: Floor, until: int
) -> Score:
    """Return the distance of some logs of the first epochs to the candidate's.

    It is 0 if all of it is rounding.
    """
    ours = _only(peel.candidate.trace.history, wanted)

    def score(rules: Rules) -> float:
        trace = peel.retraining.begun(peel.with_known(rules), until)
        if trace is None:
            return FAR
        theirs = _only(trace.history, wanted)
        return unexplained(_until(until, theirs), _until(until, ours), names, floor)

    return Score(score, peel.expecting(lambda rules: peel.retraining.of_epochs(rules, until)))


def _rename(peel: Peel, ours: Logs, wanted: Callable[[str], bool], floor: Floor) -> None:
    """Note the logs of other names; where fit's name is another log's, find what that is."""
    found = renamed(_only(peel.retraining.trace(peel.broken).history, wanted), ours, floor)
    peel.renamed |= found
    without = {name: log for name, log in ours.items() if name not in found.values()}
    for name in found:
        if name not in ours:
            continue
        for rule in (it for it in peel.rules if it.layer == "logs" and peel.may_matter(it)):
            trace = peel.retraining.tried(peel.with_known((rule,)))
            if trace and not unexplained(trace.history, without, [name], floor):
                peel.causes.append(Cause(rule))
                break


def _is_of_validation(name: str) -> bool:
    return name.startswith("val_")


def _until(epoch: int, logs: Logs) -> Logs:
    """Return the logs of the first epochs."""
    return {name: log[:epoch] for name, log in logs.items()}


def _only(history: Logs, wanted: Callable[[str], bool]) -> Logs:
    return {name: log for name, log in history.items() if log and wanted(name)}
