"""A step becomes a compiled call, one for each batch: plan `step`, and how Keras does it.

    call(batches, 1):               # batches: a pass over the data
        batch = next(batches)       # where the pass has run dry, this ends the epoch
        return [compiled_step(batch)]

What was traced is kept on the function object that Keras makes for the same purpose
(`model.train_function`), so it lives exactly as long: `compile` and
`make_train_function(force=True)` drop it, a second fit on the same shapes traces nothing.
"""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from loop import step as steps
from loop._keras import is_inherited
from loop.checks import check_inherited
from loop.compiled import concrete, graph, kept
from loop.types import Batch, Logs, Pass, StepFunction, Structure


class Compiled(NamedTuple):
    """A step compiled for both ways in which batches come."""

    step: StepFunction
    on_batch: Any
    """Takes a batch: the one concrete function for all of them, or Python that runs eagerly."""

    on_pass: Callable[[tf.data.Iterator], Any]
    """Draws its batch inside the graph. A pass that has run dry fails there in mid-step, when the
    optimizer may have counted an iteration already: Keras's does, so does this."""


class StepGraphs:
    """The graphs of one step of a model, for batches of one spec, wherever they are kept."""

    def __init__(
        self,
        model: keras.Model,
        spec: Structure,
        owner: Callable[[], Any],
        choose: Callable[[], StepFunction],
        given_step: StepFunction | None,
        name: str,
    ):
        self.model = model
        self.name = name
        self.spec = spec
        self.key = repr(spec)
        self._owner = owner
        self._choose = choose
        self._given_step = given_step

    @property
    def owner(self) -> Any:
        """Keras's function for the same work, on which everything traced is kept.

        Asked at every call, like Keras: a callback may have made it trace another step anew.
        """
        return self._owner()

    def compiled(self) -> Compiled:
        """The step, traced at the first call for such batches."""
        owner = self.owner
        step = self._given_step or kept(owner, "the step of the model", self._choose)

        def make() -> Compiled:
            functions = kept(owner, step, lambda: _functions(self.model, step))
            return Compiled(step, concrete(functions.on_batch, self.spec), functions.on_pass)

        return kept(owner, (step, self.key), make)


def train_graphs(
    model: keras.Model, train_step: StepFunction | None, spec: Structure
) -> StepGraphs:
    """The graphs of the step that trains.

    Args:
        model: The model to train.
        train_step: A step to use in place of the model's.
        spec: A `tf.TensorSpec` for each leaf of a batch.

    Mirrors: keras.Model.make_train_function
    """
    check_inherited(model.make_train_function, keras.Model.make_train_function)

    def owner() -> Any:
        model.make_train_function()
        return model.train_function

    def choose() -> StepFunction:
        inherited = is_inherited(model.train_step, keras.Model.train_step)
        return steps.train_step if inherited else steps.overridden_train_step

    owner()  # before training starts: callbacks look for it on the model
    return StepGraphs(model, spec, owner, choose, train_step, "train_function")


def test_graphs(model: keras.Model, test_step: StepFunction | None, spec: Structure) -> StepGraphs:
    """The graphs of the step that evaluates.

    Mirrors: keras.Model.make_test_function
    """
    check_inherited(model.make_test_function, keras.Model.make_test_function)

    def owner() -> Any:
        model.make_test_function()
        return model.test_function

    def choose() -> StepFunction:
        inherited = is_inherited(model.test_step, keras.Model.test_step)
        return steps.test_step if inherited else steps.overridden_test_step

    return StepGraphs(model, spec, owner, choose, test_step, "test_function")


class StepByStep:
    """Plan `step`: one compiled call a batch, and `steps_per_execution` of them at a time."""

    def __init__(self, graphs: StepGraphs):
        self._graphs = graphs

    def __call__(self, batches: Pass, count: int, each: bool = False) -> list[Logs]:
        """Runs `count` batches, one call after the other.

        Raises:
            StopIteration, OutOfRangeError: There was no batch to begin with.
        """
        step = self._graphs.compiled()  # traced here at the first batch, as in Keras
        iterator = batches.inputs
        if isinstance(iterator, tf.data.Iterator) and count == 1 and _is_graph(step.on_batch):
            batches.place += 1
            return [step.on_pass(iterator)]
        every = [step.on_batch(next(batches))]
        every += [step.on_batch(batch) for batch in itertools.islice(batches, count - 1)]
        return every if each else every[-1:]

    def steps_within(self, seconds: float) -> int:
        """One: no two steps share a call."""
        return 1


def _functions(model: keras.Model, step: StepFunction) -> Compiled:
    """The step as functions that trace by the shapes that come."""

    def on_batch(batch: Batch) -> Logs:
        return step(model, batch)

    compiled = on_batch if model.run_eagerly else graph(on_batch, model.jit_compile)

    def on_pass(batches: tf.data.Iterator) -> Logs:
        return compiled(batches.get_next())

    return Compiled(step, compiled, graph(on_pass, jit_compile=None))


def _is_graph(function: Any) -> bool:
    return isinstance(function, tf.types.experimental.ConcreteFunction)
