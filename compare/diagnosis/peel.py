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

import itertools
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import keras

import loop
from compare.diagnosis.broken import BrokenRule, FitCall, fit_with
from compare.diagnosis.layers import (
    Floor,
    apart,
    first_apart,
    least_difference,
    moved_apart,
    nudge,
)
from compare.diagnosis.logs import Logs, log_distance, renamed, unexplained
from compare.diagnosis.needs import may_matter
from compare.diagnosis.observed import Observed, observe
from compare.diagnosis.rules import BROKEN, RULES
from compare.diagnosis.samples import found_in_batches, on_batches_of, same_batches, samples_of
from compare.diagnosis.settings import factor_rules, optimizer_rules, scale_rule
from compare.diagnosis.stops import epoch_rules, validation_rules
from compare.recording.recorder import prepare, record
from compare.recording.trace import Trace
from compare.recording.trials import Trainings
from compare.scenario import Scenario

CLOSER = 0.5
"""A rule is kept for a second look if it removes at least this part of the distance."""

CONVINCING = 0.8
"""What leaves more than rounding is reported only if it removes this much of the distance."""

AT_ONCE = 3
"""The most rules that are added to explain one difference."""

NEAREST = 5
"""How many rules are also broken in pairs, where none alone comes closer."""

EAGER = 64
"""Up to so many steps, trials run eagerly: tracing would take longer."""

Rules = tuple[BrokenRule, ...]

Score = Callable[[Rules], float]
"""The distance to the candidate with rules broken, on top of the causes found so far."""


@dataclass(frozen=True)
class Cause:
    """A rule that the candidate breaks, found by training.

    Attributes:
        rule: The rule.
        explains: The part of the distance in its layer that it and the rules found with it remove.
        ties: Rules that explain the same here.
    """

    rule: BrokenRule
    explains: float
    ties: tuple[str, ...] = ()


