"""What the words of a command line name: scenarios and loops, of the table or of the user's own."""

import importlib
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

import keras
import typer

import loop
from compare.scenario import Fit, Scenario
from compare.scenarios import find
from loop.types import PLANS


def scenarios(names: Sequence[str]) -> list[Scenario]:
    """Scenarios of the table, or `module:scenario` of one's own; the whole table for none.

    Raises:
        typer.BadParameter: There is no such scenario.
    """
    found = [scenario(name) for name in names] if names else find()
    if len({one.name for one in found}) < len(found):
        raise typer.BadParameter("two scenarios have the same name")
    return found


def scenario(name: str) -> Scenario:
    """One of them."""
    if ":" in name:
        found = _imported(name)
        if not isinstance(found, Scenario):
            raise typer.BadParameter(f"{name} is no compare.Scenario, but {type(found)}")
        return found
    try:
        return find([name])[0]
    except KeyError as error:
        raise typer.BadParameter(str(error.args[0])) from None


def loop_of(name: str | None, plan: str) -> Fit:
    """The candidate: `module:function`, or `loop.fit` under a plan.

    Raises:
        typer.BadParameter: There is no such plan or function.
    """
    if plan not in PLANS:
        raise typer.BadParameter(f"no plan {plan!r}; there are {', '.join(PLANS)}")
    return function(name) if name else partial(loop.fit, plan=plan)


def reference(name: str | None) -> Fit:
    """What a candidate is held to: `module:function`, or `model.fit`."""
    return function(name) if name else keras.Model.fit


def function(name: str) -> Fit:
    """What `module:function` names."""
    found = _imported(name)
    if not callable(found):
        raise typer.BadParameter(f"{name} cannot be called; it is {found!r}")
    return found


def _imported(name: str) -> Any:
    module, _, attribute = name.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")  # the current folder, as for python -m
    try:
        found = importlib.import_module(module)
    except Exception as error:  # whatever a module of the user's raises as it is run
        what = f"{type(error).__name__}: {error}"
        raise typer.BadParameter(f"cannot import {name!r}, a module:name: {what}") from None
    if not hasattr(found, attribute):
        raise typer.BadParameter(f"there is no {attribute!r} in {module}, as of {name!r}")
    return getattr(found, attribute)
