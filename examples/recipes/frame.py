"""What the recipes have in common: how one is found, trained, counted, and compared with Keras.

A recipe is a module beside this one. It has a docstring whose first line says what one changes,
`build()` and `data()` as a `compare.Scenario` has them, `step(model, batch)`, and `claim()`, which
trains at length and returns named numbers within the bounds of `HOLDS`. Where the change is not
one of the step, it has `fit(model, **arguments)` instead. `as_keras/` has the same trainings as one
writes them with Keras alone.
"""

import ast
import difflib
import functools
import importlib
import inspect
import time
from pathlib import Path
from types import ModuleType
from typing import NamedTuple
from unittest import mock

import keras

import loop
from compare import Scenario, record
from compare.recording.bits import Difference, differences
from compare.recording.trace import Trace
from compare.timing.clock import Ratio, interleaved, ratio
from compare.timing.training import seconds_of
from loop.engine import run
from loop.engine.plan import Reach

HERE = Path(__file__).parent
NAMES = sorted(path.stem for path in HERE.glob("*.py") if path.stem not in ("frame", "table"))
WARMING, ROUNDS, SECONDS = 12, 11, 4.0
"""Fits that warm up and rounds of both engines in turn, at most; seconds until no other starts."""


class Trained(NamedTuple):
    """A recipe trained once: what it left behind, the model, and by which plan it ran."""

    trace: Trace
    model: keras.Model
    plan: str


def recipe(name: str) -> ModuleType:
    """Return the module of a recipe."""
    return importlib.import_module(f"examples.recipes.{name}")


def twin(name: str) -> ModuleType | None:
    """Return the module with the same training in Keras alone; None if there is none."""
    exists = (HERE / "as_keras" / f"{name}.py").exists()
    return importlib.import_module(f"examples.recipes.as_keras.{name}") if exists else None


def changes(name: str) -> str:
    """Return the sentence that says what one changes."""
    return inspect.getdoc(recipe(name)).splitlines()[0]


def fit_of(name: str):
    """Return the fit of a recipe, called as `fit(model, **arguments)`."""
    module = recipe(name)
    steps = {"train_step": "step", "test_step": "test_step"}
    given = {key: getattr(module, own) for key, own in steps.items() if hasattr(module, own)}
    return getattr(module, "fit", None) or functools.partial(loop.fit, **given)


def train(name: str, **arguments) -> Trained:
    """Train the data of a recipe with `loop`; further arguments go to its fit."""
    module, decisions = recipe(name), []

    def decide(*given):
        decisions.append(run_decide(*given))
        return decisions[-1]

    run_decide = run.decide
    with mock.patch.object(run, "decide", decide):
        scenario = Scenario(name, changes(name), module.build, module.data)
        fit = functools.partial(without_callbacks, fit_of(name), **arguments)
        trace, model = record(scenario, fit, "nothing")
    return Trained(trace, model, plan_of(decisions))


def without_callbacks(fit, model, callbacks=(), **arguments):
    """Call a fit, with `callbacks` only if there are some: a recipe's own fit may have no such."""
    return fit(model, **({"callbacks": callbacks} if callbacks else {}), **arguments)


def train_twin(name: str) -> Trained:
    """Train the data of a recipe with Keras alone."""
    module = twin(name)
    scenario = Scenario(name, changes(name), module.build, recipe(name).data)
    fit = getattr(module, "fit", keras.Model.fit)
    return Trained(*record(scenario, fit, "nothing"), plan="model.fit")


def plan_of(decisions) -> str:
    """Return the plan that the decisions of a training and of its validations amount to."""
    alone = [decision for decision in decisions if decision.reach is Reach.STEP]
    if alone:
        return f"step: {alone[0].limits[0].reason}"
    return "fused" if decisions else "-"


def runs_as_said(name: str, trained: Trained) -> bool:
    """Return whether the plan is the fused one, or a recipe says that and why it is not."""
    return trained.plan.startswith("step") == hasattr(recipe(name), "STEP_BY_STEP")


