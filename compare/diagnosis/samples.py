"""Which samples make which batch: how a loop differs from fit there, and fit on its batches."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from compare.diagnosis.broken import Break, BrokenRule, FitCall, changes_nothing
from compare.diagnosis.observed import Batch, Observed
from compare.diagnosis.rules import BROKEN
from compare.location.fingerprint import fingerprint_rows
from compare.recording.recorder import prepare
from compare.scenario import Scenario
from loop.data.convert import to_tensor
from loop.data.split import split_validation

MOST_SAMPLES = 2**18
"""The most samples of a dataset to hold in memory."""

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


@dataclass
class Samples:
    """The samples that a scenario gives to fit.

    Attributes:
        arrays: `(x, y, sample_weight)`, leaves `[samples, ...]`; y and weights may be None.
        prints: The fingerprint of each sample, int64 `[samples]`.
        in_order: Whether the data has an order of its own, as arrays have.
        has_split: Whether fit holds out a part of them for validation.
    """

    arrays: Any
    prints: np.ndarray
    in_order: bool
    has_split: bool = False

    @cached_property
    def rows(self) -> dict[int, int]:
        """The place of each sample by its fingerprint."""
        return places(self.prints)

    @property
    def are_ambiguous(self) -> bool:
        """Whether samples with equal inputs have other targets or weights."""
        first = np.array([self.rows[int(row)] for row in self.prints], np.int64)
        return any(
            not np.array_equal(leaf, leaf[first], equal_nan=leaf.dtype.kind == "f")
            for leaf in keras.tree.flatten(self.arrays[1:])
            if leaf is not None
        )

    def places_of(self, batch: Batch) -> np.ndarray | None:
        """Return the places of a batch's samples in the arrays; None if one is not in them."""
        found = [self.rows.get(int(row), -1) for row in batch]
        return None if -1 in found else np.array(found, np.int64)


def places(prints: np.ndarray) -> dict[int, int]:
    """Return the place of each fingerprint; of equal ones the first."""
    return {int(row): place for place, row in reversed([*enumerate(prints)])}


def prints_of(inputs: Any) -> np.ndarray:
    """Return the fingerprints of the samples of inputs, leaves `[samples, ...]`: int64."""
    leaves = [leaf for leaf in keras.tree.flatten(inputs) if leaf is not None]
    return fingerprint_rows([tf.convert_to_tensor(leaf) for leaf in leaves]).numpy()


def samples_of(scenario: Scenario) -> Samples | None:
    """Return the samples of a scenario; None if they cannot be held or told apart."""
    arguments = dict(prepare(scenario)[1])
    x = arguments.pop("x", None)
    given = x, arguments.pop("y", None), arguments.pop("sample_weight", None)
    try:
        if isinstance(x, tf.data.Dataset):
            given = _rows_of(x)
        arrays = keras.tree.map_structure(to_tensor, given)
        prints = prints_of(arrays[0])
    except (TypeError, ValueError, AttributeError, tf.errors.OpError):
        return None  # sparse, ragged, generators, or too many: batches are compared, not repeated
    arrays = keras.tree.map_structure(lambda leaf: None if leaf is None else leaf.numpy(), arrays)
    in_order = not isinstance(x, tf.data.Dataset)
    return Samples(arrays, prints, in_order, bool(arguments.get("validation_split")))


def _rows_of(dataset: tf.data.Dataset) -> Any:
    """Return `(x, y, sample_weight)` of a finite dataset of batches.

    Raises:
        ValueError: The dataset is endless or too large.
    """
    if not 0 < int(dataset.cardinality()) < MOST_SAMPLES:
        raise ValueError("no finite dataset")
    batches = [keras.utils.unpack_x_y_sample_weight(batch) for batch in dataset]
    if sum(len(keras.tree.flatten(batch)[0]) for batch in batches) > MOST_SAMPLES:
        raise ValueError("too many samples")
    return keras.tree.map_structure(_joined, *batches)


def _joined(*parts: Any) -> Any:
    return None if parts[0] is None else tf.concat(parts, 0)


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


def on_batches_of(candidate: Observed, samples: Samples) -> Break | None:
    """Return a change of fit that trains on the candidate's own batches, in its own order.

    Returns:
        The change; None if a batch has samples that fit does not have, or if equal inputs have
        other targets, so that the samples cannot be told apart.
    """
    found = [[samples.places_of(batch) for batch in epoch] for epoch in candidate.epochs]
    epochs = [[places for places in epoch if places is not None] for epoch in found]
    if samples.are_ambiguous or not epochs[0] or [*map(len, epochs)] != [*map(len, found)]:
        return None
    return partial(_train_on, samples.arrays, epochs)


def _train_on(arrays: Any, epochs: list[list[np.ndarray]], call: FitCall) -> None:
    """Let a fit train on these samples: on arrays if it can be, as a dataset has other shapes."""
    arguments = call.arguments
    resolve_split(arguments)
    orders = [np.concatenate(epoch) for epoch in epochs]
    size, length = len(epochs[0][0]), len(orders[0])
    cuts = [[*map(len, epoch)] for epoch in epochs]
    equally_cut = all(cut[:-1] == [size] * (len(cut) - 1) and cut[-1] <= size for cut in cuts)
    arguments |= {"shuffle": False, "steps_per_epoch": None, "y": None, "sample_weight": None}
    if equally_cut and all(np.array_equal(order, orders[0]) for order in orders):
        data, arguments["batch_size"] = taken(arrays, orders[0]), size
    elif equally_cut and length % size == 0 and {*map(len, orders)} == {length}:
        data = taken(arrays, np.concatenate(orders))
        arguments |= {"batch_size": size, "steps_per_epoch": length // size}
    else:
        given = tuple(part for part in arrays if part is not None)
        batches = [*itertools.chain.from_iterable(epochs)]
        data = dataset_of(lambda: (taken(given, order) for order in batches), given), None, None
        arguments.setdefault("validation_batch_size", arguments.pop("batch_size", None))
        arguments["steps_per_epoch"] = len(epochs[0])
    arguments["x"], arguments["y"], arguments["sample_weight"] = data


def resolve_split(arguments: dict[str, Any]) -> None:
    """Turn `validation_split` into `validation_data`, in arguments of fit."""
    part = arguments.pop("validation_split", None)
    if not part or arguments.get("validation_data") is not None:
        return
    given = arguments.get("x"), arguments.get("y"), arguments.get("sample_weight")
    train, held_out = split_validation(given, part)
    arguments.update(zip(("x", "y", "sample_weight"), train, strict=True))
    arguments["validation_data"] = tuple(leaf for leaf in held_out if leaf is not None)


def taken(arrays: Any, order: np.ndarray) -> Any:
    """Return the samples of arrays in an order."""
    return keras.tree.map_structure(lambda leaf: None if leaf is None else leaf[order], arrays)


def dataset_of(batches: Callable[[], Iterator[Any]], arrays: Any) -> tf.data.Dataset:
    """Return a dataset of batches of arrays, leaves `[samples, ...]`; made anew for each pass."""
    specs = keras.tree.map_structure(
        lambda leaf: tf.TensorSpec([None, *leaf.shape[1:]], leaf.dtype), arrays
    )
    return tf.data.Dataset.from_generator(batches, output_signature=specs)
