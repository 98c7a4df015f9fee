"""The first place where two trainings part: what it is, and how it is found in two tapped runs."""

from dataclasses import dataclass
from typing import Any

from compare.errors import Outcome
from compare.location.tapped import Tapped
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
"""The stages of a step, in the order of cause and effect. Validation is what it made of the state
as the epoch before ended, begun the state as the forward pass finds it, update the state of the
optimizer."""


@dataclass(frozen=True)
class Divergence:
    """The first place where a candidate leaves the reference; prints as a sentence.

    Attributes:
        epoch: The epoch, from 0; None where it happened outside of all epochs.
        step: The step in its epoch, from 0; None where no single step is to blame.
        stage: One of `STAGES`, or "between epochs" (callbacks, or what the loop itself does there),
            "end" (after the last epoch), "steps" (one of them took more), "logs", or the part of
            the record that differs when all of these agree.
        name: The tensor, like `gradients/0`, or the log.
        index: The element of the flattened tensor; None where it has no elements to compare.
        reference: What the reference has there.
        candidate: What the candidate has there.
        ulps: How many representable numbers lie between them; None where that means nothing.
        disturbed: Whether the taps themselves changed a run: then the place may be another.
        outcome: What kind of difference it came to: other epochs, other logs, or other bits.
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
    outcome: Outcome = Outcome.PARTED

    def __str__(self) -> str:
        place = "" if self.epoch is None else f"epoch {self.epoch}, "
        place += "" if self.step is None else f"step {self.step}, "
        element = self.name if self.index is None else f"{self.name}[{self.index}]"
        apart = f" ({self.ulps:,} ulp{'s' * (self.ulps > 1)} apart)" if self.ulps else ""
        doubt = "; the taps disturbed a run, so it may have begun elsewhere" * self.disturbed
        return (
            f"{place}{self.stage}: {element} is {self.reference} in the reference and "
            f"{self.candidate} in the candidate{apart}{doubt}"
        )


def first_difference(one: Tapped, other: Tapped) -> tuple[int, str, str] | None:
    """The first step, stage and name where the fingerprints of two runs differ."""
    prints, others = one.taps.prints(), other.taps.prints()
    ordered = _in_causal_order([name for name in prints if name in others])
    steps = one.taps.steps, other.taps.steps
    boundaries = {*one.ends, *other.ends}  # where metrics are reset
    plain = one.trace.is_plain or other.trace.is_plain  # a loop may have metrics of its own

    def differs(name: str, row: int) -> bool:
        seen = prints[name][row : row + 1], others[name][row : row + 1]
        return all(print_.any() for print_ in seen) and seen[0] != seen[1]

    for row in range(min(min(steps) - one.taps.first, ROWS)):
        step = one.taps.first + row
        for stage, name in ordered:
            reset = stage == "metrics" and (plain or step + 1 in boundaries)
            if not reset and differs(name, row + (stage in one.taps.seen_late)):
                between = stage == "begun" and step in boundaries
                return step, "between epochs" if between else stage, name
    last = steps[0] - one.taps.first
    if steps[0] == steps[1] and last < ROWS:  # the passes of the last validation
        for stage, name in ordered:
            if stage in ("validation", "begun") and differs(name, last):
                return steps[0], "validation", name
    return None


def _in_causal_order(names: list[str]) -> list[tuple[str, str]]:
    stages = [(stage_of(name), name) for name in names]
    return sorted(stages, key=lambda one: STAGES.index(one[0]))  # stable: as they were traced
