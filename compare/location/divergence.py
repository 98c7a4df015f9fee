"""The first place where two trainings diverge, and how it is found in two tapped runs."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from compare.errors import Outcome
from compare.location.tapped import TappedRun
from compare.location.taps import ROWS, stage_of

STAGES = (
    "validation",
    "begun",
    "batch",
    "prediction",
    "loss",
    "gradients",
    "update",
    "weights",
    "metrics",
)
"""The stages of a step, causes before effects.

`validation` is the state after the validation that ended the previous epoch, `begun` the state
before the forward pass, `update` the state of the optimizer after the step."""


TARGETS = ("batch/y/", "batch/sample_weight/")
"""How the names of taps begin that see what losses are given, in the order of their calls."""


@dataclass(frozen=True)
class Divergence:
    """The first place where a candidate diverges from the reference; prints as a sentence.

        place = locate(scenario, my_fit)
        print(place.epoch, place.step, place.stage, place.reference, place.candidate)

    Attributes:
        epoch: The epoch, from 0; None outside of all epochs.
        step: The step in its epoch, from 0; None if the divergence is not in a single step.
        stage: One of `STAGES`, or "between epochs" (callbacks, or what the loop itself does there),
            "end" (after the last epoch), "steps" (the numbers of steps differ), "logs", or the
            part of the trace that differs if all of these agree.
        name: The tensor, like `gradients/0`, or the log.
        index: The element of the flattened tensor; None if there are no elements to compare.
        reference: The value of the reference there; None with `candidate` if it was not captured.
        candidate: The value of the candidate there.
        ulps: The distance of the two values in ulps; None if they are not finite floats.
        disturbed: Whether the taps changed the bits of a run: then the place may be wrong.
        outcome: The kind of difference: other epochs, other logs, or other bits.
    """

    epoch: int | None
    step: int | None
    stage: str
    name: str
    index: int | None = None
    reference: Any = None
    candidate: Any = None
    ulps: int | None = None
    disturbed: bool = False
    outcome: Outcome = Outcome.DIFFERENT

    def __str__(self) -> str:
        place = "" if self.epoch is None else f"epoch {self.epoch}, "
        place += "" if self.step is None else f"step {self.step}, "
        element = self.name if self.index is None else f"{self.name}[{self.index}]"
        apart = f" ({self.ulps:,} ulp{'s' * (self.ulps > 1)} apart)" if self.ulps else ""
        doubt = "; the taps disturbed a run, so it may have begun elsewhere" * self.disturbed
        if self.reference is None and self.candidate is None:
            return f"{place}{self.stage}: {element} differs{doubt}"
        return (
            f"{place}{self.stage}: {element} is {self.reference} in the reference and "
            f"{self.candidate} in the candidate{apart}{doubt}"
        )


def first_difference(theirs: TappedRun, ours: TappedRun) -> tuple[int, str, str] | None:
    """Return the first step, stage and tap whose fingerprints differ, or None."""
    reference, candidate = theirs.taps.prints(), ours.taps.prints()
    names = [name for name in reference if name in candidate]
    if not (theirs.taps.uses_own and ours.taps.uses_own):  # a loop may have an optimizer of its own
        names = [name for name in names if "optimizer" not in name.split("/")[:2]]
    if _targets(reference) - _targets(candidate):  # the candidate has losses that taps do not see
        names = [name for name in names if not name.startswith(TARGETS)]
    ordered = _in_causal_order(names)
    steps = theirs.taps.steps, ours.taps.steps
    epoch_ends = {*theirs.ends, *ours.ends}  # loops reset metrics here
    plain = theirs.trace.is_plain or ours.trace.is_plain  # a loop may have metrics of its own
    first, late = theirs.taps.first, theirs.taps.seen_late

    def differs(name: str, row: int) -> bool:
        prints = reference[name][row : row + 1], candidate[name][row : row + 1]
        return all(values.any() for values in prints) and prints[0] != prints[1]

    for row in range(min(min(steps) - first, ROWS)):
        step = first + row
        for stage, name in ordered:
            reset = stage == "metrics" and (plain or step + 1 in epoch_ends)
            if not reset and differs(name, row + (stage in late)):
                between = stage == "begun" and step in epoch_ends
                return step, "between epochs" if between else stage, name
    last = steps[0] - first
    if steps[0] == steps[1] and last < ROWS:  # the forward passes of the last validation
        for stage, name in ordered:
            if stage in ("validation", "begun") and differs(name, last):
                return steps[0], "validation", name
    return None


def _targets(names: Iterable[str]) -> set[str]:
    """Return the names of the targets of losses among those of taps."""
    return {name for name in names if name.startswith(TARGETS[0])}


def _in_causal_order(names: list[str]) -> list[tuple[str, str]]:
    """Return pairs of stage and tap, by stage; taps of a stage stay in the order of tracing."""
    stages = [(stage_of(name), name) for name in names]
    return sorted(stages, key=lambda stage_and_name: STAGES.index(stage_and_name[0]))
