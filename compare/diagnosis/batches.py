"""How the batches of a loop differ from those of fit: their sizes, their samples, their order."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence

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
    "targets_of_others": (
        "trains samples on the targets of other samples: x and y come in different orders",
        "order = rng.permutation(len(x)); x, y = x[order], y[order]  # one order for both",
    ),
    "batch_size": (
        "trains on batches of {of_loop} samples, where fit takes {of_fit}",
        "batch_size = {of_fit}",
    ),
    "gradient_accumulation": (
        "adds up the gradients of {parts} batches before it updates the weights: one update for "
        "{of_loop} samples, where fit makes one for {of_fit}",
        "batch_size={of_loop}  # in fit, or optimizer.apply_gradients after every batch",
    ),
    "left_over_gradients": (
        "never applies the gradients of what is left at the end of an epoch: it learns from "
        "{of_loop} of the {of_fit} samples",
        "if (step + 1) % {parts} == 0 or step + 1 == steps: ...  # apply the rest, too",
    ),
    "updates_over_epochs": (
        "goes on adding up gradients over the end of an epoch: some updates have samples of two",
        "if (step + 1) % {parts} == 0 or step + 1 == steps: ...  # apply what is left of an epoch",
    ),
    "micro_batches": (
        "computes the gradients of a batch in {parts} parts: BatchNormalization sees each part "
        "alone, and dropout draws anew for it",
        "y_pred = model(x, training=True)  # all {of_fit} samples at once",
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
    "other_cuts": (
        "has batches of the sizes of fit in another order: the short one is not the last",
        "for start in range(0, len(x), {of_fit}): ...",
    ),
    "trains_on_validation": (
        "trains on the samples that fit holds out for validation, too",
        "train, validation = data[:split], data[split:]  # before shuffling",
    ),
    "shuffles": (
        "shuffles, where fit does not",
        "fit(..., shuffle=True), or no shuffling in the loop",
    ),
    "shuffle_buffer": (
        "shuffles with a buffer of about {of_loop} samples, where fit shuffles all {of_fit}: what "
        "is close together in the data stays together",
        "dataset.shuffle({of_fit})  # a buffer as large as the data",
    ),
    "repeats_before_batching": (
        "repeats the dataset before it makes batches of it: batches run over the end of an epoch",
        "dataset.batch(batch_size).repeat()  # first batch, then repeat",
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

CHOSEN = {
    "same_batch",
    "with_replacement",
    "several_passes",
    "part_of_data",
    "left_over_gradients",
    "repeats_before_batching",
    "updates_over_epochs",
}
"""Rules after which an epoch has other samples than fit's: its last batch is not fit's last one."""


def same_batches(first: Observed, second: Observed) -> bool:
    """Return whether two trainings had the same batches in the same order."""
    pairs = itertools.zip_longest(first.batches, second.batches)
    return all(a is not None and b is not None and np.array_equal(a, b) for a, b in pairs)


def are_known(reference: Observed, candidate: Observed, samples: Samples | None) -> bool:
    """Return whether all samples of a candidate are those of the reference."""
    known = {int(row) for batch in reference.batches for row in batch}
    known |= set(samples.rows) if samples else set()
    return all(int(row) in known for batch in candidate.batches for row in batch)


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
    if not are_known(reference, candidate, samples):
        return [finding("other_inputs", [0, 0])]
    names = [*_in_composition(reference, candidate, samples)]
    sizes = [*_in_sizes(reference, candidate)]
    if CHOSEN & {*names}:
        sizes = [name for name in sizes if name != "last_partial_batch"]
    counts = [len({*epochs[0].tolist()}) for epochs in (ours, theirs)]
    numbers = {
        "part_of_data": counts,
        "left_over_gradients": counts,
        "shuffle_buffer": [(samples and _buffer(ours, samples)) or 0, len(theirs[0])],
    }
    of_batches = [max(map(len, run.batches)) for run in (candidate, reference)]
    steps = [[*map(len, run.epochs)] for run in (candidate, reference)]
    return [
        BROKEN.get(name) or finding(name, numbers.get(name, of_batches), candidate.accumulates)
        for name in [*sizes, *names] or ["other_cuts" if steps[0] == steps[1] else "other_steps"]
    ]


def _in_sizes(reference: Observed, candidate: Observed) -> Iterator[str]:
    """Yield the names of what is wrong with the sizes of batches."""
    theirs, ours = ([*map(len, run.batches)] for run in (reference, candidate))
    if max(ours) != max(theirs):
        whole = max(ours) >= sum(map(len, reference.epochs[0]))
        if candidate.accumulates > 1:
            yield "gradient_accumulation"
            return
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
    if _is_repeated(ours, theirs[0]):
        adds_up = candidate.accumulates > 1
        yield "updates_over_epochs" if adds_up else "repeats_before_batching"
        return
    if more.keys() & {*theirs[0].tolist()}:  # samples that come more often than in fit
        misses = Counter(theirs[0].tolist()) - Counter(ours[0].tolist())
        yield "with_replacement" if misses else "several_passes"
        return
    if samples and samples.has_split and more and {*theirs[0].tolist()} <= {*ours[0].tolist()}:
        yield "trains_on_validation"
    whole = max(map(len, reference.batches))
    if len(ours[0]) < len(theirs[0]) // whole * whole:
        yield "part_of_data" if candidate.accumulates == 1 else "left_over_gradients"
    yield from _in_order(theirs, ours, samples)


def _in_order(
    theirs: list[np.ndarray], ours: list[np.ndarray], samples: Samples | None
) -> Iterator[str]:
    """Yield the name of what is wrong with the order of samples, if anything."""
    if all(_begins(a, b) for a, b in zip(theirs, ours, strict=False)):
        return
    if samples and samples.in_order:
        in_place = [
            all(_is_in_place(order, samples) for order in epochs) for epochs in (theirs, ours)
        ]
        if all(in_place):  # each leaves out other samples
            return
        if in_place[1]:
            yield "shuffle"
            return
        of_fit, of_loop = {*theirs[0].tolist()}, {*ours[0].tolist()}
        if samples.has_split and of_loop - of_fit and of_fit - of_loop:
            yield "validation_tail"
            return
        if in_place[0]:
            yield "shuffles"
            return
    if len(theirs) > 1 and len(ours) > 2 and _begins(theirs[1], ours[2]):
        yield "two_iterators"
    elif samples and samples.in_order and _buffer(ours, samples):
        yield "shuffle_buffer"
    elif len(ours) > 1 and _same_orders(ours) and not _same_orders(theirs):
        yield "shuffled_once"
    else:
        yield "permutation"


def _buffer(orders: list[np.ndarray], samples: Samples) -> int | None:
    """Return the size of the buffer that epochs were shuffled with; None if it is half the data.

    A buffer of n samples cannot give a sample more than n - 1 places before its own.
    """
    places = [samples.places_of(order) for order in orders]
    ahead = [found - np.arange(len(found)) for found in places if found is not None]
    size = max((int(of.max()) + 1 for of in ahead if len(of)), default=0)
    return size if 1 < size <= max(map(len, orders)) // 2 and len(ahead) == len(orders) else None


def _is_repeated(ours: list[np.ndarray], of_fit: np.ndarray) -> bool:
    """Return whether batches run over the ends of passes through the data.

    Args:
        ours: The samples of each epoch of a loop, in their order.
        of_fit: The samples of an epoch of fit, each of them once.
    """
    stream, size, known = np.concatenate(ours), len(of_fit), {*of_fit.tolist()}
    if not size or len(known) < size or not len(ours[0]) % size or len(stream) <= size:
        return False
    passes = [stream[start : start + size].tolist() for start in range(0, len(stream), size)]
    return all(len({*of_pass}) == len(of_pass) and {*of_pass} <= known for of_pass in passes)


def _flat(epochs: list[list[Batch]]) -> list[np.ndarray]:
    """Return the samples of each epoch, in their order."""
    return [np.concatenate(batches) if batches else np.zeros(0, np.int64) for batches in epochs]


def _is_in_place(order: np.ndarray, samples: Samples) -> bool:
    """Return whether samples come in the order of the data, some of them left out perhaps."""
    places = samples.places_of(order)
    return _begins(samples.prints, order) or (
        places is not None and bool(np.all(np.diff(places) > 0))
    )


def _begins(longer: np.ndarray, order: np.ndarray) -> bool:
    shorter = min(len(longer), len(order))
    return bool(np.array_equal(longer[:shorter], order[:shorter]))


def _same_orders(epochs: list[np.ndarray]) -> bool:
    return all(np.array_equal(epoch, epochs[0]) for epoch in epochs)


def finding(name: str, numbers: Sequence[int], parts: int = 1) -> BrokenRule:
    """Return a rule for what a loop does to its batches.

    Args:
        name: One of `FOUND`.
        numbers: The numbers of samples that the sentence gives, of the loop and of fit.
        parts: How many batches the loop adds up the gradients of.
    """
    values = {"of_loop": numbers[0], "of_fit": numbers[1], "parts": parts}
    mistake, line = (text.format(**values) for text in FOUND[name])
    return BrokenRule(name, mistake, line, ORDER, changes_nothing, "batches")