class Peel:
    """The search for the causes of a difference, and what it has found.

    Attributes:
        causes: The causes found so far, in causal order.
        unexplained: The first place that no rule explains, in words; None if there is none.
        renamed: The candidate's names of logs of fit, where they differ.
    """

    def __init__(
        self,
        trainings: Trainings,
        rules: Sequence[BrokenRule] = RULES,
        on_progress: Callable[[str], None] = lambda _: None,
    ):
        self.scenario = trainings.scenario
        self.reference_fit = trainings.reference
        self.rules = rules
        self.causes: list[Cause] = []
        self.unexplained: str | None = None
        self.renamed: dict[str, str] = {}
        self._say = on_progress
        self._aligned: BrokenRule | None = None  # trains on the candidate's own batches
        self._observed: dict[tuple[str, ...], Observed] = {}
        self._traces: dict[tuple[str, ...], Trace] = {}
        self._prepared = prepare(self.scenario)
        on_progress("watching the loop")
        self.candidate = observe(self.scenario, trainings.candidate, self._prepared[0])
        on_progress("watching fit")
        self.reference = observe(self.scenario, self.reference_fit, self._prepared[0])

    @property
    def is_aligned(self) -> bool:
        """Whether our engine is given the candidate's own batches, sample by sample."""
        return self._aligned is not None

    @property
    def is_under_xla(self) -> bool:
        """Whether fit compiles its step with XLA."""
        return self._prepared[0].jit_compile is True and not self._prepared[0].run_eagerly

    def may_matter(self, rule: BrokenRule) -> bool:
        """Return whether breaking a rule may change this training, and is not broken yet."""
        known = {cause.rule.rule for cause in self.causes}
        return rule.rule not in known and may_matter(rule, *self._prepared)

    def trace_of_ours(self) -> Trace:
        """Return what our engine leaves behind with nothing broken."""
        return record(self.scenario, loop.fit, "epochs")[0]

    @property
    def broken(self) -> Rules:
        """The rules that make our engine train as the candidate does, as far as they are known."""
        return self.with_batches(tuple(cause.rule for cause in self.causes))

    def with_batches(self, rules: Rules) -> Rules:
        """Return rules with the alignment of the batches, which one of them may stand for."""
        return (*rules, self._aligned) if self._aligned else rules

    def run(self) -> None:
        """Find the causes."""
        for layer in (
            self._epochs,
            self._batches,
            self._steps,
            self._end,
            self._logs,
            self._validation,
        ):
            layer()
            if self.unexplained:
                return

    def observed(self, rules: Rules) -> Observed:
        """Return what our engine does with rules broken; fit itself without any."""
        if not rules:
            return self.reference
        key = tuple(rule.rule for rule in rules)
        if key not in self._observed:
            self._observed[key] = observe(
                self.scenario, partial(fit_with, rules), self._prepared[0]
            )
        return self._observed[key]

    def trace(self, rules: Rules) -> Trace:
        """Return what our engine leaves behind with rules broken, without taps."""
        key = tuple(rule.rule for rule in rules)
        if key not in self._traces:
            fit = partial(fit_with, rules) if rules else self.reference_fit
            self._traces[key] = record(self.scenario, fit, "epochs")[0]
        return self._traces[key]

    def _epochs(self) -> None:
        """Find why the candidate trains another number of epochs."""
        wanted = self.candidate.num_epochs
        if wanted == self.reference.num_epochs or not wanted:
            return
        for rule in epoch_rules(self.scenario, wanted, self.reference.num_epochs, self.rules):
            self._say(f"breaking {rule.rule}")
            if (trace := self.tried((rule,))) and _epochs_of(trace) == wanted:
                self.causes.append(Cause(rule, 1.0))
                return
        self.unexplained = f"the loop trains {wanted} epochs and fit {self.reference.num_epochs}"

    def _batches(self) -> None:
        """Find how the candidate's batches differ, and train on its batches from here on."""
        base = self.observed(self.broken)
        samples = samples_of(self.scenario)
        found = found_in_batches(base, self.candidate, samples)
        if not found:
            return
        self._say(f"breaking {', '.join(rule.rule for rule in found)}")
        self.causes += [Cause(rule, 1.0) for rule in found]
        if self._has_the_batches():
            return
        breaks = on_batches_of(self.candidate, samples) if samples else None
        if breaks is not None:
            # The batches are made of the candidate's samples: what the rules do is in the way.
            self.causes = [
                replace(cause, rule=replace(cause.rule, breaks=_nothing))
                if cause.rule.layer == "batches"
                else cause
                for cause in self.causes
            ]
            self._aligned = BrokenRule("batches", "", "", "", breaks, "batches")
        if breaks is None or not self._has_the_batches():
            self.unexplained = "what follows from these batches: fit cannot be given the same ones"

    def _has_the_batches(self) -> bool:
        """Return whether our engine, with the causes found so far, has the candidate's batches."""
        try:
            return same_batches(self.observed(self.broken), self.candidate)
        except Exception as error:  # as in `_shortened`
            self._warn(self.broken, error)
            return False

    def _steps(self) -> None:
        """Find why gradients and updates differ on the same batches."""
        for _ in range(AT_ONCE):
            floor = self._floor()
            place = first_apart(floor, self.candidate)
            if place is None:
                break
            layer, step = place
            self._say(f"looking for the cause of other {layer} in step {step}")
            found = self._explain(
                *self._score_of_step(floor, layer, step), self._rules_of_step(layer, step)
            )
            if not found:
                self.unexplained = f"the {_WORDS[layer]} of step {step}"
                return
            self.causes += found
        self._settings()

    def _floor(self) -> Floor:
        rules = self.broken
        nudged = (*rules, BrokenRule("one_ulp", "", "", "", nudge, "update"))
        least = least_difference(self._prepared[0])
        return Floor(self.observed(rules), self.observed(nudged), least)

    def _rules_of_step(self, layer: str, step: int) -> list[BrokenRule]:
        """Return the rules that may explain other gradients, or another update, in a step."""
        base = self.observed(self.broken)
        layers = ("gradients",) if layer == "gradients" else ("update", "gradients")
        rules = [rule for rule in self.rules if rule.layer in layers]
        if layer == "gradients":
            rules += scale_rule(base, self.candidate, step, replicas_of(self._prepared[0]))
        if step in base.ends:  # what validation does to seeds and averages shows here first
            rules.append(BROKEN["validation_training_flag"])
        rules += optimizer_rules(self.reference.optimizer, self.candidate.optimizer)
        return [rule for rule in rules if self.may_matter(rule)]

    def _score_of_step(self, floor: Floor, layer: str, step: int) -> tuple[Score, float]:
        """Return the distance of a step to the candidate's, and how much of it is rounding."""

        def distance(run: Observed) -> float:
            if layer == "update":
                return moved_apart(run, self.candidate, step)
            return apart(run.gradients(step), self.candidate.gradients(step))

        def score(rules: Rules) -> float:
            run = self._shortened(self.with_batches(rules), step + 1)
            if run is None or run.steps <= step:
                return float("inf")
            return distance(run)

        level = floor.weights(step) if layer == "update" else floor.gradients(step)
        return score, level

    def _shortened(self, rules: Rules, steps: int) -> Observed | None:
        """Train a few steps with rules broken; None if the scenario cannot be trained so."""
        is_short = steps <= EAGER and replicas_of(self._prepared[0]) == 1
        scenario = _eager(self.scenario) if is_short else self.scenario
        validates = steps > self.reference.ends[0]
        stop = BrokenRule("stop", "", "", "", partial(_stop_after, steps, validates), "epochs")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return observe(scenario, partial(fit_with, (*rules, stop)), self._prepared[0])
        except Exception as error:  # shapes, dtypes or missing data: a model may need the rule
            self._warn(rules, error)
            return None

    def tried(self, rules: Rules) -> Trace | None:
        """Train with rules broken; return None, with a warning, if that raises."""
        try:
            return self.trace(rules)
        except Exception as error:  # as in `_shortened`
            self._warn(rules, error)
            return None

    def _warn(self, rules: Iterable[BrokenRule], error: Exception) -> None:
        names = "+".join(rule.rule for rule in rules if rule.rule not in ("stop", "batches"))
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        warnings.warn(
            f"{self.scenario.name} cannot be trained without {names}: {what}", stacklevel=2
        )

    def _explain(self, score: Score, level: float, rules: Sequence[BrokenRule]) -> list[Cause]:
        """Add rules, the best first, until the distance is rounding.

        Args:
            score: The distance to the candidate with rules broken.
            level: How much of it is rounding.
            rules: The rules to try.

        Returns:
            The rules; empty if they leave more than rounding and do not come convincingly close.
        """
        known = tuple(cause.rule for cause in self.causes)
        before = now = score(known)
        added: Rules = ()
        ties: tuple[str, ...] = ()
        while now > level and len(added) < AT_ONCE:
            enough = max(level, (1 - CLOSER) * now)
            scores = self._scores(
                score, (*known, *added), [(rule,) for rule in rules if rule not in added]
            )
            if not scores or min(scores.values()) > enough:
                near = sorted(scores, key=lambda group: scores[group])[:NEAREST]
                pairs = [a + b for a, b in itertools.combinations(near, 2)]
                scores = self._scores(score, (*known, *added), pairs)
                if not scores or min(scores.values()) > level:
                    break
            best, ties = self._separated(scores, level, added)
            added, now = (*added, *best), scores[best]
        explains = 1.0 if now <= level else 1 - now / before if before else 0.0
        if not added or (now > level and explains < CONVINCING):
            return []
        return [Cause(rule, explains, ties if rule is added[-1] else ()) for rule in added]

    def _scores(self, score: Score, known: Rules, groups: Sequence[Rules]) -> dict[Rules, float]:
        scores = {}
        for group in groups:
            self._say(f"breaking {' and '.join(rule.rule for rule in group)}")
            scores[group] = score((*known, *group))
        return scores

    def _separated(
        self, scores: dict[Rules, float], level: float, added: Rules
    ) -> tuple[Rules, tuple[str, ...]]:
        """Return the best rules, and the names of those that give the same whole training."""
        least = min(scores.values())
        best = [
            group
            for group in scores
            if scores[group] <= max(least, level if least <= level else least)
        ]
        if len(best) > 1:
            known = tuple(cause.rule for cause in self.causes)
            whole = {group: self._whole_distance((*known, *added, *group)) for group in best}
            least = min(whole.values())
            best = [group for group in best if whole[group] <= least]
        named = {rule.rule for rule in self.rules}  # a factor read off gradients is no other cause
        ties = [group for group in best[1:] if all(rule.rule in named for rule in group)]
        return best[0], tuple("+".join(rule.rule for rule in group) for group in ties)

    def _whole_distance(self, rules: Rules) -> float:
        """Return how far whole trainings are apart: weights at the end, and logs."""
        trace = self.tried(self.with_batches(rules))
        if trace is None:
            return float("inf")
        ours = self.candidate.trace
        weights = {name: value for name, value in trace.variables.items() if "weights/" in name}
        logs = [*log_distance(trace.history, ours.history).values()]
        return apart(weights, ours.variables) + sum(logs) / max(1, len(logs))

    def _settings(self) -> None:
        """Find settings of the optimizer whose effect is too small to be more than rounding."""
        rules = optimizer_rules(self.reference.optimizer, self.candidate.optimizer)
        for rule in rules:
            if not self.may_matter(rule):
                continue
            base = self._whole_distance(tuple(cause.rule for cause in self.causes))
            mended = self._whole_distance((*(cause.rule for cause in self.causes), rule))
            if base and mended < (1 - CLOSER) * base:
                self.causes.append(Cause(rule, 1 - mended / base))

    def _end(self) -> None:
        """Find why the weights at the end differ although all steps agree."""
        floor = self._floor()
        ends = floor.base.trace.variables, floor.nudged.trace.variables
        trained = [name.removeprefix("begun/") for name in self.candidate.weights(0)]

        def distance(first: dict, second: dict) -> float:
            of_trained = [
                {name: run[name] for name in trained if name in run} for run in (first, second)
            ]
            return apart(*of_trained)

        def score(rules: Rules) -> float:
            trace = self.tried(self.with_batches(rules))
            return (
                float("inf")
                if trace is None
                else distance(trace.variables, self.candidate.trace.variables)
            )

        level = floor.of(distance(*ends))
        if distance(ends[0], self.candidate.trace.variables) <= level:
            return
        rules = [
            rule
            for rule in self.rules
            if rule.layer in ("rest", "update") and self.may_matter(rule)
        ]
        found = self._explain(score, level, rules)
        self.causes += found
        if not found:
            self.unexplained = "the weights at the end"

    def _logs(self) -> None:
        """Find why logs of training differ although the weights are the same."""
        self._in_logs("logs", lambda name: not name.startswith("val_"), self.rules)

    def _validation(self) -> None:
        """Find why logs of validation differ although the weights are the same."""
        is_validation = lambda name: name.startswith("val_")  # noqa: E731 - a name for what follows
        extra = validation_rules(self.observed(self.broken), self.candidate, self.causes)
        theirs = self.trace(self.broken).history
        if any(map(is_validation, theirs)) and not any(
            map(is_validation, self.candidate.trace.history)
        ):
            if not any(map(len, self.candidate.tests)) and "validation" in {
                rule.rule for rule in self.rules
            }:
                self.causes.append(Cause(BROKEN["validation"], 1.0))
            return
        self._in_logs("validation", is_validation, [*extra, *self.rules])

    def _in_logs(
        self, layer: str, wanted: Callable[[str], bool], rules: Sequence[BrokenRule]
    ) -> None:
        """Find why logs differ, one log after the other, the loss first."""
        floor = self._floor()
        ours = _only(self.candidate.trace.history, wanted)
        names = [*_only(floor.base.trace.history, wanted)]
        agreed: list[str] = []
        left = []
        for name in names:
            known = tuple(cause.rule for cause in self.causes)
            theirs = _only(self.trace(self.broken).history, wanted)
            # Without validation there would be no log left to differ: that is looked at before.
            tried = [
                rule
                for rule in [*factor_rules(theirs, ours, name, layer), *rules]
                if rule.layer == layer and rule.rule != "validation" and self.may_matter(rule)
            ]
            score = self._score_of_logs([*agreed, name], wanted, floor)
            if score(known):
                self.causes += self._explain(score, 0.0, tried)
            if score(tuple(cause.rule for cause in self.causes)):
                left.append(name)
            else:
                agreed.append(name)
        self._rename(ours, wanted, floor)
        if left:
            self.unexplained = f"the {'logs' if len(left) > 1 else 'log'} {' and '.join(left)}"

    def _score_of_logs(
        self, names: Sequence[str], wanted: Callable[[str], bool], floor: Floor
    ) -> Score:
        """Return the distance of some logs to the candidate's; 0 if all of it is rounding."""
        ours = _only(self.candidate.trace.history, wanted)

        def score(rules: Rules) -> float:
            trace = self.tried(self.with_batches(rules))
            if trace is None:
                return float("inf")
            return unexplained(_only(trace.history, wanted), ours, names, floor)

        return score

    def _rename(self, ours: Logs, wanted: Callable[[str], bool], floor: Floor) -> None:
        """Note the logs of other names; where fit's name is another log's, find what that is."""
        theirs = _only(self.trace(self.broken).history, wanted)
        found = renamed(theirs, ours, floor)
        self.renamed |= found
        without = {name: log for name, log in ours.items() if name not in found.values()}
        for name in found:
            if name not in ours:
                continue
            for rule in (it for it in self.rules if it.layer == "logs" and self.may_matter(it)):
                known = tuple(cause.rule for cause in self.causes)
                trace = self.tried(self.with_batches((*known, rule)))
                if trace and not unexplained(trace.history, without, [name], floor):
                    self.causes.append(Cause(rule, 1.0))
                    break


