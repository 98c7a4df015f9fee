"""What is timed: `model.fit` in several settings, `loop.fit` by plan, and the bare step."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from weakref import WeakSet

import keras

import loop
from compare.recording.recorder import prepare
from compare.scenario import Fit, Scenario
from compare.timing.loops import bare_step, hand_written

Build = Callable[[Scenario], keras.Model]


def as_compiled(scenario: Scenario) -> keras.Model:
    """Return a new model as the scenario builds it."""
    return prepare(scenario)[0]


def without_graphs(scenario: Scenario) -> keras.Model:
    """Return a new model that runs eagerly."""
    model = as_compiled(scenario)
    model.run_eagerly = True
    return model


def with_xla(scenario: Scenario) -> keras.Model:
    """Return a new model whose steps are compiled with XLA."""
    model = as_compiled(scenario)
    model.jit_compile = True
    return model


@dataclass(frozen=True)
class Engine:
    """A way to train.

    Attributes:
        name: What tables call it.
        fit: Called as `fit(model, **arguments)`; importable.
        build: Returns a new model of a scenario, set up for this engine.
    """

    name: str
    fit: Fit
    build: Build = as_compiled


_measured: WeakSet[keras.Model] = WeakSet()


def fastest(model: keras.Model, **arguments: Any) -> keras.callbacks.History:
    """Train under plan "fastest" as in a long fit: before its first fit every compilation is tried.

    A short fit does not try what it cannot repay, and would be timed under plan "auto".
    """
    if model not in _measured:
        loop.explain(model, **arguments, plan="fastest")
        _measured.add(model)
    return loop.fit(model, **arguments, plan="fastest")


MODEL_FIT = Engine("model.fit", keras.Model.fit)
AGAIN = replace(MODEL_FIT, name="model.fit again")
"""The reference a second time: its distance from the first is the noise."""
EAGER = Engine("model.fit, eager", keras.Model.fit, without_graphs)
JIT = Engine("model.fit, jit", keras.Model.fit, with_xla)
STEP = Engine("step", partial(loop.fit, plan="step"))
AUTO = Engine("auto", partial(loop.fit, plan="auto"))
XLA = Engine("xla", partial(loop.fit, plan="xla"))
FASTEST = Engine("fastest", fastest)
HAND_WRITTEN = Engine("hand-written", hand_written)
BARE_STEP = Engine("bare step", bare_step)
ARRAYS_ONLY = (HAND_WRITTEN, BARE_STEP)
"""These train on arrays alone: no callbacks, no validation, no datasets."""

LADDER = (EAGER, MODEL_FIT, STEP, AUTO, XLA)
"""From one op at a time to one call for all steps: what each rung saves."""
