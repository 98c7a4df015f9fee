"""The validation split: the last rows of the arrays, split off before shuffling."""

import math

import keras

from loop.data.convert import is_array, to_array
from loop.data.sparse import rows_of
from loop.types import Arrays


def split_validation(arrays: Arrays, validation_split: float) -> tuple[Arrays, Arrays]:
    """Split `(x, y, sample_weight)` into training rows and the last rows, for validation.

    Args:
        arrays: Structures of arrays `[samples, ...]`, or None.
        validation_split: The fraction of the rows to validate on.

    Returns:
        The training arrays, and the validation arrays.

    Raises:
        ValueError: A leaf is no array, or one of the two parts would be empty.

    Mirrors: keras.src.trainers.data_adapters.array_slicing.train_validation_split
    """
    given = [leaf for leaf in keras.tree.flatten(arrays) if leaf is not None]
    if unknown := [type(leaf) for leaf in given if not is_array(leaf)]:
        raise ValueError(
            "Argument `validation_split` is only supported for tensors or NumPy arrays. Found "
            f"incompatible type in the input: {unknown}. Pass `validation_data` instead."
        )
    if not given:
        return arrays, arrays
    samples = int(given[0].shape[0])
    cut = math.floor(samples * (1.0 - validation_split))
    if cut in (0, samples):
        raise ValueError(
            f"Training data contains {samples} samples, which is not sufficient to split it into "
            f"a validation and training set as specified by validation_split={validation_split}: "
            f"{cut} would be left to train on. Either provide more data, or a different value for "
            "the `validation_split` argument."
        )
    converted = keras.tree.map_structure(to_array, arrays)

    def part(start: int, stop: int) -> Arrays:
        return keras.tree.map_structure(
            lambda array: None if array is None else rows_of(array, start, stop), converted
        )

    return part(0, cut), part(cut, samples)
