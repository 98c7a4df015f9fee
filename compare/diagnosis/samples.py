"""The samples that a scenario gives to fit, and a fit on other batches of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from compare.diagnosis.broken import Break, FitCall
from compare.diagnosis.observed import Batch, Observed
from compare.location.fingerprint import fingerprint_rows
from compare.recording.recorder import prepare
from compare.scenario import FitArguments, Scenario
from loop.data.convert import to_tensor
from loop.data.split import split_validation

MOST_SAMPLES = 2**18
"""The most samples of a dataset to hold in memory."""


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

    @cached_property
    def targets(self) -> np.ndarray:
        """The fingerprint of the first target of each sample, int64; empty without targets."""
        leaves = [leaf for leaf in keras.tree.flatten(self.arrays[1]) if leaf is not None]
        return prints_of(leaves[0]) if leaves else np.zeros(0, np.int64)

    def targets_of_others(self, candidate: Observed) -> list[np.ndarray]:
        """Return whose targets each sample of each step is given, if not its own: their places.

        Returns:
            For each step the places of samples with these targets; empty if each has its own, or
            if that cannot be told: the targets are not, all in all, those of the samples.
        """
        own = [self.places_of(batch) for batch in candidate.batches]
        if not candidate.targets or not len(self.targets) or any(it is None for it in own):
            return []
        if self.are_ambiguous:
            return []
        wanted = self.targets[np.concatenate(own)]  # type: ignore[arg-type]
        given = np.concatenate(candidate.targets)
        if np.array_equal(wanted, given) or not np.array_equal(np.sort(wanted), np.sort(given)):
            return []
        rows = places(self.targets)
        return [np.array([rows[int(row)] for row in batch]) for batch in candidate.targets]

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
    try:
        arrays = _arrays_of(arguments)
        prints = prints_of(arrays[0])
    except (TypeError, ValueError, AttributeError, tf.errors.OpError):
        return None  # sparse, ragged, generators, or too many: batches are compared, not repeated
    in_order = not isinstance(arguments.get("x"), tf.data.Dataset)
    return Samples(arrays, prints, in_order, bool(arguments.get("validation_split")))


def _arrays_of(arguments: FitArguments) -> Any:
    """Return `(x, y, sample_weight)` of arguments of fit as arrays, leaves `[samples, ...]`.

    Raises:
        TypeError: They are no arrays or tensors that can be held; other errors, too.
    """
    x = arguments.get("x")
    given = x, arguments.get("y"), arguments.get("sample_weight")
    if isinstance(x, tf.data.Dataset):
        given = _rows_of(x)
    tensors = keras.tree.map_structure(to_tensor, given)
    return keras.tree.map_structure(lambda leaf: None if leaf is None else leaf.numpy(), tensors)


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


def on_batches_of(candidate: Observed, samples: Samples) -> Break | None:
    """Return a change of fit that trains on the candidate's own batches, in its own order.

    Returns:
        The change; None if a batch has samples that fit does not have, if equal inputs have other
        targets, so that the samples cannot be told apart, or if updates run over ends of epochs.
    """
    if candidate.accumulates > 1 and len({*map(len, candidate.epochs)}) > 1:
        return None
    found = [[samples.places_of(batch) for batch in epoch] for epoch in candidate.epochs]
    epochs = [[places for places in epoch if places is not None] for epoch in found]
    if samples.are_ambiguous or not epochs[0] or [*map(len, epochs)] != [*map(len, found)]:
        return None
    if others := samples.targets_of_others(candidate):
        left = iter(others)
        epochs = [[np.stack([own, next(left)], 1) for own in epoch] for epoch in epochs]
    return partial(_train_on, None if samples.in_order else samples.arrays, epochs)


def _train_on(arrays: Any, epochs: list[list[np.ndarray]], call: FitCall) -> None:
    """Let a fit train on these samples: on arrays if it can be, as a dataset has other shapes.

    Args:
        arrays: The samples; None for those in the arguments.
        epochs: The places of the samples of each batch of each epoch.
        call: The call of fit to change.
    """
    arguments = call.arguments
    arrays = _arrays_of(arguments) if arrays is None else arrays
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
    """Return the samples of arrays in an order.

    Args:
        arrays: Leaves `[samples, ...]`; the first is x.
        order: The places of the samples, `[samples]`; `[samples, 2]` if all but x has another one.
    """
    if order.ndim == 2:
        x, *rest = arrays
        return taken(x, order[:, 0]), *(taken(leaf, order[:, 1]) for leaf in rest)
    return keras.tree.map_structure(lambda leaf: None if leaf is None else leaf[order], arrays)


def dataset_of(batches: Callable[[], Iterator[Any]], arrays: Any) -> tf.data.Dataset:
    """Return a dataset of batches of arrays, leaves `[samples, ...]`; made anew for each pass."""
    specs = keras.tree.map_structure(
        lambda leaf: tf.TensorSpec([None, *leaf.shape[1:]], leaf.dtype), arrays
    )
    return tf.data.Dataset.from_generator(batches, output_signature=specs)
