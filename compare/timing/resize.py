"""The same training in another size: more or fewer steps, larger batches, wider layers."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from compare.scenario import FitArguments


@dataclass(frozen=True)
class Size:
    """How much larger a training becomes.

    Attributes:
        steps: Factor for the steps of an epoch.
        batch: Factor for the samples of a batch.
        width: Factor for the units of all layers but the last ones.
        epochs: How many epochs; None keeps the number.
    """

    steps: float = 1
    batch: float = 1
    width: float = 1
    epochs: int | None = None


AS_IT_IS = Size()


class FixedSizeError(Exception):
    """Raised for a training that cannot be resized; the message says why."""


def resized(arguments: FitArguments, size: Size) -> dict[str, Any]:
    """Return the arguments of fit for another size: rows of its arrays, repeated or left out.

    Raises:
        FixedSizeError: The data is no array, or the arguments fix the steps.
    """
    changed = dict(arguments)
    if size.epochs is not None:
        changed["epochs"] = size.epochs + changed.get("initial_epoch", 0)
    if size.steps == size.batch == 1:
        return changed
    data = {name: changed[name] for name in ("x", "y", "sample_weight") if name in changed}
    leaves = [leaf for leaf in keras.tree.flatten(data) if leaf is not None]
    if not all(isinstance(leaf, np.ndarray | tf.Tensor) for leaf in leaves):
        raise FixedSizeError("only arrays can be made longer or shorter")
    if changed.get("steps_per_epoch"):
        raise FixedSizeError("steps_per_epoch fixes the steps")
    batch = changed.get("batch_size") or 32
    samples, larger = len(leaves[0]), max(1, round(batch * size.batch))
    rows = np.arange(max(1, round(samples / batch * size.steps * larger))) % samples
    taken = keras.tree.map_structure(lambda leaf: np.asarray(leaf)[rows], data)
    return {**changed, **taken, "batch_size": larger}


def wider(model: keras.Model, factor: float) -> keras.Model:
    """Return a compiled clone with more units in all layers but those that end in an output.

    A factor of 1 returns the model itself.

    Raises:
        FixedSizeError: Its layers cannot be cloned, or none of them has units.
    """
    if factor == 1:
        return model
    last = {id(output) for output in keras.tree.flatten(model.outputs or [])}
    widened = []

    def cloned(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = layer.get_config()
        for name in ("units", "filters"):
            if isinstance(config.get(name), int) and id(layer.output) not in last:
                config[name] = max(1, round(config[name] * factor))
                widened.append(layer.name)
        return type(layer).from_config(config)

    try:
        clone = keras.models.clone_model(model, clone_function=cloned)
        clone.compile_from_config(model.get_compile_config())
    except Exception as error:  # a layer of the user's may not know its config
        raise FixedSizeError(f"its layers cannot be cloned: {error}") from error
    if not widened:
        raise FixedSizeError("none of its layers but the last has units or filters")
    return clone
