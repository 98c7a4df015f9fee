"""A training with rules broken, as a value that can be passed to another process."""

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
from compare.scenario import Scenario

Rules = tuple[BrokenRule, ...]

Result = TypeVar("Result", covariant=True)


class Job(Hashable, Protocol[Result]):
    """A training with rules broken: `Epochs` or `Steps`."""

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
        made = eager(scenario) if self.is_eager else scenario
        return record(made, partial(fit_with, (*self.rules, *ending)), "epochs")[0]


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
        fit = partial(fit_with, (*self.rules, after_steps(self.count, self.validates)))
        run = observe(eager(scenario) if self.is_eager else scenario, fit, layout)
        ran = {step for step in (0, self.count - 1) if step < run.steps}
        return FirstSteps(
            run.steps,
            {step: run.gradients(step) for step in ran},
            {step: run.weights(step) for step in ran},
        )
