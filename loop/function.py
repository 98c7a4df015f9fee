"""A step becomes a compiled call: `step(model, batch)` -> `call(batches)`.

    call(batches):                  # batches: the iterator of this pass over the data
        batch = next(batches)       # StopIteration here ends the epoch
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

from loop import step as own
from loop._keras import is_own
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
    inherited = is_own(model.train_step, keras.Model.train_step)
    step = train_step or (own.train_step if inherited else _train_step_of_model)

    def keras_function() -> Any:
        model.make_train_function()
        return model.train_function

    return _step_by_step(model, step, spec, keras_function)


def test_call(model: keras.Model, test_step: StepFunction | None, spec: Structure) -> Call:
    """The call that evaluates, on `steps_per_execution` batches at a time.

    Mirrors: keras.Model.make_test_function
    """
    inherited = is_own(model.test_step, keras.Model.test_step)
    step = test_step or (own.test_step if inherited else _test_step_of_model)

    def keras_function() -> Any:
        model.make_test_function()
        return model.test_function

    return _step_by_step(model, step, spec, keras_function)


def predict_call(model: keras.Model) -> Callable[[Iterator[Batch]], Structure]:
    """The call that predicts, `steps_per_execution` batches at a time; leaves `[batch, ...]`.

    Keras traces it by the shapes that come, one graph for full batches and one for others.

    Mirrors: keras.Model.make_predict_function
    """
    inherited = is_own(model.predict_step, keras.Model.predict_step)
    step = own.predict_step if inherited else _predict_step_of_model
    model.make_predict_function()
    on_batches = _kept(model.predict_function, step, lambda: _compiled_prediction(model, step))

    def call(batches: Iterator[Batch]) -> Structure:
        return on_batches([next(batches), *itertools.islice(batches, _more(model))])

    return call


def _compiled_prediction(
    model: keras.Model, step: StepFunction
) -> Callable[[list[Batch]], Structure]:
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


# The user's class or object overrides the step. Named functions, not lambdas: what was traced is
# found again by the identity of the step.
def _train_step_of_model(model: keras.Model, batch: Batch) -> Logs:
    return model.train_step(batch)


def _test_step_of_model(model: keras.Model, batch: Batch) -> Logs:
    return model.test_step(batch)


def _predict_step_of_model(model: keras.Model, batch: Batch) -> Structure:
    return model.predict_step(batch)


def _step_by_step(
    model: keras.Model, step: StepFunction, spec: Structure, keras_function: Callable[[], Any]
) -> Call:
    """Plan `step`: one compiled call a batch, and the way Keras does it."""
    keras_function()  # before training starts, where callbacks expect to find it on the model
    owner: Any = None
    on_batch: Callable[[Batch], Logs]
    on_pass: Callable[[tf.data.Iterator], Logs]

    def call(batches: Iterator[Batch]) -> Logs:
        nonlocal owner, on_batch, on_pass
        # Traced at the first batch, as in Keras, and again if a callback made Keras do so.
        if (current := keras_function()) is not owner:
            compiled = _kept(current, step, lambda: _compiled(model, step))
            owner = current
            on_batch, on_pass = _concrete(compiled.on_batch, spec), compiled.on_pass
        if isinstance(batches, tf.data.Iterator) and not (_more(model) or model.run_eagerly):
            return on_pass(batches)
        logs = on_batch(next(batches))
        for batch in itertools.islice(batches, _more(model)):
            logs = on_batch(batch)
        return logs

    return call


class Compiled(NamedTuple):
    """A step compiled for both ways in which batches come."""

    on_batch: Callable[[Batch], Any]
    on_pass: Callable[[tf.data.Iterator], Any]
    """Draws its batch inside the graph. A pass that has run dry fails there in mid-step, when the
    optimizer may have counted an iteration already: Keras's does, so does this."""


def _compiled(model: keras.Model, step: StepFunction) -> Compiled:
    def on_batch(batch: Batch) -> Logs:
        return step(model, batch)

    compiled = on_batch if model.run_eagerly else _graph(on_batch, model.jit_compile)

    def on_pass(batches: tf.data.Iterator) -> Logs:
        return compiled(batches.get_next())

    return Compiled(compiled, _graph(on_pass, jit_compile=None))


def _kept(owner: Any, step: StepFunction, make: Callable[[], T]) -> T:
    """What was made of a step: made once, and kept on Keras's function for the same work."""
    kept: dict[StepFunction, T] = vars(owner).setdefault("_glassfit_compiled", {})
    if step not in kept:
        kept[step] = make()
    return kept[step]


def _graph(function: Callable[[Any], Any], jit_compile: bool | None) -> Callable[[Any], Any]:
    unconverted = tf.autograph.experimental.do_not_convert(function)
    return tf.function(unconverted, reduce_retracing=True, jit_compile=jit_compile)


def _concrete(one_step: Any, spec: Structure) -> Callable[[Batch], Logs]:
    """The one graph for batches of `spec`: a short last batch does not trace again."""
    if isinstance(one_step, tf.types.experimental.PolymorphicFunction):
        return one_step.get_concrete_function(spec)
    return one_step  # run_eagerly
