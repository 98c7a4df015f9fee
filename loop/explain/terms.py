"""Each loss of the first step, redone with NumPy: values, weights, mask, sum, divisor, result."""

from typing import Any, NamedTuple

import numpy as np

from loop.explain.compiled import name_of_loss, reduction_of
from loop.explain.document import Heading, Part, Table, facts
from loop.explain.numbers import apart, brief, exact
from loop.explain.observe import ObservedTerm
from loop.types import LossTerm

ROWS = 5
"""How many samples are shown."""


class Term(NamedTuple):
    """A loss on one output in the first step.

    Attributes:
        output: The name of the output.
        loss: The name of the loss.
        reduction: How it is reduced over the batch, as in `keras.losses.Loss`.
        loss_weight: From `compile(loss_weights=...)`; 1 without.
        observed: What the step computed, as NumPy arrays.
    """

    output: str
    loss: str
    reduction: str
    loss_weight: float | None
    observed: ObservedTerm

    @property
    def weights(self) -> np.ndarray | None:
        """The weight of each element: sample weights times mask; None if all weigh 1.

        Mirrors Keras: before a mean, a mask also makes up for the elements that it leaves out.
        """
        mask, weight = self.observed.mask, self.observed.weight
        dtype = self.observed.values.dtype
        weight = None if weight is None else np.asarray(weight, dtype)
        if mask is None:
            return weight
        factor = np.where(mask, np.asarray(self.mask_weight, dtype), np.zeros((), dtype))
        if weight is None:
            return factor
        factor, weight = _same_rank(factor, weight)
        return weight * factor

    @property
    def mask_weight(self) -> float:
        """What an element weighs that the mask leaves in."""
        mask = self.observed.mask
        if self.reduction not in ("mean", "sum_over_batch_size") or not mask.any():
            return 1.0
        dtype = self.observed.values.dtype.type
        return dtype(mask.size) / dtype(mask.sum())

    @property
    def weighted(self) -> np.ndarray:
        """The loss of each element times its weight."""
        if self.weights is None:
            return self.observed.values
        values, weights = _same_rank(self.observed.values, self.weights)
        return values * weights

    @property
    def divisor(self) -> Any:
        """By what the sum is divided; None if it is not."""
        weighted, weights = self.weighted, self.weights
        if self.reduction in ("none", "sum") or weighted.shape in ((), (0,)):
            return None
        if self.reduction == "mean_with_sample_weight" and weights is not None:
            return weights.sum(dtype=weighted.dtype)
        return weighted.dtype.type(weighted.size)

    @property
    def by_hand(self) -> Any:
        """The loss by these numbers; None if the loss object has a `__call__` of its own."""
        if self.observed.values is None:
            return None
        weighted = self.weighted
        if self.reduction == "none" or weighted.shape in ((), (0,)):
            return weighted
        total, divisor = weighted.sum(dtype=weighted.dtype), self.divisor
        if divisor is None:
            return total
        return total / divisor if divisor else weighted.dtype.type(0)


def term_of(output: str, term: LossTerm, observed: ObservedTerm) -> Term:
    """Return a loss in numbers, from NumPy arrays."""
    names = name_of_loss(term.loss), reduction_of(term.loss)
    return Term(output, *names, term.weight, observed)


def _same_rank(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Add or remove a last axis of size 1 where the ranks of two arrays differ by one, as Keras."""
    if a.ndim == b.ndim + 1 and a.shape[-1] == 1:
        return (a, b[..., np.newaxis]) if b.ndim == 1 else (a[..., 0], b)
    if b.ndim == a.ndim + 1 and b.shape[-1] == 1:
        return (a[..., np.newaxis], b) if a.ndim == 1 else (a, b[..., 0])
    return a, b


def term_parts(term: Term) -> list[Part]:
    """Return a loss as a heading, a table of its first elements, and its sum and result."""
    title = Heading(f"{term.output}: {term.loss}")
    result = term.observed.result
    if term.by_hand is None:
        why = "the loss object has a __call__ of its own: its values are not taken apart"
        return [title, facts(("Keras", f"{exact(result)}; {why}"))]
    if not np.ndim(term.observed.values):
        why = "the loss returns one number for the batch, so weights and reduction do not apply"
        return [title, facts(("loss", why), *_result(term))]
    parts: list[Part] = [title, _elements(term)]
    return [*parts, facts(("mask", _mask(term)), *_sum(term), *_result(term))]


def _elements(term: Term) -> Table:
    """Return a table of the first elements, with their weights."""
    values, mask = term.observed.values, term.observed.mask
    weighted, weights = term.weighted, term.weights
    columns = {"target": term.observed.target, "prediction": term.observed.prediction}
    columns["loss"] = values
    if term.observed.weight is not None:
        columns["weight"] = _like(term.observed.weight, weighted)
    if mask is not None:
        columns["mask"] = _like(mask.astype(int), weighted)
    if weights is not None:
        columns["weighted"] = weighted
    places = list(np.ndindex(values.shape))[:ROWS]
    rows = [
        (",".join(map(str, place)), *(_cell(column, place) for column in columns.values()))
        for place in places
    ]
    if more := values.size - len(places):
        rows.append((f"{more:,} more", *[""] * len(columns)))
    return Table(("sample", *columns), tuple(rows), ("sample",))


def _like(array: Any, weighted: np.ndarray) -> np.ndarray:
    """Return weights in the shape of the weighted losses."""
    array = np.asarray(array)
    _, array = _same_rank(weighted, array)
    return np.broadcast_to(array, weighted.shape)


def _cell(column: Any, place: tuple[int, ...]) -> str:
    """Return the part of an array that belongs to an element of the loss."""
    column = np.asarray(column)
    found = column[place[: column.ndim]]
    return brief(found[0] if found.shape == (1,) else found)


def _mask(term: Term) -> str | None:
    mask = term.observed.mask
    if mask is None:
        return None
    counts = f"{int(mask.sum()):,} of {mask.size:,} elements count"
    if term.reduction not in ("mean", "sum_over_batch_size"):
        return counts
    return f"{counts}, each {mask.size:,} / {int(mask.sum()):,} = {brief(term.mask_weight)} times"


def _sum(term: Term) -> list[tuple[str, str]]:
    """Return the sum and what it is divided by, as facts."""
    weighted = term.weighted
    if term.reduction == "none":
        return [("reduction", "none: each element stays, and gradients are of their sum")]
    name = "sum" if term.weights is None else "weighted sum"
    rows = [(name, f"{exact(weighted.sum(dtype=weighted.dtype))} over {weighted.size:,}")]
    if term.divisor is None:
        return [*rows, ("divided by", "nothing (reduction: sum)")]
    weighs = term.reduction == "mean_with_sample_weight" and term.weights is not None
    what = "the sum of the weights" if weighs else "the number of elements, whatever their weights"
    return [*rows, ("divided by", f"{exact(term.divisor)}, {what} ({term.reduction})")]


def _result(term: Term) -> list[tuple[str, str]]:
    """Return the result by hand, and what Keras computed, as facts."""
    by_hand, computed = term.by_hand, term.observed.result
    return [
        ("by hand", exact(by_hand)),
        ("Keras", f"{exact(computed)}, {apart(by_hand, computed)}"),
    ]
