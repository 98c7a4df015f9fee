"""A training with rules broken, as a value: another process can make it, too."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

from compare.diagnosis.broken import BrokenRule, fit_with
from compare.diagnosis.layout import Layout
from compare.diagnosis.observed import FirstSteps, observe
from compare.diagnosis.shorten import after_epochs, after_steps, eager
from compare.recording.recorder import record
from compare.recording.trace import Trace
from compare.scenario import Fit, Scenario

Rules = tuple[BrokenRule, ...]

Result = TypeVar("Result", covariant=True)


class Job(Hashable, Protocol[Result]):
    """A training with rules broken."""

    @property
    def rules(self) -> Rules:
        """The rules."""

    def train(self, scenario: Scenario, layout: Layout) -> Result:
        """Train a scenario, whose model has this layout, and return what is wanted of it."""


@dataclass(frozen=True)
class Epochs:
    """A training with rules broken, for what it leaves behind.

    Attributes:
        rules: The rules.
        count: After so many epochs it ends; None for all.
        is_eager: Whether the model runs eagerly.
    """

    rules: Rules
    count: int | None = None
    is_eager: bool = False

    def train(self, scenario: Scenario, _: Layout) -> Trace:
        """Train, and return what the training leaves behind."""
        ending = () if self.count is None else (after_epochs(self.count),)
        return record(_made(scenario, self.is_eager), _broken(*self.rules, *ending), "epochs")[0]


@dataclass(frozen=True)
class Steps:
    """The first steps of a training with rules broken, for what they do.

    Attributes:
        rules: The rules.
        count: After so many steps it ends.
        validates: Whether it has its validation.
        is_eager: Whether the model runs eagerly.
    """

    rules: Rules
    count: int
    validates: bool
    is_eager: bool

    def train(self, scenario: Scenario, layout: Layout) -> FirstSteps:
        """Train, and return what the first and the last step did."""
        fit = _broken(*self.rules, after_steps(self.count, self.validates))
        run = observe(_made(scenario, self.is_eager), fit, layout)
        ran = {step for step in (0, self.count - 1) if step < run.steps}
        return FirstSteps(
            run.steps,
            {step: run.gradients(step) for step in ran},
            {step: run.weights(step) for step in ran},
        )


def _broken(*rules: BrokenRule) -> Fit:
    return partial(fit_with, rules)


def _made(scenario: Scenario, is_eager: bool) -> Scenario:
    return eager(scenario) if is_eager else scenario
