"""Peel the causes of a difference off, layer by layer, until what is left is rounding.

    peel = Peel(Retraining(tapped))
    peel.run()
    print([rule.rule for rule in peel.causes], peel.unexplained)

First what goes in is aligned: how many epochs, which samples make which batch. Then our engine
trains on the candidate's own batches, and one rule after the other is broken until gradients,
weights, logs and validation agree with the candidate's. Each layer is looked at only once those
before it agree, so no rule is blamed for what an earlier cause does.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace

from compare.diagnosis.align import align_batches, align_epochs
from compare.diagnosis.broken import BrokenRule
from compare.diagnosis.by_hand import decay_rules, gradient_rules
from compare.diagnosis.in_logs import find_in_logs, find_in_validation
from compare.diagnosis.job import Epochs, Job, Rules
from compare.diagnosis.layers import (
    first_different_step,
    floats_of,
    in_words,
    tensor_distance,
    weight_distance,
)
from compare.diagnosis.logs import log_distance
from compare.diagnosis.observed import Seen
from compare.diagnosis.outputs import output_rules
from compare.diagnosis.retrain import Retraining
from compare.diagnosis.rules import BROKEN, RULES
from compare.diagnosis.samples import Samples
from compare.diagnosis.search import CLOSER, FAR, Cause, Score, Search
from compare.diagnosis.settings import (
    loss_rules,
    optimizer_rules,
    scale_rule,
)
from compare.diagnosis.stops import (
    former_weights,
    weights_of_epochs,
)
from compare.diagnosis.trained import trained_rules
from compare.recording.trace import Trace
from compare.recording.trials import blamed_on

ROUNDS = 4
"""How many times the cause of another step is searched for, each time with those found before."""

AT_END = (
    "one_forward_pass",
    "metrics_of_a_second_pass",
    "training_flag",
    "validation_training_flag",
)
"""Rules that may show in nothing but the moving averages at the end."""


class Peel:
    """The search for the causes of a difference, and what it has found.

    Attributes:
        causes: The causes found so far, in causal order.
        unexplained: What no rule explains, in words; None if there is nothing.
        renamed: The candidate's names of logs of fit, where they differ.
        samples: The samples of the scenario as the candidate feeds them; None if unknown.
        aligned: The rule that trains on the candidate's own batches, once they are needed.
        candidate: What the candidate does.
        retraining: Our engine with rules broken, and the reference.
    """

    def __init__(
        self,
        retraining: Retraining,
        rules: Sequence[BrokenRule] = RULES,
        on_progress: Callable[[str], None] = lambda _: None,
    ):
        self.rules = rules
        self.causes: list[Cause] = []
        self.unexplained: str | None = None
        self.renamed: dict[str, str] = {}
        self.samples: Samples | None = None
        self.say = on_progress
        self.aligned: Rules = ()
        self.retraining = retraining
        on_progress("watching the loop")
        with blamed_on(self.retraining.scenario, "candidate"):
            self.candidate = self.retraining.candidate()
        on_progress("watching fit")
        self.candidate.like = self.retraining.observed(())

    @property
    def is_aligned(self) -> bool:
        """Whether our engine is given the candidate's own batches, sample by sample."""
        return bool(self.aligned)

    @property
    def broken(self) -> Rules:
        """The rules that make our engine train as the candidate does, as far as they are known."""
        return self.with_batches(tuple(cause.rule for cause in self.causes))

    def with_batches(self, rules: Rules) -> Rules:
        """Return rules with the alignment of the batches, which some of them stand for."""
        return (*rules, *self.aligned)

    def run(self) -> None:
        """Find the causes; end at the first layer that no rule explains, logs excepted."""
        for find in (align_epochs, align_batches, Peel.find_in_steps, Peel.find_at_end):
            find(self)
            if self.unexplained:
                return
        floor = self.retraining.floor(self.broken)  # causes in logs leave the weights as they are
        find_in_logs(self, floor)
        find_in_validation(self, floor)

    def may_matter(self, rule: BrokenRule) -> bool:
        """Return whether a rule is not among the causes yet, and may change this training."""
        known = {cause.rule.rule for cause in self.causes}
        return rule.rule not in known and self.retraining.may_matter(rule)

    def find_in_steps(self) -> None:
        """Find why gradients and updates differ on the same batches."""
        place = self._different_step()
        for _ in range(ROUNDS):
            found = self._search_in_step(*place) if place else []
            if not found:
                break
            self.causes += found
            place = self._different_step()
        if place:
            self.unexplained = in_words(*place)
        else:
            self._settings()

    def _different_step(self) -> tuple[str, int] | None:
        """Return the first step that differs, see `first_different_step`."""
        return first_different_step(self.retraining.floor(self.broken), self.candidate)

    def _search_in_step(self, layer: str, step: int) -> list[Cause]:
        """Return the causes of other gradients in a step, or of other weights at its start."""
        self.say(f"looking for the cause of other {layer} in step {step}")
        floor = self.retraining.floor(self.broken)

        def distance(run: Seen) -> float:
            if layer == "update":
                return weight_distance(run, self.candidate, step)
            return tensor_distance(run.gradients(step), self.candidate.gradients(step))

        def score(rules: Rules) -> float:
            run = self.retraining.shortened(self.with_known(rules), step + 1)
            return FAR if run is None or run.steps <= step else distance(run)

        level = floor.weights(step) if layer == "update" else floor.gradients(step)
        rules = self._rules_of_step(layer, step)
        factor: list[BrokenRule] = []
        if layer == "gradients" and not step:  # later, gradients of step 0 have agreed
            base = self.retraining.observed(self.broken)
            factor = scale_rule(base, self.candidate, step, self.retraining.replicas)
            if not factor:
                factor = output_rules(
                    self.candidate,
                    step,
                    len(base.run.taps.losses),
                    lambda rule: self.retraining.shortened(self.with_known((rule,)), step + 1),
                )
        expect = self.expecting(lambda rules: self.retraining.of_steps(rules, step + 1))
        return self.search(rules, Score(score, expect), level, factor)

    def _rules_of_step(self, layer: str, step: int) -> list[BrokenRule]:
        """Return the rules that may explain other gradients, or another update, in a step."""
        base = self.retraining.observed(self.broken)
        layers = ("gradients",) if layer == "gradients" else ("update", "gradients")
        rules = [rule for rule in self.rules if rule.layer in layers]
        if step in base.ends:  # what validation does to seeds and averages shows here first
            rules.append(BROKEN["validation_training_flag"])
        rules += trained_rules(base, self.candidate) + loss_rules(base, self.candidate)
        rules += self._rules_of_optimizer()
        read_off = gradient_rules if layer == "gradients" else decay_rules
        rules += read_off(base, self.candidate, step)
        return [rule for rule in rules if self.may_matter(rule)]

    def _rules_of_optimizer(self) -> list[BrokenRule]:
        return optimizer_rules(self.retraining.observed(self.broken), self.candidate)

    def with_known(self, rules: Rules) -> Rules:
        """Return the causes found so far, rules after them, and the alignment of the batches."""
        return self.with_batches((*(cause.rule for cause in self.causes), *rules))

    def search(
        self,
        rules: Sequence[BrokenRule],
        score: Score,
        level: float,
        read_off: Sequence[BrokenRule] = (),
    ) -> list[Cause]:
        """Search for the rules that explain a distance, and say what is broken meanwhile."""

        @functools.cache
        def said(broken: Rules) -> float:
            if broken:
                self.say(f"breaking {' and '.join(rule.rule for rule in broken)}")
            return score.of(broken)

        whole = Score(self._whole, self.expecting(Epochs))
        named = {rule.rule for rule in self.rules}  # a factor read off gradients is no other cause
        return [
            replace(cause, ties=tuple(name for name in cause.ties if name in named))
            for cause in Search(rules, replace(score, of=said), level, whole, read_off).causes()
        ]

    def expecting(
        self, job_of: Callable[[Rules], Job[object]]
    ) -> Callable[[Sequence[Rules]], None]:
        """Return what expects a training for each group of rules, with the causes found so far."""

        def expect(groups: Sequence[Rules]) -> None:
            self.retraining.expect([job_of(self.with_known(rules)) for rules in groups])

        return expect

    def _whole(self, rules: Rules) -> float:
        """Return how far a whole training is from the candidate's: weights at the end, and logs."""
        trace = self.retraining.tried(self.with_known(rules))
        if trace is None:
            return FAR
        ours = self.candidate.trace
        weights = {name: value for name, value in trace.variables.items() if "weights/" in name}
        logs = [*log_distance(trace.history, ours.history).values()]
        return tensor_distance(weights, ours.variables) + sum(logs) / max(1, len(logs))

    def _settings(self) -> None:
        """Find settings of the optimizer whose effect is too small to be more than rounding."""
        for rule in self._rules_of_optimizer():
            if self.may_matter(rule):
                before, after = self._whole(()), self._whole((rule,))
                if before and after < (1 - CLOSER) * before:
                    self.causes.append(Cause(rule, 1 - after / before))

    def find_at_end(self) -> None:
        """Find why the weights at the end differ although all steps agree."""
        floor = self.retraining.floor(self.broken)
        # Floats: what is drawn after the last step moves seeds, and is no part of the training.
        names = [
            name for name in floats_of(floor.base.trace.variables) if name.startswith("weights/")
        ]
        names = [name for name in names if name in self.candidate.trace.variables]

        def distance(first: Trace, second: Trace) -> float:
            ends = [{name: run.variables[name] for name in names} for run in (first, second)]
            return tensor_distance(*ends)

        def score(rules: Rules) -> float:
            trace = self.retraining.tried(self.with_known(rules))
            return FAR if trace is None else distance(trace, self.candidate.trace)

        apart = distance(floor.base.trace, self.candidate.trace)
        if apart <= floor.least:
            return
        level = floor.rounding_of(distance(*floor.epochs(floor.base.num_epochs)))
        if apart <= level:
            return
        rules = [it for it in self.rules if it.layer in ("rest", "update") or it.rule in AT_END]
        rules += self._former_weights(level)
        rules = [rule for rule in rules if self.may_matter(rule)]
        found = self.search(rules, Score(score, self.expecting(Epochs)), level)
        self.causes += found
        if not found:
            self.unexplained = "the weights at the end"

    def _former_weights(self, level: float) -> list[BrokenRule]:
        """Return a rule if the weights at the end are those of an earlier epoch."""
        rule, kept = weights_of_epochs()
        if self.retraining.tried(self.with_known((rule,))) is None:
            return []
        ours = self.candidate.trace.variables  # seeds, which are integers, stay as they are
        found = [
            epoch
            for epoch, weights in enumerate(kept[:-1])
            if tensor_distance(floats_of(weights), floats_of(ours)) <= level
        ]
        return [former_weights(found[-1], len(kept))] if found else []
