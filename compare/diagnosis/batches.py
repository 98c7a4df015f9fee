"""How the batches of a loop differ from those of fit: their sizes, their samples, their order."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator

import numpy as np

from compare.diagnosis.broken import BrokenRule, changes_nothing
from compare.diagnosis.observed import Batch, Observed
from compare.diagnosis.rules import BROKEN
from compare.diagnosis.samples import Samples

ORDER = "keras.src.trainers.data_adapters.array_data_adapter.ArrayDataAdapter.get_tf_dataset"

FOUND: dict[str, tuple[str, str]] = {
    "other_inputs": (
        "feeds the model samples that are not those of fit: scaled, cast or made otherwise",
        "x = x.astype('float32')  # prepare the data once, before fit and before the loop",
    ),
    "batch_size": (
        "trains on batches of {of_loop} samples, where fit takes {of_fit}",
        "batch_size = {of_fit}",
    ),
    "full_batch": (
        "trains on all {of_loop} samples in one batch, where fit takes batches of {of_fit}",
        "for start in range(0, len(x), {of_fit}): ...",
    ),
    "same_batch": (
        "trains on the same batch in every step of an epoch",
        "batch = x[step * batch_size : (step + 1) * batch_size]  # by the step, not by the epoch",
    ),
    "with_replacement": (
        "draws samples with replacement: in an epoch some come twice and others never",
        "order = rng.permutation(len(x))  # each sample once in an epoch",
    ),
    "part_of_data": (
        "trains on {of_loop} of the {of_fit} samples in an epoch",
        "for step in range(math.ceil(len(x) / batch_size)): ...",
    ),
    "several_passes": (
        "goes through the data more than once in an epoch",
        "for step in range(math.ceil(len(x) / batch_size)): ...  # once through the data",
    ),
    "other_steps": (
        "takes another number of steps in an epoch than fit",
        "for step in range(math.ceil(len(x) / batch_size)): ...",
    ),
    "trains_on_validation": (
        "trains on the samples that fit holds out for validation, too",
        "train, validation = data[:split], data[split:]  # before shuffling",
    ),
    "shuffles": (
        "shuffles, where fit does not",
        "fit(..., shuffle=True), or no shuffling in the loop",
    ),
    "shuffled_once": (
        "shuffles once: every epoch has the same order",
        "order = rng.permutation(len(x))  # inside of the loop over epochs",
    ),
    "two_iterators": (
        "makes one iterator of a reshuffling dataset for each epoch, where fit makes two: epoch k "
        "of fit has the order of epoch 2k of the loop, so both shuffle well, but differently",
        "no line to change: compare without shuffle, or call iter(dataset) once more in each epoch",
    ),
}
"""What a loop may do to its batches, and the line to change, by name of the rule."""

CHOSEN = {"same_batch", "with_replacement", "several_passes", "part_of_data"}
"""Rules after which an epoch has other samples than fit's: its last batch is not fit's last one."""


def same_batches(first: Observed, second: Observed) -> bool:
    """Return whether two trainings had the same batches in the same order."""
    pairs = itertools.zip_longest(first.batches, second.batches)
    return all(a is not None and b is not None and np.array_equal(a, b) for a, b in pairs)


def found_in_batches(
    reference: Observed, candidate: Observed, samples: Samples | None
) -> list[BrokenRule]:
    """Say how the batches of a candidate differ from those of the reference.

    Returns:
        The rules that the candidate breaks, causes first; empty if the batches are the same.
    """
    if same_batches(reference, candidate):
        return []
    theirs, ours = (_flat(run.epochs) for run in (reference, candidate))
    known = {int(row) for epoch in theirs for row in epoch}
    if samples:
        known |= set(samples.rows)
    if not all(int(row) in known for epoch in ours for row in epoch):
        return [_finding("other_inputs", 0, 0)]
    names = [*_in_composition(reference, candidate, samples)]
    sizes = [*_in_sizes(reference, candidate)]
    if CHOSEN & {*names}:
        sizes = [name for name in sizes if name != "last_partial_batch"]
    names = [*sizes, *names]
    sizes_of_batches = [max(map(len, run.batches)) for run in (candidate, reference)]
    sizes_of_epochs = [len({*epochs[0].tolist()}) for epochs in (ours, theirs)]
    return [
        BROKEN.get(name)
        or _finding(name, *(sizes_of_epochs if name == "part_of_data" else sizes_of_batches))
        for name in names or ["other_steps"]
    ]


def _in_sizes(reference: Observed, candidate: Observed) -> Iterator[str]:
    """Yield the names of what is wrong with the sizes of batches."""
    theirs, ours = ([*map(len, run.batches)] for run in (reference, candidate))
    if max(ours) != max(theirs):
        whole = max(ours) >= sum(map(len, reference.epochs[0]))
        yield "full_batch" if whole else "batch_size"
    elif min(theirs) < max(theirs) and min(ours) == max(ours):
        yield "last_partial_batch"


def _in_composition(
    reference: Observed, candidate: Observed, samples: Samples | None
) -> Iterator[str]:
    """Yield the names of what is wrong with the choice and the order of samples."""
    theirs, ours = _flat(reference.epochs), _flat(candidate.epochs)
    first = candidate.epochs[0]
    if len(first) > 1 and all(np.array_equal(batch, first[0]) for batch in first):
        yield "same_batch"
        return
    more = Counter(ours[0].tolist()) - Counter(theirs[0].tolist())
    if more.keys() & {*theirs[0].tolist()}:  # samples that come more often than in fit
        times = {*Counter(ours[0].tolist()).values()}
        yield "several_passes" if len(times) == 1 else "with_replacement"
        return
    if samples and samples.has_split and more and {*theirs[0].tolist()} <= {*ours[0].tolist()}:
        yield "trains_on_validation"
    whole = max(map(len, reference.batches))
    if len(ours[0]) < len(theirs[0]) // whole * whole:
        yield "part_of_data"
    yield from _in_order(theirs, ours, samples)


def _in_order(
    theirs: list[np.ndarray], ours: list[np.ndarray], samples: Samples | None
) -> Iterator[str]:
    """Yield the name of what is wrong with the order of samples, if anything."""
    if all(_begins(a, b) for a, b in zip(theirs, ours, strict=False)):
        return
    if samples and samples.in_order:
        if all(_begins(samples.prints, order) for order in ours):
            yield "shuffle"
            return
        of_fit, of_loop = {*theirs[0].tolist()}, {*ours[0].tolist()}
        if samples.has_split and of_loop - of_fit and of_fit - of_loop:
            yield "validation_tail"
            return
        if all(_begins(samples.prints, order) for order in theirs):
            yield "shuffles"
            return
    if len(theirs) > 1 and len(ours) > 2 and _begins(theirs[1], ours[2]):
        yield "two_iterators"
    elif len(ours) > 1 and _same_orders(ours) and not _same_orders(theirs):
        yield "shuffled_once"
    else:
        yield "permutation"


def _flat(epochs: list[list[Batch]]) -> list[np.ndarray]:
    """Return the samples of each epoch, in their order."""
    return [np.concatenate(batches) if batches else np.zeros(0, np.int64) for batches in epochs]


def _begins(longer: np.ndarray, order: np.ndarray) -> bool:
    shorter = min(len(longer), len(order))
    return bool(np.array_equal(longer[:shorter], order[:shorter]))


def _same_orders(epochs: list[np.ndarray]) -> bool:
    return all(np.array_equal(epoch, epochs[0]) for epoch in epochs)


def _finding(name: str, of_loop: int, of_fit: int) -> BrokenRule:
    """Return a rule for what a loop does to its batches, with the numbers of loop and fit."""
    mistake, line = (text.format(of_loop=of_loop, of_fit=of_fit) for text in FOUND[name])
    return BrokenRule(name, mistake, line, ORDER, changes_nothing, "batches")
