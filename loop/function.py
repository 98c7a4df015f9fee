"""A step becomes a compiled call: `step(model, batch)` -> `call(batches)`.

    call(batches):                  # batches: the iterator of this pass over the data
        batch = next(batches)       # where the pass has run dry, this ends the epoch
        return compiled_step(batch)

What was traced is kept on the function object that Keras makes for the same purpose
(`model.train_function`), so it lives exactly as long: `compile` and
`make_train_function(force=True)` drop it, a second fit on the same shapes traces nothing.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

import keras
import tensorflow as tf

from loop import step as steps
from loop._keras import is_inherited
from loop.checks import check_inherited
from loop.types import Batch, Call, Logs, StepFunction, Structure

T = TypeVar("T")


def train_call(model: keras.Model, train_step: StepFunction | None, spec: Structure) -> Call:
    """The call that trains, on `steps_per_execution` batches at a time.

    Args:
        model: The model to train.
        train_step: A step to use in place of the model's.
        spec: A `tf.TensorSpec` for each leaf of a batch.

    Mirrors: keras.Model.make_train_function
    """
    check_inherited(model.make_train_function, keras.Model.make_train_function)
    model.make_train_function()  # before training starts: callbacks look for it on the model
    spec_key = repr(spec)

    def choose() -> StepFunction:
        inherited = is_inherited(model.train_step, keras.Model.train_step)
        return steps.train_step if inherited else steps.overridden_train_step

    def compiled() -> Compiled:
        # Asked at every call, like Keras: a callback may have made it trace another step anew.
        model.make_train_function()
        step = train_step or _kept(model.train_function, "the step of the model", choose)
        return _compiled(model.train_function, model, step, spec, spec_key)

    return _step_by_step(model, compiled)


def test_call(model: keras.Model, test_step: StepFunction | None, spec: Structure) -> Call:
    """The call that evaluates, on `steps_per_execution` batches at a time.

    Mirrors: keras.Model.make_test_function
    """
    check_inherited(model.make_test_function, keras.Model.make_test_function)
    spec_key = repr(spec)

    def choose() -> StepFunction:
        inherited = is_inherited(model.test_step, keras.Model.test_step)
        return steps.test_step if inherited else steps.overridden_test_step

    def compiled() -> Compiled:
        model.make_test_function()
        step = test_step or _kept(model.test_function, "the step of the model", choose)
        return _compiled(model.test_function, model, step, spec, spec_key)

    return _step_by_step(model, compiled)


def predict_call(model: keras.Model) -> Callable[[Iterator[Batch]], Structure]:
    """The call that predicts, `steps_per_execution` batches at a time; leaves `[batch, ...]`.

    Keras traces it by the shapes that come, one graph for full batches and one for others.

    Mirrors: keras.Model.make_predict_function
    """
    check_inherited(model.make_predict_function, keras.Model.make_predict_function)
    inherited = is_inherited(model.predict_step, keras.Model.predict_step)
    step = steps.predict_step if inherited else steps.overridden_predict_step
    model.make_predict_function()
    on_batches = _kept(model.predict_function, step, lambda: _prediction(model, step))

    def call(batches: Iterator[Batch]) -> Structure:
        return on_batches([next(batches), *itertools.islice(batches, _more(model))])

    return call


def _prediction(model: keras.Model, step: StepFunction) -> Callable[[list[Batch]], Structure]:
    """One graph for all batches of a call, the joining included; only the step is XLA's."""

    def on_batch(batch: Batch) -> Structure:
        return step(model, batch)

    jit_compile = model.jit_compile and not model.run_eagerly
    one = _graph(on_batch, jit_compile=True) if jit_compile else on_batch

    def on_batches(batches: list[Batch]) -> Structure:
        return joined([one(batch) for batch in batches])

    return on_batches if model.run_eagerly else _graph(on_batches, jit_compile=None)


def joined(outputs: list[Structure]) -> Structure:
    """Predictions of several batches as one, joined along the batch axis."""
    if len(outputs) == 1:
        return outputs[0]
    return keras.tree.map_structure(lambda *parts: tf.concat(parts, axis=0), *outputs)


def _more(model: keras.Model) -> int:
    """How many batches a call runs after its first."""
    return model.steps_per_execution - 1


class Compiled(NamedTuple):
    """A step compiled for both ways in which batches come."""

    on_batch: Callable[[Batch], Any]
    on_pass: Callable[[tf.data.Iterator], Any]
    """Draws its batch inside the graph. A pass that has run dry fails there in mid-step, when the
    optimizer may have counted an iteration already: Keras's does, so does this."""


def _step_by_step(model: keras.Model, compiled: Callable[[], Compiled]) -> Call:
    """Plan `step`: one compiled call a batch, and the way Keras does it."""

    def call(batches: Iterator[Batch]) -> Logs:
        on_batch, on_pass = compiled()  # traced here at the first batch, as in Keras
        if isinstance(batches, tf.data.Iterator) and not (_more(model) or model.run_eagerly):
            return on_pass(batches)
        logs = on_batch(next(batches))
        for batch in itertools.islice(batches, _more(model)):
            logs = on_batch(batch)
        return logs

    return call


def _compiled(
    owner: Any, model: keras.Model, step: StepFunction, spec: Structure, spec_key: str
) -> Compiled:
    """The graphs of a step for batches of `spec`, kept on `owner`."""

    def make() -> Compiled:
        on_batch, on_pass = _kept(owner, step, lambda: _functions(model, step))
        return Compiled(_concrete(on_batch, spec), on_pass)

    return _kept(owner, (step, spec_key), make)


def _functions(model: keras.Model, step: StepFunction) -> Compiled:
    """The step as functions that trace by the shapes that come."""

    def on_batch(batch: Batch) -> Logs:
        return step(model, batch)

    compiled = on_batch if model.run_eagerly else _graph(on_batch, model.jit_compile)

    def on_pass(batches: tf.data.Iterator) -> Logs:
        return compiled(batches.get_next())

    return Compiled(compiled, _graph(on_pass, jit_compile=None))


def _kept(owner: Any, key: Any, make: Callable[[], T]) -> T:
    """What was made for a step: made once, and kept on Keras's function for the same work."""
    kept: dict[Any, T] = vars(owner).setdefault("_glassfit_compiled", {})
    if key not in kept:
        kept[key] = make()
    return kept[key]


def _graph(function: Callable[[Any], Any], jit_compile: bool | None) -> Callable[[Any], Any]:
    unconverted = tf.autograph.experimental.do_not_convert(function)
    return tf.function(unconverted, reduce_retracing=True, jit_compile=jit_compile)


def _concrete(one_step: Any, spec: Structure) -> Callable[[Batch], Logs]:
    """The one graph for batches of `spec`: a short last batch does not trace again."""
    is_graph = isinstance(one_step, tf.types.experimental.PolymorphicFunction)
    if is_graph and not tf.config.functions_run_eagerly():
        return one_step.get_concrete_function(spec)
    return one_step  # the model or TensorFlow was told to run eagerly