def broken(name: str, numbers: dict) -> list[str]:
    """Return which numbers of a claim are out of the bounds of `HOLDS`."""
    bounds = recipe(name).HOLDS.items()
    return [
        f"{key} is {numbers[key]:.4g}, expected {low:g} to {high:g}"
        for key, (low, high) in bounds
        if not low <= numbers[key] <= high
    ]


def compared(ours: Trained, theirs: Trained) -> tuple[int, list[Difference]]:
    """Return how many values of History and variables were compared, and those that differ."""
    left = [
        Trace(history=trained.trace.history, variables=variables_of(trained.model))
        for trained in (theirs, ours)
    ]
    return differences(*left)


def variables_of(model: keras.Model) -> dict:
    """Return the values of all weights, seeds and optimizers that a model holds, by path."""
    optimizers = [part for part in vars(model).values() if isinstance(part, keras.Optimizer)]
    found = {id(variable): variable for part in [model, *optimizers] for variable in part.variables}
    values: dict = {}
    for variable in sorted(found.values(), key=lambda variable: variable.path):
        same_path = sum(path.startswith(f"{variable.path}#") for path in values)
        values[f"{variable.path}#{same_path}"] = keras.ops.convert_to_numpy(variable)
    return values


def speed(name: str, ours: keras.Model, theirs: keras.Model) -> Ratio:
    """Return how many times as fast `loop` trains a recipe as Keras does, warm and interleaved."""
    data = recipe(name).data
    engines = {
        "keras": (getattr(twin(name), "fit", keras.Model.fit), theirs),
        "loop": (fit_of(name), ours),
    }
    timed = {
        engine: functools.partial(lambda fit, model: seconds_of(fit, model, data()), *fit_and_model)
        for engine, fit_and_model in engines.items()
    }
    for warm in timed.values():
        warm_up(warm)
    seconds = interleaved(timed, ROUNDS, SECONDS)
    return ratio(seconds["keras"], seconds["loop"])


def warm_up(fit):
    """Fit until all is built: a larger program is, once the steps of several fits pay for it."""
    begun = time.perf_counter()
    for place in range(WARMING):
        if place >= 2 and time.perf_counter() - begun > SECONDS:
            break
        fit()


def plain_fit(model, **arguments):
    """Train as without a recipe: what a recipe with a `fit` of its own is compared with."""
    return loop.fit(model, **arguments)


def lines_that_differ(name: str) -> tuple[int, int]:
    """Return how many lines of a recipe's step are not those of `loop.train_step`, and of how many.

    Comments, docstrings and the layout do not count: a statement is a line. The functions of the
    module that the step calls count with it.
    """
    module = recipe(name)
    own = code_of(getattr(module, "step", None) or module.fit, module)
    base = code_of(loop.train_step if hasattr(module, "step") else plain_fit)
    matcher = difflib.SequenceMatcher(None, base, own, autojunk=False)
    return len(own) - sum(block.size for block in matcher.get_matching_blocks()), len(own)


def code_of(function, module: ModuleType | None = None) -> list[str]:
    """Return the body of a function, a statement a line, and the functions of a module it calls."""
    lines, waiting, seen = [], [function], []
    while waiting:
        current = waiting.pop(0)
        seen.append(current)
        [definition] = ast.parse(inspect.getsource(inspect.unwrap(current))).body
        used = {node.id for node in ast.walk(definition) if isinstance(node, ast.Name)}
        own = [value for key, value in vars(module or ast).items() if key in used]
        waiting += [one for one in own if inspect.isfunction(one) and one not in [*seen, *waiting]]
        for node in ast.walk(definition):
            if isinstance(node, ast.FunctionDef) and ast.get_docstring(node):
                node.body = node.body[1:]
        lines += [] if current is function else [ast.unparse(definition).splitlines()[0]]
        lines += [line for part in definition.body for line in ast.unparse(part).splitlines()]
    return [line.replace("loop.", "") for line in lines]
