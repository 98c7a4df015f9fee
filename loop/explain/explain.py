"""`loop.explain`: describes what a call of fit would do, and why."""

import contextlib
import inspect
import warnings
from typing import Any

import keras

from loop.callbacks import Callbacks, complete
from loop.evaluate import evaluations_of
from loop.explain.compiled import compiled_section
from loop.explain.data import data_section, static_section
from loop.explain.epoch import timeline_of
from loop.explain.explanation import Explanation
from loop.explain.first_step import first_step, why_not_shown
from loop.explain.plan import explained_plan
from loop.explain.prepared import Prepared, prepare
from loop.explain.step_sections import step_sections, why_not_section
from loop.explain.untouched import same_functions, same_random_numbers
from loop.explain.watchers import callbacks_section
from loop.fit import fit
from loop.setup import check_arguments
from loop.types import FitArguments


def explain(model: keras.Model, *data: Any, step: bool = False, **arguments: Any) -> Explanation:
    """Return what `loop.fit` would do with the same arguments, and why; train nothing.

        print(loop.explain(model, x, y, epochs=5, callbacks=[my_callback]))
        print(loop.explain(model, x, y, step=True))  # the first step as well, in numbers

    No hook of a callback or a dataset is called, no batch of a generator or a loader is drawn, and
    the model keeps its weights and its history. The step is traced; a later fit traces its own, or
    shares the graph if the model is still the same. For a model that was never trained, tracing
    creates the variables of optimizer and metrics, as the first batch of fit would: to unfreeze
    layers or to add some afterwards, compile the model again. `plan="fastest"` times steps under
    every compilation, however long XLA takes, and then restores the model's state; a later fit of
    the model takes the fastest.

    With `step=True` the first step is run, and everything that it changes is restored to the bit:
    weights, optimizer, metrics, the states of random generators. It is run in graphs of its own;
    a model with `run_eagerly` runs it eagerly, where `tf.random` without a seed, in a layer of
    one's own, advances the state of TensorFlow. A PyDataset is asked for its first batch, beside
    the two that are peeked at for their shapes.

    Args:
        model: A compiled model, or any model with `train_step` given.
        data: `x`, `y` and so on, leaves `[samples, ...]`.
        step: Whether to show the first step in numbers: batch, predictions, each loss with its
            weights and mask, what layers add, gradients, the update of one weight, metrics.
        arguments: Everything else that `loop.fit` takes, with the same defaults.

    Raises:
        ValueError, KeyError, NotImplementedError: As `loop.fit`.

    Mirrors: keras.Model.fit
    """
    given = inspect.signature(fit).bind(model, *data, **arguments)
    given.apply_defaults()
    fit_arguments = FitArguments(**given.arguments)
    check_arguments(fit_arguments)
    # Python code that is traced, or a PyDataset asked for its shapes, may draw random numbers.
    with same_random_numbers(), warnings.catch_warnings(), contextlib.ExitStack() as restored:
        warnings.simplefilter("ignore")  # fit shows its own
        if fit_arguments.plan != "fastest":  # what that plan measured is for the fit that follows
            restored.enter_context(same_functions(model))
        return _explained(fit_arguments, step)


def _explained(fit_arguments: FitArguments, step: bool) -> Explanation:
    """Return the explanation of a call of fit, with its first step or without."""
    prepared = prepare(fit_arguments)
    steps = prepared.schedule.num_batches if prepared.schedule else None
    evaluations = evaluations_of(fit_arguments, steps, prepared.validation)
    completed = complete(fit_arguments.callbacks, fit_arguments.verbose, history=True)
    callbacks = Callbacks([*completed, *evaluations])
    plan = explained_plan(fit_arguments, prepared, callbacks)
    described = plan._replace(
        sections=(
            data_section(fit_arguments, prepared),
            static_section(fit_arguments, prepared),
            compiled_section(fit_arguments, prepared),
            callbacks_section(fit_arguments, callbacks),
        ),
        timeline=timeline_of(fit_arguments, prepared, callbacks, plan),
    )
    return _with_first_step(described, fit_arguments, prepared) if step else described


def _with_first_step(
    explanation: Explanation, arguments: FitArguments, prepared: Prepared
) -> Explanation:
    """Return an explanation with the first step, or why it cannot be shown."""
    if reason := why_not_shown(arguments, prepared):
        return explanation._replace(step_sections=(why_not_section(reason),))
    found = first_step(arguments, prepared)
    return explanation._replace(first_step=found, step_sections=step_sections(found))
