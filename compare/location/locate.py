"""Where two trainings diverge: the first step, and in it the first stage in causal order.

    found = locate(scenario, my_fit)        # None if they are the same
    print(found)    # epoch 0, step 3, gradients: gradients/0[5] is 0.25 in the reference and ...

Both are trained once more with taps in the model (compare/location/taps.py), which record every
step of any loop, and then once more to capture the first tensor that differs.
"""

import re
import warnings
from dataclasses import replace

import numpy as np

import loop
from compare.errors import UnrepeatableError
from compare.location.capture import CapturedTensor
from compare.location.divergence import Divergence, first_difference
from compare.location.tapped import TappedRun, TappedTrainings
from compare.location.taps import ROWS
from compare.proof import outcome_of, parity, prove
from compare.recording.bits import Difference, differences
from compare.recording.recorder import as_array
from compare.recording.trace import Trace
from compare.recording.trials import Trainings
from compare.recording.ulps import ulps_between
from compare.scenario import Fit, Scenario

UNREPEATED = ("not the same every time",) * 2
"""What is said of tensors that differed in the first run, by their fingerprints, and not again."""


def locate(
    scenario: Scenario, candidate: Fit = loop.fit, reference: Fit | None = None
) -> Divergence | None:
    """Find the first step, stage and element at which a candidate diverges from the reference.

        print(locate(scenario, my_fit))

    Args:
        scenario: What to train.
        candidate: Called as `candidate(model, **fit_arguments)`; returns a History or a dict.
        reference: The same; `keras.Model.fit` by default.

    Returns:
        The place, or None if every bit of what both leave behind is the same.

    Raises:
        CannotCompareError: One of the two trainings is missing, or the reference does not repeat
            its own bits.
    """
    return locate_in(TappedTrainings(Trainings(scenario, candidate, reference)))


def locate_in(tapped: TappedTrainings, captures_inputs: bool = True) -> Divergence | None:
    """Do what `locate` does, with recorded trainings.

    Args:
        tapped: The trainings.
        captures_inputs: Whether to train both once more for the values of inputs that differ: those
            of other samples say little.
    """
    compared = tapped.compared()
    if not compared.found:
        return _outside_of_epochs(tapped.trainings)
    outcome = outcome_of(compared.found)
    first = 0
    while True:
        theirs, ours = tapped.both(first)
        disturbed = theirs.disturbed(compared.reference) or ours.disturbed(compared.candidate)
        if place := first_difference(theirs, ours):
            if place[2].startswith("batch/x") and not captures_inputs:
                found = Divergence(*theirs.place(place[0]), *place[1:])
            else:
                found = _in_detail(tapped, (theirs, ours), place)
            return replace(found, disturbed=disturbed, outcome=outcome)
        first += ROWS - 1  # the state after the last row's step is recorded in the next window
        if first > max(theirs.taps.steps, ours.taps.steps):
            found = _without_steps(compared.found, theirs, ours)
            return replace(found, disturbed=disturbed, outcome=outcome)


def _outside_of_epochs(trainings: Trainings) -> Divergence | None:
    """Return what differs only in the hooks of batches, or only if no hooks are recorded."""
    verdict = prove(trainings)
    if verdict.identical:
        return None
    if verdict.unrepeatable:
        raise UnrepeatableError(str(verdict))
    found = verdict.differences
    place = _at(found[0], (None, None), found[0].where.split("/")[0])
    return replace(place, outcome=outcome_of(found))


def assert_same(
    scenario: Scenario | Fit, candidate: Fit | Scenario, reference: Fit | None = None
) -> None:
    """Assert, in a test, that a candidate trains a scenario as `model.fit` does, to the last bit.

        assert_same(scenario, loop.fit)

    Args:
        scenario: What to train.
        candidate: Called as `candidate(model, **fit_arguments)`. The former order of arguments,
            `assert_same(candidate, scenario)`, still works and gives a DeprecationWarning.
        reference: The same; `keras.Model.fit` by default.

    Raises:
        AssertionError: It does not; says how much differs, and where the two diverge first.
        CannotCompareError: One of the two trainings is missing.
        TypeError: Neither argument is a Scenario.
    """
    if isinstance(candidate, Scenario):
        message = "assert_same(candidate, scenario) is now assert_same(scenario, candidate)"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        scenario, candidate = candidate, scenario
    if not isinstance(scenario, Scenario):
        raise TypeError(f"assert_same needs a Scenario as its first argument, got {scenario!r}")
    verdict = parity(scenario, candidate, reference)  # type: ignore[arg-type]
    if verdict.identical:
        return
    place = None if verdict.unrepeatable else locate(scenario, candidate, reference)  # type: ignore[arg-type]
    raise AssertionError("\n".join(str(line) for line in (verdict, place) if line))


