"""A training of the model that a candidate is passed, by the loop of a script.

The script's model reads and writes the weights of the passed model, and its forward pass is called
through the passed model's: what wraps or reads the passed model sees what the loop does.
"""

import functools
import itertools
from collections.abc import Callable
from typing import Any
from unittest import mock

import keras
import numpy as np
import tensorflow as tf

from compare.errors import NeverTrainedError, OtherWeightsError, ScriptError
from compare.execution.in_process import Stopped
from loop.state import share_values

STEPS = 2**18
"""The most steps of a loop whose losses are recorded."""


class Forwarding:
    """A model's method `call`, which can be replaced below what wraps it.

    Attributes:
        to: The function that is called.
    """

    def __init__(self, call: Callable[..., Any]):
        functools.update_wrapper(self, call)
        self.to = call

    def __call__(self, *inputs: Any, **more: Any) -> Any:
        """Call the function."""
        return self.to(*inputs, **more)


class LoopTraining:
    """A training of the passed model by the loop of a script: a `followed.Training`.

    Args:
        passed: The model that the candidate is passed.
        forwarding: Its method `call`.
        script: The name of the script, for messages.
    """

    def __init__(self, passed: keras.Model, forwarding: Forwarding, script: str):
        self._passed = passed
        self._forwarding = forwarding
        self._script = script
        self._optimizer: keras.optimizers.Optimizer | None = None
        with tf.device("CPU"):
            self._samples = tf.Variable(0, dtype=tf.int64)
            self._steps = tf.Variable(0, dtype=tf.int64)
            self._losses = tf.Variable(tf.zeros([STEPS, 2], tf.float64))

    def begin(self, model: keras.Model, inputs: Any) -> None:
        """Let the script's model read and write the weights of the passed model.

        Raises:
            Stopped: They have other shapes.
        """
        with mock.patch.object(self._passed, "call", self._forwarding):  # without taps
            _build(self._passed, inputs)
        _build(model, inputs)
        self._require_same_shapes(model)
        share_values(model.weights, self._passed.weights)
        states = _states(model), _states(self._passed)
        if _shapes(states[0]) == _shapes(states[1]):
            share_values(*states)
        self._forwarding.to = model.call

        @functools.wraps(model.call)
        def by_passed_model(*inputs: Any, **more: Any) -> Any:
            self._count_samples((inputs, more))
            return self._passed.call(*inputs, **more)  # what wraps it sees the call

        model.call = by_passed_model

    def _count_samples(self, inputs: Any) -> None:
        """Record how many samples a forward pass has."""
        for leaf in keras.tree.flatten(inputs):
            if (tf.is_tensor(leaf) or isinstance(leaf, np.ndarray)) and len(leaf.shape):
                self._samples.assign(tf.shape(leaf, tf.int64)[0])
                return

    def _require_same_shapes(self, model: keras.Model) -> None:
        theirs, ours = _shapes(self._passed.weights), _shapes(model.weights)
        if theirs == ours:
            return
        at, shapes = next(
            (at, shapes)
            for at, shapes in enumerate(itertools.zip_longest(theirs, ours, fillvalue="missing"))
            if shapes[0] != shapes[1]
        )
        raise Stopped(
            OtherWeightsError(
                f"the loop of {self._script} trains a model of {len(ours)} weights, the fit one of "
                f"{len(theirs)}, and weight {at} is {shapes[1]} in the loop and {shapes[0]} in the "
                "fit: build the same layers in the same order"
            )
        )

    def step(self, target: Any) -> None:
        """Record the loss of a step, and how many samples the last forward pass had."""
        values = [tf.reduce_sum(tf.cast(value, tf.float64)) for value in keras.tree.flatten(target)]
        row = tf.stack([tf.add_n(values), tf.cast(self._samples, tf.float64)])
        place = tf.minimum(self._steps, STEPS - 1)
        self._losses.scatter_nd_update([[place]], [row])
        self._steps.assign_add(1)

    def apply(self, optimizer: keras.optimizers.Optimizer) -> None:
        """Note the optimizer of the loop."""
        self._optimizer = self._optimizer or optimizer

    def end(self) -> None:
        """Give the passed model's optimizer the state of the loop's, if it is of the same kind."""
        theirs, ours = self._passed.optimizer, self._optimizer
        if theirs is None or ours is None:
            return
        theirs.build(self._passed.trainable_variables)
        if type(theirs) is type(ours) and _shapes(theirs.variables) == _shapes(ours.variables):
            for variable, other in zip(theirs.variables, ours.variables, strict=True):
                variable.assign(other.value)

    def losses(self, epochs: int, steps: int | None) -> list[float]:
        """Return the loss of each epoch, a mean over samples as that of fit."""
        count = int(self._steps.numpy())
        if not count:
            raise NeverTrainedError(f"the loop of {self._script} was not reached when run again")
        if count > STEPS:
            raise ScriptError(
                f"the loop of {self._script} has more than {STEPS:,} steps: shorten it"
            )
        rows = self._losses.numpy()[:count]
        size = steps_of_epoch(count, epochs, steps)
        return [_mean(rows[first : first + size]) for first in range(0, count, size)]


def steps_of_epoch(count: int, epochs: int, steps: int | None) -> int:
    """Return how many steps of a loop make an epoch.

    Args:
        count: The steps of the loop.
        epochs: The epochs of fit.
        steps: The steps of an epoch of fit; None if unknown.
    """
    if steps and (count % steps == 0 or count % max(epochs, 1)):
        return steps
    return max(count // max(epochs, 1), 1)


def _mean(rows: np.ndarray) -> float:
    """Return the mean of losses weighted by samples, in the operations of Keras: `[steps, 2]`."""
    mean = keras.metrics.Mean()
    for loss, samples in rows:
        mean.update_state(np.float32(loss), sample_weight=tf.constant(int(samples), tf.int32))
    return float(mean.result())


def _build(model: keras.Model, inputs: Any) -> None:
    """Build a model for inputs, without calling it on them."""
    if not model.built:
        model(*keras.tree.map_structure(_symbolic, inputs))


def _symbolic(value: Any) -> keras.KerasTensor:
    tensor = value if tf.is_tensor(value) else np.asarray(value)
    return keras.KerasTensor(tuple(tensor.shape), keras.backend.standardize_dtype(tensor.dtype))


def _states(model: keras.Model) -> list[keras.Variable]:
    """Return the variables of a model that are no weights: the states of its seeds."""
    weights = {id(weight) for weight in model.weights}
    return [variable for variable in model.variables if id(variable) not in weights]


def _shapes(variables: list[keras.Variable]) -> list[tuple[int, ...]]:
    return [tuple(variable.shape) for variable in variables]
