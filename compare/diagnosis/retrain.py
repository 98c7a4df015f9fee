"""Train a scenario again with rules of fit broken: whole, or the first few steps only."""

from __future__ import annotations

import copy
import functools
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, partial

import keras

import loop
from compare.diagnosis.broken import BrokenRule, fit_with
from compare.diagnosis.job import Epochs, Job, Result, Rules, Steps
from compare.diagnosis.layers import Floor, least_difference, nudge
from compare.diagnosis.layout import Layout
from compare.diagnosis.needs import may_matter
from compare.diagnosis.observed import FirstSteps, Observed, Seen, observe, observed_in
from compare.diagnosis.shorten import EAGER
from compare.execution.ahead import Ahead
from compare.location.tapped import TappedTrainings
from compare.recording.bits import same
from compare.recording.recorder import prepare, record
from compare.recording.trace import Trace
from compare.scenario import Fit, FitArguments

FIRST = 2
"""What rounding does to so many first steps is measured in these alone."""

FEW = 16
"""So many steps of whole epochs, with their validation, take as long eagerly as tracing does."""

NUDGE = BrokenRule("one_ulp", "", "", "", nudge, "update")


class Retraining:
    """A scenario trained again and again, each time with other rules broken; whole ones are kept.

    Attributes:
        tapped: The trainings by the reference, which is right by definition, and by the candidate.
        scenario: What is trained.
    """

    def __init__(self, tapped: TappedTrainings, ahead: Ahead | None = None):
        """Begin with what is recorded.

        Args:
            tapped: The trainings by reference and candidate.
            ahead: A second process that makes half of the trainings that are expected.
        """
        self.tapped = tapped
        self.scenario = tapped.trainings.scenario
        self._ahead = ahead
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
    def layout(self) -> Layout:
        """The layout of that model."""
        return Layout.of(self.model)

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
        return observed_in(self.tapped.by_candidate, self.layout)

    def observed(self, rules: Rules) -> Observed:
        """Return what our engine does with rules broken; the reference without any."""
        if rules not in self._observed:
            self._observed[rules] = (
                observe(self.scenario, partial(fit_with, rules), self.layout)
                if rules
                else observed_in(self.tapped.by_reference, self.layout)
            )
        return self._observed[rules]

    def trace(self, rules: Rules) -> Trace:
        """Return what our engine leaves behind with rules broken; the reference without any."""
        if not rules:
            return self.tapped.trainings.by_reference("epochs").trace
        if rules not in self._traces:
            self._traces[rules] = self._done(Epochs(rules))
        return self._traces[rules]

    def expect(self, jobs: Sequence[Job[object]]) -> None:
        """Make these trainings in a second process, if there is one, until they are asked for.

        Args:
            jobs: What is asked for next, in that order: `Epochs` for what `trace` returns, and what
                `of_steps` and `of_epochs` return.
        """
        if self._ahead:
            new = [job for job in jobs if not self._is_known(job)]
            self._ahead.expect({job: self._training(job) for job in new})

    def begin_ahead(self) -> None:
        """Use the second process once a training there, of no rule broken, has the right bits."""
        if self._ahead:
            right = _numbers(self.trace(()))
            train = self._training(Epochs(()))
            self._ahead.trust_if(train, lambda trace: same(_numbers(trace), right))

    def _is_known(self, job: Job[object]) -> bool:
        return isinstance(job, Epochs) and (not job.rules or job.rules in self._traces)

    def _done(self, job: Job[Result]) -> Result:
        train = self._training(job)
        return self._ahead.result(job, train) if self._ahead else train()

    def _training(self, job: Job[Result]) -> Callable[[], Result]:
        return partial(job.train, self.scenario, self.layout)

    def of_steps(self, rules: Rules, steps: int) -> Steps:
        """Return the training of which `shortened` returns what it does."""
        validates = steps > min(run.ends[0] for run in self._observed.values() if run.ends)
        return Steps(rules, steps, validates, steps <= EAGER and self.replicas == 1)

    def of_epochs(self, rules: Rules, epochs: int) -> Epochs:
        """Return the training of which `begun` returns what it leaves behind."""
        total = max(run.num_epochs for run in self._observed.values())
        if not rules or rules in self._traces or epochs >= total or self.replicas > 1:
            return Epochs(rules)
        ends = [run.ends[epochs - 1] for run in self._observed.values() if len(run.ends) >= epochs]
        return Epochs(rules, epochs, bool(ends) and max(ends) <= FEW)

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

    def shortened(self, rules: Rules, steps: int) -> FirstSteps | None:
        """Return what the first steps do with rules broken; None, with a warning, if they raise."""
        return self._begin(self.of_steps(rules, steps))

    def begun(self, rules: Rules, epochs: int) -> Trace | None:
        """Return what the first epochs leave behind with rules broken; see `tried`.

        A whole training that is known holds them, too: then it may be longer.
        """
        job = self.of_epochs(rules, epochs)
        return self.tried(rules) if job == Epochs(rules) else self._begin(job)

    def _begin(self, job: Job[Result]) -> Result | None:
        """Return what a training returns; None, with a warning, if it raises."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return self._done(job)
        except Exception as error:  # as in `tried`
            self.warn(job.rules, error)
            return None

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

    def _first_steps_nudged(self, rules: Rules) -> tuple[Seen, Seen]:
        both = rules, (*rules, NUDGE)
        self.expect([self.of_steps(it, FIRST) for it in both])
        plain, nudged = (self.shortened(it, FIRST) for it in both)
        return (plain, nudged) if plain and nudged else self._steps_nudged(rules)

    def _steps_nudged(self, rules: Rules) -> tuple[Observed, Observed]:
        return self.observed(rules), self.observed((*rules, NUDGE))

    def _epochs_nudged(self, rules: Rules, epochs: int) -> tuple[Trace, Trace]:
        if (*rules, NUDGE) not in self._observed:
            both = rules, (*rules, NUDGE)
            self.expect([self.of_epochs(it, epochs) for it in both])
            plain, nudged = (self.begun(it, epochs) for it in both)
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


def _numbers(trace: Trace) -> Trace:
    """Return the history and the variables of a trace."""
    return Trace(history=trace.history, variables=trace.variables)
