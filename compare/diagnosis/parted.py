"""One optimizer that is made of several, each for a part of the variables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras


class PartedOptimizer(keras.optimizers.SGD):
    """Applies the optimizers of a loop, each to its own variables of a model.

    Args:
        model: The model, built.
        optimizers: The optimizers, which are made anew from their settings.
        places: Which variables of the model each of them updates.

    Raises:
        ValueError: The model has no variables yet.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizers: Sequence[keras.optimizers.Optimizer],
        places: Sequence[set[int]],
    ):
        super().__init__()
        if not model.built:
            raise ValueError("only a model that is built can be trained with several optimizers")
        self._parts = []
        for optimizer, of in zip(optimizers, places, strict=True):
            part = type(optimizer).from_config(optimizer.get_config())
            variables = [model.variables[place] for place in sorted(of)]
            part.build(variables)
            self._parts.append((part, {id(variable) for variable in variables}))

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        """Apply each gradient by the optimizer of its variable."""
        pairs = [*zip(grads, trainable_variables or self._trainable_variables, strict=True)]
        for part, variables in self._parts:
            own = [pair for pair in pairs if id(pair[1]) in variables]
            part.apply(*([*of] for of in zip(*own, strict=True)))
        self.iterations.assign_add(1)
