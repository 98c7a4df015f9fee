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
from functools import partial
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from loop import step as steps
from loop._keras import is_distributed, is_inherited
from loop.checks import check_inherited
from loop.compiled import concrete, graph, in_a_loop, is_graph, kept, why_regrouped
from loop.data import without_optionals
from loop.distribute import on_replicas
from loop.types import Batch, Logs, Pass, StepFunction, Structure


class Kind(NamedTuple):
    """What there is of each kind of step, by the names that Keras has for it."""

    function: str
    """The attribute of a model with Keras's compiled function."""

    make: str
    """The method that makes it."""

    step: str
    """The method with the mathematics of one batch."""

    ours: StepFunction
    """The same, where the model inherits Keras's."""

    overridden: StepFunction
    """The same, where the model has its own."""

    def owner(self, model: keras.Model) -> Any:
        """Keras's function for this kind of step, on which everything traced is kept."""
        getattr(model, self.make)()
        return getattr(model, self.function)

    def chosen(self, model: keras.Model) -> StepFunction:
        """The step of a model: ours in the place of Keras's, or its own."""
        inherited = is_inherited(getattr(model, self.step), getattr(keras.Model, self.step))
        return self.ours if inherited else self.overridden

    def check(self, model: keras.Model) -> None:
        """Refuses a model that makes its compiled function itself."""
        check_inherited(getattr(model, self.make), getattr(keras.Model, self.make))


TRAIN = Kind(
    "train_function",
    "make_train_function",
    "train_step",
    steps.train_step,
    steps.overridden_train_step,
)
TEST = Kind(
    "test_function", "make_test_function", "test_step", steps.test_step, steps.overridden_test_step
)
PREDICT = Kind(
    "predict_function",
    "make_predict_function",
    "predict_step",
    steps.predict_step,
    steps.overridden_predict_step,
)


class Compiled(NamedTuple):
    """A step compiled for both ways in which batches come."""

    on_batch: Any
    """Takes a batch: the one concrete function for all of them, or Python that runs eagerly."""

    on_pass: Callable[[tf.data.Iterator], Any]
    """Draws its batch inside the graph. A pass that has run dry fails there in mid-step, when the
    optimizer may have counted an iteration already: Keras's does, so does this."""


class StepGraphs:
    """The graphs of one step of a model, for batches of one spec, wherever they are kept.

    Attributes:
        model: The model to train or to evaluate.
        kind: `TRAIN` or `TEST`.
        spec: A `tf.TensorSpec` for each leaf of a batch; None where any batch may come.
        key: The same, to find graphs by.

    Raises:
        NotImplementedError: The model makes its compiled function itself.

    Mirrors: keras.Model.make_train_function
    """

    def __init__(
        self,
        model: keras.Model,
        kind: Kind,
        spec: Structure = None,
        given_step: StepFunction | None = None,
    ):
        kind.check(model)
        self.model = model
        self.kind = kind
        self.spec = spec
        self.key = repr(spec)
        self._given_step = given_step

    @property
    def owner(self) -> Any:
        """Keras's function for the same work, on which everything traced is kept.

        Asked at every call, like Keras: a callback may have made it trace another step anew.
        """
        return self.kind.owner(self.model)

    def compiled(self) -> Compiled:
        """The step, traced at the first call for such batches."""
        if is_distributed(self.model):
            return self.for_any_shape()  # each replica has a part of a batch, some have none

        def make() -> Compiled:
            on_batch, on_pass = self.for_any_shape()
            one = concrete(on_batch, self.spec)
            if self.model.steps_per_execution > 1 and why_regrouped(one, self.model.jit_compile):
                one = concrete(in_a_loop(one), self.spec)
            return Compiled(one, on_pass)

        return kept(self.owner, (self._step(), self.key), make)

    def for_any_shape(self) -> Compiled:
        """The step, traced by the shapes that come."""
        step = self._step()
        return kept(self.owner, step, lambda: _functions(self.model, step))

    def _step(self) -> StepFunction:
        choose = partial(self.kind.chosen, self.model)
        return self._given_step or kept(self.owner, "the step of the model", choose)


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
        if isinstance(iterator, tf.data.Iterator) and count == 1 and is_graph(step.on_batch):
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
        return on_replicas(model, step, batch)

    compiled = on_batch if model.run_eagerly else graph(on_batch, model.jit_compile)

    def on_pass(batches: tf.data.Iterator) -> Logs:
        return compiled(without_optionals(batches.get_next()))

    return Compiled(compiled, graph(on_pass, jit_compile=None))
