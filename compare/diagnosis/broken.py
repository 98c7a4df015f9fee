"""loop.fit with one rule of fit broken: the mistakes that people make in loops of their own.

    BROKEN["regularization_losses"].fit(model, x, y, ...)   # trains without them

`compare.diagnose` looks for the one that gives a candidate's bits; the tests plant each and ask
whether it is found. Here something in `loop` is replaced while a fit lasts; `loop` has no switches.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any
from unittest import mock

import keras

import loop
from compare.diagnosis.mistakes import Patch

Breaks = Callable[[keras.Model, dict[str, Any]], list[Patch]]
"""Given the model and the arguments of fit, what to replace; it may change them."""


@dataclass(frozen=True)
class Broken:
    """A rule of fit, broken.

    Attributes:
        rule: Its short name.
        mistake: What a loop that breaks it does.
        line: The line that is missing in such a loop.
        mirrors: The Keras function that has it.
        breaks: What to replace.
    """

    rule: str
    mistake: str
    line: str
    mirrors: str
    breaks: Breaks

    def fit(self, model: keras.Model, **arguments: Any) -> keras.callbacks.History:
        """Trains as `loop.fit` does, but for this rule."""
        return fit_with((self,), model, **arguments)


def fit_with(
    rules: tuple[Broken, ...], model: keras.Model, **arguments: Any
) -> keras.callbacks.History:
    """Trains as `loop.fit` does, but for some rules."""
    with contextlib.ExitStack() as stack:
        for rule in rules:
            for owner, name, other in rule.breaks(model, arguments):
                stack.enter_context(mock.patch.object(owner, name, other))
        return loop.fit(model, **{**arguments, "plan": "step"})


def replaced(owner: Any, name: str, mistake: Callable[..., Any]) -> Breaks:
    """A function of `loop` by a mistake, which is given what it replaces."""
    return lambda _model, _arguments: [(owner, name, partial(mistake, getattr(owner, name)))]


def without(*names: str) -> Breaks:
    """Leaves out arguments of fit."""

    def breaks(_: keras.Model, arguments: dict[str, Any]) -> list[Patch]:
        for name in names:
            arguments.pop(name, None)
        return []

    return breaks


def told(**values: Any) -> Breaks:
    """Other arguments of fit."""

    def breaks(_: keras.Model, arguments: dict[str, Any]) -> list[Patch]:
        arguments.update(values)
        return []

    return breaks
