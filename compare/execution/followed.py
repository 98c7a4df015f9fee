"""Follow what trains in a script that runs in this process: its fits and its loops.

A loop is followed at a few places that every loop calls: the model, the tape, the optimizer. Where
these are called while a graph is traced, what is recorded is recorded in the graph.
"""

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol
from unittest import mock

import keras
import tensorflow as tf

from compare.execution.in_process import Stopped
from compare.execution.places import Place, ScriptLines
from compare.location.taps import is_symbolic, optimizers_with_apply

Call = Callable[..., Any]


class Loop(NamedTuple):
    """A training loop of a script.

    Attributes:
        place: Where the loop is.
        model: Which model it trains, counted in the order in which the script first calls them.
    """

    place: Place
    model: int


class Training(Protocol):
    """The functions that a follower calls: at the begin of the loop, in its steps, at updates."""

    def begin(self, model: keras.Model, inputs: Any) -> None:
        """Take over the model before the first forward pass of the loop."""

    def step(self, target: Any) -> None:
        """Note a step, in whose tape `target` was computed."""

    def apply(self, optimizer: keras.optimizers.Optimizer) -> None:
        """Note the optimizer that has updated the model."""


class Follower:
    """Follows the fits and the loops of a script while it runs.

    Args:
        lines: The lines of the script.
        wanted: The loop to follow; None to find all loops.
        training: What this loop trains.

    Attributes:
        fits: Where the script called fit.
        loops: The loops that it has run, in their order.
        unowned: Where weights were trained that are not all of one model that the script called.
        following: Whether the wanted loop has begun.
    """

    def __init__(
        self, lines: ScriptLines, wanted: Loop | None = None, training: Training | None = None
    ):
        self.fits: list[Place] = []
        self.loops: list[Loop] = []
        self.unowned: list[Place] = []
        self.following = False
        self._lines = lines
        self._wanted = wanted
        self._training = training
        self._models: list[keras.Model] = []
        self._in_fit = False
        self._own_fit: Place | None = None  # of a model with a step of its own, while it runs
        self._in_model = False
        self._in_apply = False

    @property
    def is_aside(self) -> bool:
        """Whether the script is somewhere else than in the loop that is followed."""
        return self._in_fit or not self.following

    @contextlib.contextmanager
    def hooks(self) -> Iterator[None]:
        """Follow what runs in the block."""
        fit = next(kind for kind in keras.Model.__mro__ if "fit" in vars(kind))
        with contextlib.ExitStack() as stack:
            for owner, name, around in (
                (fit, "fit", self._around_fit),
                (keras.Layer, "__call__", self._around_call),
                (tf.GradientTape, "gradient", self._around_gradient),
                *((kind, "apply", self._around_apply) for kind in optimizers_with_apply()),
            ):
                hook = around(getattr(owner, name))
                stack.enter_context(mock.patch.object(owner, name, hook))
            yield

    def _around_fit(self, fit: Call) -> Call:
        @functools.wraps(fit)
        def followed(model: keras.Model, *args: Any, **arguments: Any) -> Any:
            if self._in_fit or self._own_fit:
                return fit(model, *args, **arguments)
            if self.following:  # the loop is over
                raise Stopped
            self.fits.append(self._lines.call(inspect.currentframe()))
            # A step that a model overrides is a loop of the script's.
            has_own_step = type(model).train_step is not keras.Model.train_step
            self._in_fit, self._own_fit = not has_own_step, self.fits[-1] if has_own_step else None
            try:
                done = fit(model, *args, **arguments)
            finally:
                self._in_fit, self._own_fit = False, None
            if self.following:
                raise Stopped
            return done

        return followed

    def _around_call(self, call: Call) -> Call:
        @functools.wraps(call)
        def followed(layer: keras.Layer, *inputs: Any, **more: Any) -> Any:
            outermost = isinstance(layer, keras.Model) and not (self._in_fit or self._in_model)
            if not outermost or is_symbolic(inputs):
                return call(layer, *inputs, **more)
            self._in_model = True
            try:
                self._begin_if_wanted(self._number(layer), layer, inputs)
                return call(layer, *inputs, **more)
            finally:
                self._in_model = False

        return followed

    def _number(self, model: keras.Model) -> int:
        """Return the number of a model that the script calls, and note that it was called last."""
        for number, known in enumerate(self._models):
            if known is model:
                return number
        self._models.append(model)
        return len(self._models) - 1

    def _loop_place(self) -> Place:
        return self._own_fit or self._lines.loop(inspect.currentframe())

    def _begin_if_wanted(self, number: int, model: keras.Model, inputs: Any) -> None:
        if self.following or not (self._wanted and self._training):
            return
        if self._wanted == Loop(self._loop_place(), number):
            self.following = True
            self._training.begin(model, inputs)

    def _around_gradient(self, gradient: Call) -> Call:
        @functools.wraps(gradient)
        def followed(
            tape: tf.GradientTape, target: Any, sources: Any, *args: Any, **more: Any
        ) -> Any:
            if not self._in_fit:
                self._trained(target, sources)
            return gradient(tape, target, sources, *args, **more)

        return followed

    def _trained(self, target: Any, sources: Any) -> None:
        """Note a step of a loop."""
        place = self._loop_place()
        model = self._owner(keras.tree.flatten(sources))
        if model is None:
            self.unowned.append(place)
            return
        loop = Loop(place, model)
        if loop not in self.loops:
            self.loops.append(loop)
        if self.following and self._training:
            if loop != self._wanted:
                raise Stopped
            self._training.step(target)

    def _owner(self, sources: list[Any]) -> int | None:
        """Return the number of the model whose variables these are; None if there is none."""
        wanted = {id(source) for source in sources}
        owned = [wanted & ids_of(model.trainable_variables) for model in self._models]
        most = max(owned, key=len, default=set())
        return owned.index(most) if most and most == set().union(*owned) else None

    def _around_apply(self, apply: Call) -> Call:
        @functools.wraps(apply)
        def followed(optimizer: Any, *args: Any, **more: Any) -> Any:
            if self._in_apply or self.is_aside:
                return apply(optimizer, *args, **more)
            self._in_apply = True
            try:
                done = apply(optimizer, *args, **more)
            finally:
                self._in_apply = False
            if self._training:
                self._training.apply(optimizer)
            return done

        return followed


def ids_of(variables: list[keras.Variable]) -> set[int]:
    """Return the ids of variables, as Keras and as TensorFlow hold them."""
    return {id(held) for variable in variables for held in (variable, variable.value)}
