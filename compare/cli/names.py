"""Find the scenarios and loops that a command line names, in the table or in a user's module."""

import importlib
import sys
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import keras
import typer

import loop
from compare.execution.two_scripts import two_scripts
from compare.scenario import Fit, Scenario
from compare.scenarios import find
from loop.types import PLANS


def scenarios_of(names: Sequence[str]) -> list[Scenario]:
    """Return scenarios by name or as `module:scenario`; without names, the whole table.

    Raises:
        typer.BadParameter: A scenario does not exist, or two have the same name.
    """
    found = [scenario_of(name) for name in names] if names else find()
    counts = Counter(scenario.name for scenario in found)
    if repeated := [name for name, count in counts.items() if count > 1]:
        raise typer.BadParameter(
            f"more than one scenario has the name {', '.join(repeated)}: give each its own name, "
            "and pass it once"
        )
    return found


def scenario_of(name: str) -> Scenario:
    """Return a scenario by name or as `module:scenario`; raises as `scenarios_of`."""
    if ":" in name:
        found = _imported(name, "scenario")
        if not isinstance(found, Scenario):
            raise typer.BadParameter(f"{name} has to be a compare.Scenario, got {type(found)}")
        return found
    try:
        return find([name])[0]
    except KeyError as error:
        raise typer.BadParameter(str(error.args[0])) from None


def under(plan: str, scenarios: list[Scenario], candidate: str | None) -> list[Scenario]:
    """Return the scenarios; for plan `xla`, compiled with XLA, so that XLA's bits are compared."""
    if plan == "xla" and not candidate:
        return [scenario.under_xla() for scenario in scenarios]
    return scenarios


def training_of(
    name: str | None,
    candidate: str | None,
    plan: str,
    scripts: tuple[str | None, str | None],
    limit: float,
) -> tuple[Scenario, Fit]:
    """Return what is trained and by what: a scenario and a candidate, or those of two scripts.

    Raises:
        typer.BadParameter: There is neither or both, or something named does not exist.
        CannotCompareError: A script cannot be compared.
    """
    fit, loop_script = scripts
    if fit and loop_script and not (name or candidate):
        return two_scripts(fit, loop_script, limit)
    if fit or loop_script or not name:
        raise typer.BadParameter(
            "name a scenario, and your loop with --candidate; or two scripts: "
            "--fit FILE[:LINE] --loop FILE[:LINE]"
        )
    (scenario,) = under(plan, [scenario_of(name)], candidate)
    return scenario, candidate_of(candidate, plan)


def candidate_of(name: str | None, plan: str) -> Fit:
    """Return the candidate: `module:function`, or `loop.fit` with a plan.

    Raises:
        typer.BadParameter: The plan or the function does not exist.
    """
    if plan not in PLANS:
        raise typer.BadParameter(f"no plan {plan!r}; the plans are {', '.join(PLANS)}")
    return function_of(name) if name else partial(loop.fit, plan=plan)


def reference_of(name: str | None) -> Fit:
    """Return the reference: `module:function`, or `keras.Model.fit`."""
    return function_of(name) if name else keras.Model.fit


def function_of(name: str) -> Fit:
    """Return the function that `module:function` names."""
    found = _imported(name, "function")
    if not callable(found):
        raise typer.BadParameter(f"{name} cannot be called; it is {found!r}")
    return found


def _imported(name: str, kind: Literal["function", "scenario"]) -> Any:
    """Import a module and return its function or scenario, given as `module:name`."""
    module, _, attribute = name.partition(":")
    if not attribute:  # before the import, which runs the whole module
        raise typer.BadParameter(f"{name!r} names no {kind}: write {module}:{kind}.")
    if not module:
        raise typer.BadParameter(f"{name!r} names no module: write module:{attribute}.")
    if "" not in sys.path:
        sys.path.insert(0, "")  # the current folder, as for python -m
    try:
        found = importlib.import_module(module)
    except Exception as error:  # a user's module may raise anything
        what = f"{type(error).__name__}: {error}"
        raise typer.BadParameter(f"cannot import {name!r}, a module:name: {what}") from None
    if not hasattr(found, attribute):
        raise typer.BadParameter(f"{name!r}: {module} has no {attribute!r}")
    return getattr(found, attribute)
