"""Where two trainings part: the first step, and in it the first stage in causal order.

    found = locate(scenario, my_fit)        # None where they are the same
    print(found)    # epoch 0, step 3, gradients: gradients/0[5] is 0.25 in the reference and ...

Both are run once more with taps in the model (compare/taps.py), which see every step of any loop,
and then once more to keep the one tensor that parted first.
"""

import re
from dataclasses import replace

import keras
import numpy as np

import loop
from compare.errors import UnrepeatableError
from compare.location.capture import Kept
from compare.location.divergence import Divergence, first_difference
from compare.location.tapped import Tapped, both_tapped, run_tapped
from compare.location.taps import ROWS
from compare.proof import Parity, outcome_of, parity
from compare.recording.bits import Difference, differences, same
from compare.recording.recorder import as_array
from compare.recording.trace import Trace
from compare.recording.trials import trained_by_both
from compare.recording.ulps import ulps_between
from compare.scenario import Fit, Scenario


def locate(
    scenario: Scenario, candidate: Fit = loop.fit, reference: Fit | None = None
) -> Divergence | None:
    """Finds the first step, stage and element at which a candidate leaves the reference.

    Args:
        scenario: What to train.
        candidate: Called as `candidate(model, **fit_arguments)`; returns a History or a dict.
        reference: The same; `keras.Model.fit` by default.

    Returns:
        The place, or None where every bit of what both leave behind is the same.

    Raises:
        CannotCompareError: There are no two trainings to compare, or the reference does not repeat
            itself.
    """
    fits = reference or keras.Model.fit, candidate
    theirs, ours, found = trained_by_both(scenario, candidate, fits[0])
    if not found:
        return _elsewhere(parity(scenario, candidate, fits[0]))
    first = 0
    while True:
        one, other = both_tapped(scenario, fits, first)
        disturbed = not (same(theirs, one.trace) and same(ours, other.trace))
        if place := first_difference(one, other):
            parted = _in_detail(scenario, fits, (one, other), place, disturbed)
            return replace(parted, outcome=outcome_of(found))
        first += ROWS - 1  # what the last row's step leaves behind is seen in the next window
        if first > max(one.taps.steps, other.taps.steps):
            parted = _without_steps(found, one, other, disturbed)
            return replace(parted, outcome=outcome_of(found))


def _elsewhere(verdict: Parity) -> Divergence | None:
    """What differs only in the hooks of batches, or only while nobody watches."""
    if verdict.identical:
        return None
    if verdict.unrepeatable:
        raise UnrepeatableError(str(verdict))
    found = verdict.differences
    place = _of(found[0], (None, None), found[0].where.split("/")[0], False)
    return replace(place, outcome=outcome_of(found))


def assert_same(candidate: Fit, scenario: Scenario, reference: Fit | None = None) -> None:
    """For a test suite: a candidate trains a scenario as `model.fit` does, to the last bit.

    Raises:
        AssertionError: It does not; says how much differs, and where the two part first.
        CannotCompareError: There are no two trainings to compare.
    """
    verdict = parity(scenario, candidate, reference)
    if verdict.identical:
        return
    place = None if verdict.unrepeatable else locate(scenario, candidate, reference)
    raise AssertionError("\n".join(str(one) for one in (verdict, place) if one))


def _in_detail(
    scenario: Scenario,
    fits: tuple[Fit, Fit],
    runs: tuple[Tapped, Tapped],
    place: tuple[int, str, str],
    disturbed: bool,
) -> Divergence:
    """Runs both again and keeps the tensor that parted first."""
    step, stage, name = place
    one, _ = runs
    at = step + (stage in one.taps.seen_late)
    kept = [Kept(name, at, run.taps.dtypes[name], run.taps.sizes[name]) for run in runs]
    for fit, keep in zip(fits, kept, strict=True):
        run_tapped(scenario, fit, keep=keep, ends=one.taps.ends)
    index, (theirs, ours), ulps = _first_element(*(as_array(keep.value) for keep in kept))
    if stage in ("validation", "between epochs"):
        where: tuple[int | None, int | None] = one.place(step - 1)[0], None
    else:
        where = one.place(step)
    return Divergence(*where, stage, name, index, theirs, ours, ulps, disturbed)


def _first_element(one: np.ndarray, other: np.ndarray) -> tuple[int | None, tuple, int | None]:
    """The first element that differs, both values, and how far they are apart."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return None, (f"{one.dtype}{list(one.shape)}", f"{other.dtype}{list(other.shape)}"), None
    flat = one.ravel(), other.ravel()
    trace = Trace(variables={"": flat[0]}), Trace(variables={"": flat[1]})
    _, found = differences(*trace)
    if not found:  # parted in the run that was fingerprinted, and not in this one
        return None, ("not the same every time",) * 2, None
    index = int(re.split(r"[/\[]", found[0].where)[-1].rstrip("]"))
    values = flat[0][index], flat[1][index]
    return index, values, ulps_between(*values)


def _without_steps(
    found: list[Difference], one: Tapped, other: Tapped, disturbed: bool
) -> Divergence:
    """The place where no step differs: another number of steps, the logs, or what stands beside."""
    steps = one.taps.steps, other.taps.steps
    if steps[0] != steps[1]:
        name = "the number of steps"
        longer = max(one, other, key=lambda run: run.taps.steps)
        epoch, step = longer.place(min(steps))
        return Divergence(epoch, step, "steps", name, None, steps[0], steps[1], None, disturbed)
    state = [one for one in found if one.where.startswith(("variables/weights", "variables/opt"))]
    logs = [one for one in found if one.where.startswith("history/")]
    if state and one.taps.ends == "gradient" and "/weights/" in state[0].where:
        # By hand, the last update is seen by nobody.
        return _of(state[0], _last_step(one, None), "weights", disturbed)
    if state:
        return _of(state[0], (_last_step(one, None)[0], None), "end", disturbed)
    if logs:
        first = min(logs, key=lambda log: (_epoch_of(log), "val_" in log.where))
        of_epoch = _last_step(one, _epoch_of(first))
        place = (of_epoch[0], None) if first.where.startswith("history/val_") else of_epoch
        # A log that one of them lacks is no wrong metric.
        in_metrics = first.where.rpartition("/")[2].isdigit() and any(
            one.where.startswith("variables/metrics") for one in found
        )
        return _of(first, place, "metrics" if in_metrics else "logs", disturbed)
    return _of(found[0], (None, None), found[0].where.split("/")[0], disturbed)


def _last_step(tapped: Tapped, place: int | None) -> tuple[int | None, int | None]:
    """Of all steps before, what they leave behind was seen as the next began: it was the last."""
    place = len(tapped.ends) - 1 if place is None else place
    if not 0 <= place < len(tapped.ends):
        return None, None
    return tapped.place(tapped.ends[place] - 1)


def _epoch_of(log: Difference) -> int:
    last = log.where.rpartition("/")[2]
    return int(last) if last.isdigit() else 0


def _of(
    found: Difference, place: tuple[int | None, int | None], stage: str, disturbed: bool
) -> Divergence:
    name, _, index = found.where.partition("[")
    ulps = ulps_between(found.reference, found.candidate)
    at = int(index.rstrip("]")) if index else None
    values = found.reference, found.candidate
    return Divergence(place[0], place[1], stage, name, at, values[0], values[1], ulps, disturbed)
