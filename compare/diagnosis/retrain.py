"""Train a scenario again with rules of fit broken: whole, or the first few steps only."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property, partial

import keras

import loop
from compare.diagnosis.broken import BrokenRule, FitCall, fit_with
from compare.diagnosis.layers import Floor, least_difference, nudge
from compare.diagnosis.needs import may_matter
from compare.diagnosis.observed import Observed, observe, observed_in
from compare.location.tapped import TappedTrainings
from compare.recording.recorder import prepare, record
from compare.recording.trace import Trace
from compare.scenario import Fit, FitArguments, Scenario

EAGER = 64
"""Up to so many steps, shortened trainings run eagerly: tracing would take longer."""

Rules = tuple[BrokenRule, ...]


class Retraining:
    """A scenario trained again and again, each time with other rules broken; whole ones are kept.

    Attributes:
        tapped: The trainings by the reference, which is right by definition, and by the candidate.
        scenario: What is trained.
    """

    def __init__(
        self,
        tapped: TappedTrainings,
        observed: dict[Rules, Observed] | None = None,
        traces: dict[Rules, Trace] | None = None,
    ):
        self.tapped = tapped
        self.scenario = tapped.trainings.scenario
        self._observed = {} if observed is None else observed
        self._traces = {} if traces is None else traces

    def by_another(self, candidate: Fit) -> Retraining:
        """Return the same for another candidate; what was trained without a candidate is shared."""
        return Retraining(self.tapped.by_another(candidate), self._observed, self._traces)

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
        is_short = steps <= EAGER and self.replicas == 1
        scenario = _eager(self.scenario) if is_short else self.scenario
        validates = steps > min(run.ends[0] for run in self._observed.values() if run.ends)
        stop = BrokenRule("stop", "", "", "", partial(_stop_after, steps, validates), "epochs")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return observe(scenario, partial(fit_with, (*rules, stop)), self.model)
        except Exception as error:  # as in `tried`
            self.warn(rules, error)
            return None

    def floor(self, rules: Rules) -> Floor:
        """Return what rounding does to the training with rules broken."""
        nudged = (*rules, BrokenRule("one_ulp", "", "", "", nudge, "update"))
        return Floor(self.observed(rules), self.observed(nudged), least_difference(self.model))

    def warn(self, rules: Iterable[BrokenRule], error: Exception) -> None:
        """Warn that the scenario needs rules to train."""
        names = "+".join(rule.rule for rule in rules)
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        message = f"{self.scenario.name} cannot be trained without {names}: {what}"
        warnings.warn(message, stacklevel=2)


def _eager(scenario: Scenario) -> Scenario:
    """Return a scenario whose model runs eagerly: nothing is traced."""

    def build() -> keras.Model:
        model = scenario.build()
        model.run_eagerly = True
        return model

    return replace(scenario, build=build, xla=False)


def _stop_after(steps: int, validates: bool, call: FitCall) -> None:
    """End a fit after some steps; leave out validation unless it `validates`."""

    class Stop(keras.callbacks.Callback):
        def __init__(self) -> None:
            super().__init__()
            self.left = steps

        def on_train_batch_end(self, batch: int, logs: object = None) -> None:
            self.left -= 1
            self.model.stop_training = self.left <= 0

    if not validates:
        call.arguments["validation_freq"] = 2**31  # a split stays a split, so batches are the same
    call.add_callback(Stop())
