"""Search for the rules that explain a difference: the best first, scored anew after each."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from compare.diagnosis.broken import BrokenRule
from compare.diagnosis.job import Rules

CLOSER = 0.5
"""A rule is added if it removes at least this part of the distance."""

CONVINCING = 0.8
"""What leaves more than rounding is reported only if it removes this much of the distance."""

AT_ONCE = 3
"""The most rules that are added to explain one difference."""

NEAREST = 5
"""How many rules are also broken in pairs, where none alone comes closer."""

FAR = float("inf")
"""The distance of a training that cannot be made."""


@dataclass(frozen=True)
class Score:
    """The distance to the candidate with rules broken, besides the causes found so far.

    Attributes:
        of: Returns the distance with rules broken.
        expect: Called with the groups of rules that `of` is called with next, in that order.
    """

    of: Callable[[Rules], float]
    expect: Callable[[Sequence[Rules]], None]

    def each(self, groups: Iterable[Rules], added: Rules) -> dict[Rules, float]:
        """Return the distance for each group of rules, broken after those that were added."""
        broken = {group: (*added, *group) for group in groups}
        self.expect([*broken.values()])
        return {group: self.of(rules) for group, rules in broken.items()}


@dataclass(frozen=True)
class Cause:
    """A rule that the candidate breaks, found by training.

    Attributes:
        rule: The rule.
        explains: The part of the distance in its layer that it and the rules found with it remove.
        ties: Rules that explain the same here.
    """

    rule: BrokenRule
    explains: float = 1.0
    ties: tuple[str, ...] = ()


@dataclass(frozen=True)
class Search:
    """A search for the rules that explain one difference.

    Attributes:
        rules: The rules to try.
        score: The distance that they are to remove.
        level: How much of it is rounding.
        whole: The distance of whole trainings, which tells apart rules that score the same.
        read_off: Rules read off the very difference, which come close too easily: tried where no
            rule alone comes closer, and taken before pairs only if they explain all of it.
    """

    rules: Sequence[BrokenRule]
    score: Score
    level: float
    whole: Score
    read_off: Sequence[BrokenRule] = ()

    def causes(self) -> list[Cause]:
        """Return the rules that explain the difference, in the order in which they were added.

        Returns:
            The causes; none if they leave more than rounding and do not come convincingly close.
        """
        before = now = self.score.of(())
        if not math.isfinite(before):
            return []  # what is not trained cannot come closer
        added: Rules = ()
        ties: tuple[str, ...] = ()
        while now > self.level and len(added) < AT_ONCE:
            scores = self._closer(added, now)
            if not scores:
                break
            best, ties = self._best(scores, added)
            added, now = (*added, *best), scores[best]
        explains = 1.0 if now <= self.level else 1 - now / before if before else 0.0
        if now > self.level and explains < CONVINCING:
            more = replace(self, rules=[*self.read_off, *self.rules], read_off=())
            return more.causes() if self.read_off else []
        return [Cause(rule, explains, ties if rule is added[-1] else ()) for rule in added]

    def _closer(self, added: Rules, now: float) -> dict[Rules, float]:
        """Return the scores of rules, if one comes closer; else of pairs, if one explains all."""
        scores = self.score.each([(rule,) for rule in self.rules if rule not in added], added)
        if scores and min(scores.values()) <= max(self.level, (1 - CLOSER) * now):
            return scores
        read_off = self.score.each([(it,) for it in self.read_off if it not in added], added)
        if read_off and min(read_off.values()) <= self.level:
            return read_off
        near = sorted(scores, key=lambda group: scores[group])[:NEAREST]
        pairs = [first + second for first, second in itertools.combinations(near, 2)]
        scores = self.score.each(pairs, added)
        return scores if scores and min(scores.values()) <= self.level else {}

    def _best(self, scores: dict[Rules, float], added: Rules) -> tuple[Rules, tuple[str, ...]]:
        """Return the best rules, and the names of those that give the same whole training."""
        most = max(min(scores.values()), self.level)
        best = [group for group in scores if scores[group] <= most]
        if len(best) > 1:
            whole = self.whole.each(best, added)
            best = sorted(best, key=lambda group: whole[group])
            best = [group for group in best if not whole[group] > whole[best[0]]]
        return best[0], tuple("+".join(rule.rule for rule in group) for group in best[1:])
