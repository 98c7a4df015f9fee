"""What a diagnosis has found, and how it is said: as an answer to a question in a forum."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

HARMLESS = ("two_iterators", "permutation", "shuffled_once", "repeats_before_batching")
"""Causes after which a loop trains as well as fit: another order of the samples, no mistake."""

MINOR = ("shuffle", "shuffles", "shuffle_buffer", "last_partial_batch")
"""Causes that change every weight, but mostly matter less than a mistake in a step."""


@dataclass(frozen=True)
class Verdict:
    """One cause of a difference; prints as a sentence and the missing line.

        best = diagnose(scenario, my_fit).main
        print(best.rule, best.exact, best.line)

    Attributes:
        rule: The rule that the candidate breaks, like `regularization_losses`.
        exact: Whether our engine with all causes broken gives the candidate's history and weights,
            bit for bit. If only other parts of the trace differ, whether it gives the whole trace.
        line: The line that is missing in the candidate.
        mirrors: The Keras function that has it.
        mistake: What the candidate does.
        closeness: How much of the difference it explains where it shows first, 0 to 1, together
            with the causes that were found there with it.
        logs: The last value of each log with this cause mended and all others as they are, but for
            causes in the batches, which are mended together; empty if that cannot be trained.
        effect: How far the weights at the end are from those with this cause mended, 0 to 1.
        ties: Rules that explain the same in this scenario.
    """

    rule: str
    exact: bool
    line: str
    mirrors: str
    mistake: str
    closeness: float
    logs: dict[str, float] = field(default_factory=dict)
    effect: float = 0.0
    ties: tuple[str, ...] = ()

    def __str__(self) -> str:
        degree = "the very same bits" if self.exact else f"{self.closeness:.0%} of the difference"
        return f"{self.rule}: {self.mistake} ({degree})\n    {self.line}\n    see {self.mirrors}"


@dataclass(frozen=True)
class Diagnosis(Sequence[Verdict]):
    """All causes of a difference, in causal order; prints as an answer.

        found = diagnose(scenario, my_fit)
        print(found.main.line, found.rest)

    Attributes:
        causes: The causes, those first that come first in a step of training.
        rest: What the causes leave unexplained: "nothing" (the very same bits), "rounding", or
            "more".
        unexplained: The first place that no rule explains, in words; None if there is none.
        as_it_is: The last value of each log of the candidate.
        all_mended: The same of our engine, with nothing broken.
        fit: The same of the reference.
        renamed: The candidate's names of logs of fit, where they differ.
        left_out: The logs that only one of the two has.
        repeats: Whether the candidate trains to the same logs when it runs again.
        compiled: How the steps of fit and of the candidate run, where that makes rounding differ.
    """

    causes: tuple[Verdict, ...] = ()
    rest: str = "nothing"
    unexplained: str | None = None
    as_it_is: dict[str, float] = field(default_factory=dict)
    all_mended: dict[str, float] = field(default_factory=dict)
    fit: dict[str, float] = field(default_factory=dict)
    renamed: dict[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    repeats: bool = True
    compiled: str | None = None

    def __getitem__(self, place: int) -> Verdict:  # type: ignore[override]
        return self.causes[place]

    def __len__(self) -> int:
        return len(self.causes)

    def __iter__(self) -> Iterator[Verdict]:
        return iter(self.causes)

    def __eq__(self, other: object) -> bool:
        return list(self) == (list(other) if isinstance(other, Sequence) else other)

    __hash__ = None  # type: ignore[assignment]

    @property
    def main(self) -> Verdict | None:
        """The cause with the largest effect on the weights; those of `MINOR` come after others."""
        mistakes = [cause for cause in self.causes if cause.rule not in HARMLESS]
        in_steps = [cause for cause in mistakes if cause.effect and cause.rule not in MINOR]
        return max(in_steps or mistakes or self.causes, key=lambda it: it.effect, default=None)

    def __str__(self) -> str:
        return "\n".join(answer(self))

    def effects(self) -> list[tuple[str, dict[str, float]]]:
        """Return the last value of each log as it is, with each cause mended, and with all."""
        mended = [(f"with {cause.rule} mended", cause.logs) for cause in self.causes]
        return [
            ("as you have it", self.as_it_is),
            *(mended if len(mended) > 1 else ()),
            ("with all mended" if len(mended) > 1 else "mended", self.all_mended),
            ("model.fit", self.fit),
        ]

    @property
    def shared_logs(self) -> list[str]:
        """The logs that both have, under the name that fit gives them."""
        return [name for name in self.fit if name in self.as_it_is or name in self.renamed]


def answer(found: Diagnosis, where: str | None = None) -> Iterator[str]:
    """Yield the lines of an answer: the main cause, where, the line to change, the rest.

    Args:
        found: The diagnosis.
        where: Where the two trainings differ first, in words.
    """
    main = found.main
    if main is None:
        yield _nothing_found(found)
    else:
        yield f"The loop {main.mistake}."
    if where and (main is not None or found.rest != "nothing"):
        yield f"The first difference: {where}"
    if main is not None:
        yield from _to_change(main)
        for verdict in found:
            if verdict is not main:
                yield f"The loop also {verdict.mistake}."
                yield from _to_change(verdict)
        yield _last_sentence(found)
    if not found.repeats:
        yield "The loop does not repeat itself: seed what it draws in the loop, and try again."
    if found.renamed:
        pairs = ", ".join(f"{own} is {name} of fit" for name, own in found.renamed.items())
        yield f"Logs of other names: {pairs}."
    if found.left_out:
        yield f"Not compared, since only one of the two has it: {', '.join(found.left_out)}."


def _to_change(verdict: Verdict) -> Iterator[str]:
    yield f"    {verdict.line}"
    also = f" (here {' or '.join(verdict.ties)} would explain the same)" if verdict.ties else ""
    yield f"    rule {verdict.rule}{also}, see {verdict.mirrors}"


def _nothing_found(found: Diagnosis) -> str:
    if found.rest == "nothing":
        return "History and weights are the same, to the last bit."
    if found.rest == "rounding":
        why = f" {found.compiled}" if found.compiled else ""
        return (
            "The loop is right. What differs is rounding: not more than rounding in every step "
            f"makes of it, measured by weights that are one ulp off.{why}"
        )
    return f"No rule that is known explains {found.unexplained or 'the difference'}."


def _last_sentence(found: Diagnosis) -> str:
    these = "this" if len(found) == 1 else "all of these"
    if found.rest == "nothing":
        return f"Our engine with {these} trains to the very same bits as the loop."
    if found.rest == "rounding":
        return f"Apart from {these}, what is left is rounding."
    return (
        f"This is not all: no rule that is known explains {found.unexplained}. Mend {these} and "
        "run the command again."
    )