def _in_detail(
    tapped: TappedTrainings, runs: tuple[TappedRun, TappedRun], place: tuple[int, str, str]
) -> Divergence:
    """Train both again and capture the first tensor that differs."""
    step, stage, name = place
    theirs, ours = runs
    at = step + (stage in theirs.taps.seen_late)
    for prints_wanted in (False, True):  # kernels may round otherwise where no prints are taken
        captured = (_capture(theirs, name, at), _capture(ours, name, at))
        tapped.both_again(captured, theirs.taps.ends, prints_wanted)
        index, values, ulps = _first_element(*(as_array(tensor.value) for tensor in captured))
        if values != UNREPEATED:
            break
    if stage in ("validation", "between epochs"):
        where: tuple[int | None, int | None] = theirs.place(step - 1)[0], None
    else:
        where = theirs.place(step)
    return Divergence(*where, stage, name, index, values[0], values[1], ulps)


def _capture(run: TappedRun, name: str, step: int) -> CapturedTensor:
    return CapturedTensor(name, step, run.taps.dtypes[name], run.taps.sizes[name])


def _first_element(theirs: np.ndarray, ours: np.ndarray) -> tuple[int | None, tuple, int | None]:
    """Return the first element that differs, both values, and their distance in ulps."""
    if theirs.shape != ours.shape or theirs.dtype != ours.dtype:
        shapes = f"{theirs.dtype}{list(theirs.shape)}", f"{ours.dtype}{list(ours.shape)}"
        return None, shapes, None
    flat = theirs.ravel(), ours.ravel()
    _, found = differences(Trace(variables={"": flat[0]}), Trace(variables={"": flat[1]}))
    if not found:  # the fingerprints of the first run differed, these tensors do not
        return None, UNREPEATED, None
    index = int(re.split(r"[/\[]", found[0].where)[-1].rstrip("]"))
    values = flat[0][index], flat[1][index]
    return index, values, ulps_between(*values)


def _without_steps(found: list[Difference], theirs: TappedRun, ours: TappedRun) -> Divergence:
    """Return the first difference outside of steps: their number, the final state, the logs."""
    steps = theirs.taps.steps, ours.taps.steps
    if steps[0] != steps[1]:
        longer = theirs if steps[0] > steps[1] else ours
        epoch, step = longer.place(min(steps))
        return Divergence(epoch, step, "steps", "the number of steps", None, steps[0], steps[1])
    kinds = ["variables/weights"]
    if theirs.taps.uses_own and ours.taps.uses_own:
        kinds.append("variables/opt")
    state = [it for it in found if it.where.startswith(tuple(kinds))]
    logs = [it for it in found if it.where.startswith("history/")]
    if state:
        return _after_the_last_step(state[0], theirs)
    if logs:
        return _in_logs(logs, found, theirs)
    return _at(found[0], (None, None), found[0].where.split("/")[0])


def _after_the_last_step(state: Difference, theirs: TappedRun) -> Divergence:
    """Return the place of a difference in the final state."""
    epoch, step = _last_step(theirs, len(theirs.ends) - 1)
    # A loop that updates weights by hand has no tap after its last update.
    if theirs.taps.ends == "gradient" and "/weights/" in state.where:
        return _at(state, (epoch, step), "weights")
    return _at(state, (epoch, None), "end")


def _in_logs(logs: list[Difference], found: list[Difference], theirs: TappedRun) -> Divergence:
    """Return the place of the first log that differs."""
    first = min(logs, key=lambda log: (_epoch_of(log), "val_" in log.where))
    epoch, step = _last_step(theirs, _epoch_of(first))
    place = (epoch, None) if first.where.startswith("history/val_") else (epoch, step)
    # A log that one of the histories lacks says nothing about the metric's value.
    in_metrics = first.where.rpartition("/")[2].isdigit() and any(
        difference.where.startswith("variables/metrics") for difference in found
    )
    return _at(first, place, "metrics" if in_metrics else "logs")


def _last_step(run: TappedRun, epoch: int) -> tuple[int | None, int | None]:
    """Return the number of the `epoch`-th trained epoch and its last step.

    The state after every other step was compared at the start of the step that follows.
    """
    if not 0 <= epoch < len(run.ends):
        return None, None
    return run.place(run.ends[epoch] - 1)


def _epoch_of(log: Difference) -> int:
    last = log.where.rpartition("/")[2]
    return int(last) if last.isdigit() else 0


def _at(found: Difference, place: tuple[int | None, int | None], stage: str) -> Divergence:
    """Return a difference between two traces as a Divergence."""
    name, _, index = found.where.partition("[")
    at = int(index.rstrip("]")) if index else None
    values = found.reference, found.candidate
    return Divergence(*place, stage, name, at, *values, ulps_between(*values))
