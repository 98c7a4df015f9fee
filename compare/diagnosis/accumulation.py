"""A fit that adds up the gradients of several batches before each update, as a loop does."""

from __future__ import annotations

from compare.diagnosis import mistakes
from compare.diagnosis.broken import Break, FitCall, changes_nothing
from compare.diagnosis.observed import Observed


def accumulation_of(candidate: Observed) -> Break:
    """Return a change of fit that computes gradients in parts, as a candidate does.

    The mean of these gradients is applied: a sum is a factor, which is another cause.
    """
    parts = candidate.accumulates
    if parts == 1:
        return changes_nothing
    sizes = [[*map(len, of_step)] for of_step in candidate.micro_batches]
    size = max(map(max, sizes))
    is_regular = all(of_step == [size] * parts for of_step in sizes)

    def breaks(call: FitCall) -> None:
        # Eagerly, a step sees how many samples its batch has; a graph is made for any number.
        call.model.run_eagerly |= not is_regular
        call.train = call.train.with_mistake("divided", mistakes.divided_into(parts, size))

    return breaks