_WORDS = {"gradients": "gradients", "update": "weights at the start"}


def _only(history: Logs, wanted: Callable[[str], bool]) -> Logs:
    return {name: log for name, log in history.items() if wanted(name)}


def _epochs_of(trace: Trace) -> int:
    return max(map(len, trace.history.values()), default=0)


def _nothing(call: FitCall) -> None:
    """Leave a call of fit as it is: its batches are made by another rule."""
    del call


def _eager(scenario: Scenario) -> Scenario:
    """Return a scenario whose model runs eagerly: nothing is traced."""

    def build() -> keras.Model:
        model = scenario.build()
        model.run_eagerly = True
        return model

    return replace(scenario, build=build, xla=False)


def replicas_of(model: keras.Model) -> int:
    """Return the number of replicas that a model trains on."""
    strategy = getattr(model, "distribute_strategy", None)
    return strategy.num_replicas_in_sync if strategy else 1


def _stop_after(steps: int, validates: bool, call: FitCall) -> None:
    """End a fit after some steps; without validation, if no epoch comes after one."""

    class Stop(keras.callbacks.Callback):
        def __init__(self) -> None:
            super().__init__()
            self.left = steps

        def on_train_batch_end(self, batch: int, logs: object = None) -> None:
            self.left -= 1
            self.model.stop_training = self.left <= 0

    if not validates:
        call.arguments["validation_freq"] = 2**31  # a split stays a split, so batches are the same
    call.arguments["callbacks"] = [*call.arguments.get("callbacks", ()), Stop()]
