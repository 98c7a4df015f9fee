"""Train a scenario again with rules of fit broken: whole, or the first few steps only."""

from __future__ import annotations

import copy
import functools
import warnings
from collections.abc import Callable, Iterable
from functools import cached_property, partial
from typing import TypeVar

import keras

import loop
from compare.diagnosis.broken import BrokenRule, fit_with
from compare.diagnosis.layers import Floor, least_difference, nudge
from compare.diagnosis.needs import may_matter
from compare.diagnosis.observed import Observed, observe, observed_in
from compare.diagnosis.shorten import EAGER, after_epochs, after_steps, eager
from compare.location.tapped import TappedTrainings
from compare.recording.recorder import prepare, record
from compare.recording.trace import Trace
from compare.scenario import Fit, FitArguments, Scenario

FIRST = 2
"""What rounding does to so many first steps is measured in these alone."""

FEW = 16
"""So many steps of whole epochs, with their validation, take as long eagerly as tracing does."""

NUDGE = BrokenRule("one_ulp", "", "", "", nudge, "update")

Rules = tuple[BrokenRule, ...]

T = TypeVar("T")


class Retraining:
    """A scenario trained again and again, each time with other rules broken; whole ones are kept.

    Attributes:
        tapped: The trainings by the reference, which is right by definition, and by the candidate.
        scenario: What is trained.
    """

    def __init__(self, tapped: TappedTrainings):
        self.tapped = tapped
        self.scenario = tapped.trainings.scenario
        self._observed: dict[Rules, Observed] = {}
        self._traces: dict[Rules, Trace] = {}
        self._floors: dict[Rules, Floor] = {}

    def by_another(self, candidate: Fit) -> Retraining:
        """Return the same for another candidate; what was trained without a candidate is shared."""
        other = copy.copy(self)
        other.tapped = self.tapped.by_another(candidate)
        return other

    @cached_property
    def model(self) -> keras.Model:
        """The model that the reference has trained."""
        return self.tapped.trainings.by_reference("epochs").model

    @cached_property
    def arguments(self) -> FitArguments:
        """The arguments of fit."""
        return prepare(self.scenario)[1]

    @property
    def is_under_xla(self) -> bool:
        """Whether fit compiles its step with XLA."""
        return self.model.jit_compile is True and not self.model.run_eagerly

    @property
    def replicas(self) -> int:
        """The number of replicas that the model trains on."""
        strategy = getattr(self.model, "distribute_strategy", None)
        return strategy.num_replicas_in_sync if strategy else 1

    def may_matter(self, rule: BrokenRule) -> bool:
        """Return whether breaking a rule may change this training."""
        return may_matter(rule, self.model, self.arguments)

    def candidate(self) -> Observed:
        """Return what the candidate does."""
        return observed_in(self.tapped.by_candidate, self.model)

    def observed(self, rules: Rules) -> Observed:
        """Return what our engine does with rules broken; the reference without any."""
        if rules not in self._observed:
            self._observed[rules] = (
                observe(self.scenario, partial(fit_with, rules), self.model)
                if rules
                else observed_in(self.tapped.by_reference, self.model)
            )
        return self._observed[rules]

    def trace(self, rules: Rules) -> Trace:
        """Return what our engine leaves behind with rules broken; the reference without any."""
        if not rules:
            return self.tapped.trainings.by_reference("epochs").trace
        if rules not in self._traces:
            self._traces[rules] = record(self.scenario, partial(fit_with, rules), "epochs")[0]
        return self._traces[rules]

    def with_nothing_broken(self) -> Trace:
        """Return what our engine leaves behind as it is."""
        return record(self.scenario, loop.fit, "epochs")[0]

    def tried(self, rules: Rules) -> Trace | None:
        """Return the trace with rules broken; None, with a warning, if the scenario needs them."""
        try:
            return self.trace(rules)
        except Exception as error:  # shapes, dtypes or missing data: a model may need the rule
            self.warn(rules, error)
            return None

    def shortened(self, rules: Rules, steps: int) -> Observed | None:
        """Return what the first steps do with rules broken; None, with a warning, if they raise."""
        validates = steps > min(run.ends[0] for run in self._observed.values() if run.ends)
        fit = partial(fit_with, (*rules, after_steps(steps, validates)))
        return self._begin(rules, lambda: observe(self._in_short(steps), fit, self.model))

    def begun(self, rules: Rules, epochs: int) -> Trace | None:
        """Return what the first epochs leave behind with rules broken; see `tried`.

        A whole training that is known holds them, too: then it may be longer.
        """
        total = max(run.num_epochs for run in self._observed.values())
        if not rules or rules in self._traces or epochs >= total or self.replicas > 1:
            return self.tried(rules)
        ends = [run.ends[epochs - 1] for run in self._observed.values() if len(run.ends) >= epochs]
        scenario = eager(self.scenario) if ends and max(ends) <= FEW else self.scenario
        fit = partial(fit_with, (*rules, after_epochs(epochs)))
        return self._begin(rules, lambda: record(scenario, fit, "epochs")[0])

    def _begin(self, rules: Rules, train: Callable[[], T]) -> T | None:
        """Return what a training returns; None, with a warning, if it raises."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return train()
        except Exception as error:  # as in `tried`
            self.warn(rules, error)
            return None

    def _in_short(self, steps: int) -> Scenario:
        return eager(self.scenario) if steps <= EAGER and self.replicas == 1 else self.scenario

    def floor(self, rules: Rules) -> Floor:
        """Return what rounding does to the training with rules broken."""
        if rules not in self._floors:
            first = functools.cache(partial(self._first_steps_nudged, rules))

            def is_short(steps: int) -> bool:  # on replicas, these few would be traced, too
                return steps <= FIRST and self.replicas == 1

            self._floors[rules] = Floor(
                base=self.observed(rules),
                least=least_difference(self.model),
                steps=lambda steps: first() if is_short(steps) else self._steps_nudged(rules),
                epochs=functools.cache(partial(self._epochs_nudged, rules)),
            )
        return self._floors[rules]

    def _first_steps_nudged(self, rules: Rules) -> tuple[Observed, Observed]:
        plain, nudged = (self.shortened((*rules, *more), FIRST) for more in ((), (NUDGE,)))
        return (plain, nudged) if plain and nudged else self._steps_nudged(rules)

    def _steps_nudged(self, rules: Rules) -> tuple[Observed, Observed]:
        return self.observed(rules), self.observed((*rules, NUDGE))

    def _epochs_nudged(self, rules: Rules, epochs: int) -> tuple[Trace, Trace]:
        if (*rules, NUDGE) not in self._observed:
            plain, nudged = (self.begun((*rules, *more), epochs) for more in ((), (NUDGE,)))
            if plain and nudged:
                return plain, nudged
        plain, nudged = (run.trace for run in self._steps_nudged(rules))
        return plain, nudged

    def warn(self, rules: Iterable[BrokenRule], error: Exception) -> None:
        """Warn that the scenario needs rules to train."""
        names = "+".join(rule.rule for rule in rules)
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        message = f"{self.scenario.name} cannot be trained without {names}: {what}"
        warnings.warn(message, stacklevel=2)
