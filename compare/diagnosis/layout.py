"""The layout of a model: names, shapes and dtypes of its weights, for what captures them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np

from compare.location.capture import CapturedTraining
from compare.recording.recorder import variables_of


@dataclass(frozen=True)
class Layout:
    """What is captured of the trainings of a model; a process can pass it to another.

    Attributes:
        weights: The shape and dtype of each variable of the model, by name.
        trainable: The names of the trainable weights, and of the states of seed generators.
    """

    weights: dict[str, tuple[tuple[int, ...], np.dtype]]
    trainable: frozenset[str]

    @classmethod
    def of(cls, model: keras.Model) -> Layout:
        """Return the layout of a trained model."""
        weights = {
            name: (value.shape, value.dtype)
            for name, value in variables_of(model).items()
            if name.startswith("weights/")
        }
        return cls(weights, _trainable(model, [*weights]))

    def capture(self) -> CapturedTraining:
        """Return what captures the batches, gradients and weights of a training."""
        weights = {name: np.zeros(*spec) for name, spec in self.weights.items()}
        shapes = {
            place_of(name): shape
            for name, (shape, dtype) in self.weights.items()
            if dtype.kind == "f"
        }
        return CapturedTraining(weights, shapes)


def capture_of(model: keras.Model) -> CapturedTraining:
    """Return what captures the batches, gradients and weights of a training of a model."""
    return Layout.of(model).capture()


def place_of(name: str) -> int:
    """Return the place of a variable among those of the model, from the name of its tap."""
    return int(name.removeprefix("begun/").split("/")[1])


def _trainable(model: keras.Model, names: Sequence[str]) -> frozenset[str]:
    trained = {id(weight) for weight in model.trainable_weights}
    places = {
        place
        for place, variable in enumerate(model.variables)
        if id(variable) in trained or variable.path.endswith("seed_generator_state")
    }
    return frozenset(name for name in names if place_of(name) in places)
