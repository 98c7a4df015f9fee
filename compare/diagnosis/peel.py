"""Peel the causes of a difference off, layer by layer, until what is left is rounding.

    peel = Peel(trainings)
    peel.run()
    print([rule.rule for rule in peel.causes], peel.unexplained)

First what goes in is aligned: how many epochs, which samples make which batch. Then our engine
trains on the candidate's own batches, and one rule after the other is broken until gradients,
weights, logs and validation agree with the candidate's. Each layer is looked at only once those
before it agree, so no rule is blamed for what an earlier cause does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from compare.diagnosis.accumulation import accumulation_of
from compare.diagnosis.batches import are_known, finding, found_in_batches, same_batches
from compare.diagnosis.broken import Break, BrokenRule, changes_nothing, in_turn
from compare.diagnosis.by_hand import decay_rules, gradient_rules
from compare.diagnosis.layers import (
    Floor,
    first_different_step,
    floats_of,
    tensor_distance,
    weight_distance,
)
from compare.diagnosis.logs import Logs, log_distance, renamed, unexplained
from compare.diagnosis.observed import Observed
from compare.diagnosis.prepared import preparation_of
from compare.diagnosis.retrain import Retraining, Rules
from compare.diagnosis.rules import BROKEN, RULES
from compare.diagnosis.samples import Samples, on_batches_of, samples_of
from compare.diagnosis.search import CLOSER, Cause, Score, Search
from compare.diagnosis.settings import (
    factor_rules,
    loss_rules,
    optimizer_rules,
    scale_rule,
)
from compare.diagnosis.stops import (
    epoch_rules,
    former_weights,
    validation_rules,
    weights_of_epochs,
)
from compare.diagnosis.trained import trained_rules
from compare.recording.trace import Trace
from compare.recording.trials import Trainings

ROUNDS = 4
"""How many times steps are compared, each time with the causes found before."""

AT_END = (
    "one_forward_pass",
    "metrics_of_a_second_pass",
    "training_flag",
    "validation_training_flag",
)
"""Rules that may show in nothing but the moving averages at the end."""

FAR = float("inf")
"""The distance of a training that cannot be made."""


class Peel:
    """The search for the causes of a difference, and what it has found.

    Attributes:
        causes: The causes found so far, in causal order.
        unexplained: What no rule explains, in words; None if there is nothing.
        renamed: The candidate's names of logs of fit, where they differ.
        candidate: What the candidate does.
        retraining: Our engine with rules broken, and the reference.
    """

    def __init__(
        self,
        trainings: Trainings,
        rules: Sequence[BrokenRule] = RULES,
        on_progress: Callable[[str], None] = lambda _: None,
    ):
        self.rules = rules
        self.causes: list[Cause] = []
        self.unexplained: str | None = None
        self.renamed: dict[str, str] = {}
        self.samples: Samples | None = None
        self._say = on_progress
        self._aligned: Rules = ()  # trains on the candidate's own batches
        self.retraining = Retraining(trainings.scenario, trainings.reference)
        on_progress("watching the loop")
        self.candidate = self.retraining.observe(trainings.candidate)
        on_progress("watching fit")
        self.candidate.like = self.retraining.observed(())

    @property
    def is_aligned(self) -> bool:
        """Whether our engine is given the candidate's own batches, sample by sample."""
        return bool(self._aligned)

    @property
    def broken(self) -> Rules:
        """The rules that make our engine train as the candidate does, as far as they are known."""
        return self.with_batches(tuple(cause.rule for cause in self.causes))

    def with_batches(self, rules: Rules) -> Rules:
        """Return rules with the alignment of the batches, which some of them stand for."""
        return (*rules, *self._aligned)

    def run(self) -> None:
        """Find the causes; end at the first layer that no rule explains, logs excepted."""
        for find in (self._epochs, self._batches, self._steps, self._end):
            find()
            if self.unexplained:
                return
        self._logs()
        self._validation()

    def may_matter(self, rule: BrokenRule) -> bool:
        """Return whether a rule is not among the causes yet, and may change this training."""
        known = {cause.rule.rule for cause in self.causes}
        return rule.rule not in known and self.retraining.may_matter(rule)

    def _epochs(self) -> None:
        """Find why the candidate trains another number of epochs."""
        ours, theirs = self.candidate.num_epochs, self.retraining.observed(()).num_epochs
        if ours == theirs or not ours:
            return
        for rule in epoch_rules(self.retraining.arguments, ours, theirs, self.rules):
            self._say(f"breaking {rule.rule}")
            trace = self.retraining.tried((rule,))
            if trace and max(map(len, trace.history.values()), default=0) == ours:
                self.causes.append(Cause(rule))
                return
        self.unexplained = f"that the loop trains {ours} epochs and fit {theirs}"

    def _batches(self) -> None:
        """Find how the candidate's batches differ, and train on its batches from here on."""
        for who, run in (("fit", self.retraining.observed(())), ("the loop", self.candidate)):
            if not run.batches:
                self.unexplained = f"the batches of {who}: {_not_seen(run)}"
                return
        self.samples = samples_of(self.retraining.scenario)
        self._inputs()
        found = found_in_batches(
            self.retraining.observed(self.broken), self.candidate, self.samples
        )
        self.causes += [Cause(rule) for rule in found]
        parts = accumulation_of(self.candidate)
        if parts is None and (not found or self._has_the_batches()):
            return
        breaks = on_batches_of(self.candidate, self.samples) if self.samples else None
        if not found:
            breaks = changes_nothing
            self.causes += self._in_parts(parts)
        if breaks is not None:
            breaks = in_turn(breaks, parts or changes_nothing)
            # The batches are made of the candidate's samples: what the rules do is in the way.
            self.causes = [_standing_for_batches(cause) for cause in self.causes]
            self._aligned = (BrokenRule("batches", "", "", "", breaks, "batches"),)
        if breaks is None or not self._has_the_batches():
            self.unexplained = "what follows from these batches: fit cannot be given the same ones"

    def _inputs(self) -> None:
        """Find what the candidate does to its inputs, and do so from here on."""
        base = self.retraining.observed(self.broken)
        if not self.samples or are_known(base, self.candidate, self.samples):
            return
        found = preparation_of(self.candidate, self.samples)
        if found:
            rule, self.samples = found
            self.causes.append(Cause(rule))

    def _in_parts(self, parts: Break | None) -> list[Cause]:
        """Return what follows from gradients that are computed in parts, if anything does."""
        base = self.retraining.observed(self.broken)
        in_parts = BrokenRule("parts", "", "", "", parts or changes_nothing, "batches")
        run = self.retraining.observed((*self.broken, in_parts))
        if first_different_step(self.retraining.floor(self.broken), run) is None:
            return []
        size = max(map(len, base.batches))
        return [Cause(finding("micro_batches", [size, size], self.candidate.accumulates))]

    def _has_the_batches(self) -> bool:
        """Return whether our engine, with the causes found so far, has the candidate's batches."""
        self._say(f"breaking {', '.join(rule.rule for rule in self.broken)}")
        try:
            return same_batches(self.retraining.observed(self.broken), self.candidate)
        except Exception as error:  # data that a rule is not for
            self.retraining.warn(self.broken, error)
            return False

    def _steps(self) -> None:
        """Find why gradients and updates differ on the same batches."""
        for _ in range(ROUNDS):
            floor = self.retraining.floor(self.broken)
            place = first_different_step(floor, self.candidate)
            if place is None:
                self._settings()
                return
            layer, step = place
            self._say(f"looking for the cause of other {layer} in step {step}")
            found = self._search_in_step(floor, layer, step)
            self.causes += found
            if not found:
                break
        of_step = "gradients" if layer == "gradients" else "weights at the start"
        self.unexplained = f"the {of_step} of step {step}"

    def _search_in_step(self, floor: Floor, layer: str, step: int) -> list[Cause]:
        """Return the causes of other gradients in a step, or of other weights at its start."""

        def distance(run: Observed) -> float:
            if layer == "update":
                return weight_distance(run, self.candidate, step)
            return tensor_distance(run.gradients(step), self.candidate.gradients(step))

        def score(rules: Rules) -> float:
            run = self.retraining.shortened(self._with_known(rules), step + 1)
            return FAR if run is None or run.steps <= step else distance(run)

        level = floor.weights(step) if layer == "update" else floor.gradients(step)
        rules = self._rules_of_step(layer, step)
        found = self._search(rules, score, level)
        if found or layer == "update" or step:  # later, gradients of step 0 have agreed
            return found
        # A factor read off these very gradients comes close too easily: only if nothing else does.
        base = self.retraining.observed(self.broken)
        factor = scale_rule(base, self.candidate, step, self.retraining.replicas)
        return self._search([*factor, *rules], score, level) if factor else []

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

    def _with_known(self, rules: Rules) -> Rules:
        """Return the causes found so far, rules after them, and the alignment of the batches."""
        return self.with_batches((*(cause.rule for cause in self.causes), *rules))

    def _search(self, rules: Sequence[BrokenRule], score: Score, level: float) -> list[Cause]:
        """Search for the rules that explain a distance, and say what is broken meanwhile."""

        def said(broken: Rules) -> float:
            if broken:
                self._say(f"breaking {' and '.join(rule.rule for rule in broken)}")
            return score(broken)

        named = {rule.rule for rule in self.rules}  # a factor read off gradients is no other cause
        return [
            replace(cause, ties=tuple(name for name in cause.ties if name in named))
            for cause in Search(rules, said, level, self._whole).causes()
        ]

    def _whole(self, rules: Rules) -> float:
        """Return how far a whole training is from the candidate's: weights at the end, and logs."""
        trace = self.retraining.tried(self._with_known(rules))
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

    def _end(self) -> None:
        """Find why the weights at the end differ although all steps agree."""
        floor = self.retraining.floor(self.broken)
        names = [name for name in floor.base.trace.variables if name.startswith("weights/")]
        names = [name for name in names if name in self.candidate.trace.variables]

        def distance(first: Trace, second: Trace) -> float:
            ends = [{name: run.variables[name] for name in names} for run in (first, second)]
            return tensor_distance(*ends)

        def score(rules: Rules) -> float:
            trace = self.retraining.tried(self._with_known(rules))
            return FAR if trace is None else distance(trace, self.candidate.trace)

        level = floor.rounding_of(distance(floor.base.trace, floor.nudged.trace))
        if distance(floor.base.trace, self.candidate.trace) <= level:
            return
        rules = [it for it in self.rules if it.layer in ("rest", "update") or it.rule in AT_END]
        rules += self._former_weights(level)
        found = self._search([rule for rule in rules if self.may_matter(rule)], score, level)
        self.causes += found
        if not found:
            self.unexplained = "the weights at the end"

    def _former_weights(self, level: float) -> list[BrokenRule]:
        """Return a rule if the weights at the end are those of an earlier epoch."""
        rule, kept = weights_of_epochs()
        if self.retraining.tried(self._with_known((rule,))) is None:
            return []
        ours = self.candidate.trace.variables  # seeds, which are integers, stay as they are
        found = [
            epoch
            for epoch, weights in enumerate(kept[:-1])
            if tensor_distance(floats_of(weights), floats_of(ours)) <= level
        ]
        return [former_weights(found[-1], len(kept))] if found else []

    def _logs(self) -> None:
        """Find why logs of training differ although the weights are the same."""
        self._in_logs("logs", lambda name: not name.startswith("val_"), self.rules)

    def _validation(self) -> None:
        """Find why logs of validation differ although the weights are the same."""
        base = self.retraining.observed(self.broken)
        histories = base.trace.history, self.candidate.trace.history
        has_logs = [bool(_only(history, _is_of_validation)) for history in histories]
        if all(has_logs):
            extra = validation_rules(base, self.candidate, self.rules, self.samples)
            self._in_logs("validation", _is_of_validation, [*self.rules, *extra])
        elif has_logs[0] and not any(map(len, self.candidate.tests)):
            self.causes += [Cause(rule) for rule in self.rules if rule.rule == "validation"]

    def _in_logs(
        self, layer: str, wanted: Callable[[str], bool], rules: Sequence[BrokenRule]
    ) -> None:
        """Find why logs differ, one log after the other, the loss first."""
        floor = self.retraining.floor(self.broken)
        ours = _only(self.candidate.trace.history, wanted)
        agreed: list[str] = []
        left: list[str] = []
        for name in _only(floor.base.trace.history, wanted):
            theirs = _only(self.retraining.trace(self.broken).history, wanted)
            tried = [*factor_rules(theirs, ours, name, layer), *rules]
            # Without validation there would be no log left to differ: that is looked at before.
            tried = [it for it in tried if it.layer == layer and it.rule != "validation"]
            score = self._score_of_logs([*agreed, name], wanted, floor)
            if score(()):
                self.causes += self._search(list(filter(self.may_matter, tried)), score, 0.0)
            (left if score(()) else agreed).append(name)
        self._rename(ours, wanted, floor)
        if left:
            also = f"{self.unexplained} and " if self.unexplained else ""
            self.unexplained = f"{also}the log{'s' * (len(left) > 1)} {' and '.join(left)}"

    def _score_of_logs(
        self, names: Sequence[str], wanted: Callable[[str], bool], floor: Floor
    ) -> Score:
        """Return the distance of some logs to the candidate's; 0 if all of it is rounding."""
        ours = _only(self.candidate.trace.history, wanted)

        def score(rules: Rules) -> float:
            trace = self.retraining.tried(self._with_known(rules))
            if trace is None:
                return FAR
            return unexplained(_only(trace.history, wanted), ours, names, floor)

        return score

    def _rename(self, ours: Logs, wanted: Callable[[str], bool], floor: Floor) -> None:
        """Note the logs of other names; where fit's name is another log's, find what that is."""
        found = renamed(_only(self.retraining.trace(self.broken).history, wanted), ours, floor)
        self.renamed |= found
        without = {name: log for name, log in ours.items() if name not in found.values()}
        for name in found:
            if name not in ours:
                continue
            for rule in (it for it in self.rules if it.layer == "logs" and self.may_matter(it)):
                trace = self.retraining.tried(self._with_known((rule,)))
                if trace and not unexplained(trace.history, without, [name], floor):
                    self.causes.append(Cause(rule))
                    break


def _not_seen(run: Observed) -> str:
    """Say why no batches of a training were seen."""
    if run.captured.overflows:
        return "it has too many to record them all; train fewer epochs, or on fewer samples"
    return "its model or layers were never called with dense inputs"


def _is_of_validation(name: str) -> bool:
    return name.startswith("val_")


def _only(history: Logs, wanted: Callable[[str], bool]) -> Logs:
    return {name: log for name, log in history.items() if log and wanted(name)}


def _standing_for_batches(cause: Cause) -> Cause:
    """Return a cause whose rule, if it is about batches, changes nothing by itself."""
    if cause.rule.layer != "batches":
        return cause
    return replace(cause, rule=replace(cause.rule, breaks=changes_nothing))
