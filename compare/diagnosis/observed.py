"""Observe a training: which samples its batches had, its gradients and weights at some steps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import keras
import numpy as np

from compare.diagnosis.clipping import KINDS, clip
from compare.diagnosis.layout import Layout, place_of
from compare.location.capture import CapturedTraining
from compare.location.tapped import TappedRun, run_tapped
from compare.location.taps import ENDS
from compare.recording.trace import Trace
from compare.scenario import Fit, Scenario

Batch = np.ndarray
"""The fingerprints of the samples of a batch, int64 `[samples]`."""

Tensors = dict[str, np.ndarray]
"""Captured tensors by the name of their tap, like `gradients/0`."""


@dataclass
class Observed:
    """What one training did.

    Attributes:
        run: The tapped training.
        captured: What the taps captured.
        trainable: The names of the trainable weights, and of the states of seed generators.
        names: The path of each variable, by its place among those of the model.
        like: The reference: where a loop calls no callbacks and takes as many steps, its epochs
            are those of the reference.
    """

    run: TappedRun
    captured: CapturedTraining
    trainable: frozenset[str]
    names: dict[int, str] = field(default_factory=dict)
    like: Observed | None = None

    @property
    def trace(self) -> Trace:
        """What the training left behind."""
        return self.run.trace

    @property
    def steps(self) -> int:
        """How many steps ran."""
        return self.run.taps.steps

    @property
    def optimizer(self) -> keras.optimizers.Optimizer | None:
        """The optimizer that was applied first."""
        return next(iter(self.run.taps.optimizers), None)

    @property
    def num_epochs(self) -> int:
        """How many epochs were trained: those of fit for as many steps, else those of the logs."""
        if self._is_like:
            return self.like.num_epochs  # type: ignore[union-attr]
        return len(self.run.ends) or max(map(len, self.trace.history.values()), default=0)

    @property
    def _is_like(self) -> bool:
        return bool(self.like and not self.run.ends and self.like.steps == self.steps)

    @cached_property
    def ends(self) -> list[int]:
        """How many steps were done at the end of each epoch.

        Where a loop calls no callbacks, all epochs are taken to be equally long.
        """
        if self._is_like:
            return self.like.ends  # type: ignore[union-attr]
        epochs = self.num_epochs
        if self.run.ends or not epochs:
            return self.run.ends or [self.steps]
        if self.steps % epochs:
            return self._ends_of_passes(epochs) or [self.steps]
        length = self.steps // epochs
        return [length * (epoch + 1) for epoch in range(epochs)]

    def _ends_of_passes(self, epochs: int) -> list[int]:
        """Return the ends of epochs of as many gradients each, of which updates may add some up."""
        steps = [it.step for it in self.captured.forwards() if it.is_differentiated]
        if not steps or len(steps) % epochs:
            return []
        length = len(steps) // epochs
        return [*steps[length::length], self.steps]

    @cached_property
    def micro_batches(self) -> list[list[Batch]]:
        """The batches whose gradients each step adds up; most loops take one in a step."""
        found: list[list[Batch]] = [[] for _ in range(self.steps)]
        last: dict[int, Batch] = {}
        for step, rows, is_differentiated, _ in self.captured.forwards():
            if step < self.steps:
                last[step] = rows
                found[step] += [rows] * is_differentiated
        found = [found[step] if _differ(found[step]) else [last[step]] for step in sorted(last)]
        usual = Counter(map(len, found)).most_common(1)[0][0] if found else 1
        return [batches[-usual:] for batches in found]  # what is left of an epoch is not applied

    @property
    def accumulates(self) -> int:
        """How many batches a step adds up the gradients of, where the reference has one."""
        parts = max(map(len, self.micro_batches), default=1)
        of_reference = 1 if self.like is None else max(map(len, self.like.micro_batches), default=1)
        return parts if of_reference == 1 else 1  # each replica has a part of the batch

    @cached_property
    def batches(self) -> list[Batch]:
        """The batches of the training steps; where gradients are added up, all that they are of."""
        return [np.concatenate(batches) for batches in self.micro_batches]

    @cached_property
    def targets(self) -> list[Batch]:
        """The fingerprints of the targets of the same steps; 0 where they were not seen.

        Empty where a step adds up the gradients of several batches.
        """
        last = {it.step: it.targets for it in self.captured.forwards() if it.step < self.steps}
        found = [last[step] for step in sorted(last)]
        sizes = [*map(len, self.batches)]
        return found if [*map(len, found)] == sizes else []

    @cached_property
    def epochs(self) -> list[list[Batch]]:
        """The same, divided into epochs."""
        starts = [0, *self.ends[:-1]]
        return [self.batches[start:end] for start, end in zip(starts, self.ends, strict=True)]

    @cached_property
    def tests(self) -> list[list[Batch]]:
        """The batches of forward passes that end in no step, by the epoch in which they run."""
        forwards = self.captured.forwards()
        last = {forward.step: place for place, forward in enumerate(forwards)}
        found: list[list[Batch]] = [[] for _ in self.ends]
        for place, (step, rows, is_differentiated, _) in enumerate(forwards):
            if not is_differentiated and (step >= self.steps or place != last[step]):
                epoch = int(np.searchsorted(self.ends, step))
                found[min(epoch, len(found) - 1)].append(rows)
        return found

    def raw_gradients(self, step: int) -> Tensors:
        """Return the gradients of a captured step, as the optimizer is given them."""
        return self.captured.at("gradient_of", step)

    def gradients(self, step: int) -> Tensors:
        """Return the gradients of a captured step, clipped as the optimizer clips them itself."""
        found = self.raw_gradients(step)
        for optimizer, places in zip(self.run.taps.optimizers, self.run.taps.trained, strict=True):
            names = [name for name in found if place_of(name) in places]
            found |= _clipped({name: found[name] for name in names}, optimizer)
        return found

    @property
    def trained(self) -> frozenset[int]:
        """The places of the variables that optimizers update, among those of the model."""
        return frozenset().union(*self.run.taps.trained)

    @property
    def rates(self) -> list[float]:
        """The learning rate of each step, of the optimizer that was applied first; [] if none."""
        has_rate = hasattr(self.optimizer, "learning_rate")  # a MultiOptimizer has not
        return self.captured.rates(self.steps) if has_rate else []

    def weights(self, step: int) -> Tensors:
        """Return trainable weights and seeds as the last forward pass of a step finds them."""
        found = self.captured.at("begun", step)
        return {name: found[name] for name in found if name[len("begun/") :] in self.trainable}


@dataclass(frozen=True)
class FirstSteps:
    """What the first step and the last one of a short training did, as `Observed` gives it.

    Attributes:
        steps: How many steps ran.
    """

    steps: int
    _gradients: dict[int, Tensors]
    _weights: dict[int, Tensors]

    def gradients(self, step: int) -> Tensors:
        """Return the gradients of a step, clipped as the optimizer clips them itself."""
        return self._gradients[step]

    def weights(self, step: int) -> Tensors:
        """Return trainable weights and seeds as the last forward pass of a step finds them."""
        return self._weights[step]


Seen = Observed | FirstSteps
"""What shows gradients and weights of steps."""


def observe(scenario: Scenario, fit: Fit, layout: Layout) -> Observed:
    """Train a scenario with taps that capture batches, gradients and weights.

    Args:
        scenario: What to train.
        fit: Called as `fit(model, **arguments)`.
        layout: The layout of its model.
    """

    def run(ends: str) -> TappedRun:
        return run_tapped(scenario, fit, keep=layout.capture(), ends=ends, prints_wanted=False)

    return observed_in(run, layout)


def observed_in(run: Callable[[str], TappedRun], layout: Layout) -> Observed:
    """Return what a training did.

    Args:
        run: Returns the training, with a capture of the layout, for one of the `ENDS` of its steps.
        layout: The layout of the model.
    """
    for ends in ENDS:
        found = run(ends)
        if found.taps.steps:
            break
    assert isinstance(found.taps.keep, CapturedTraining)
    names = {place_of(name): name.split("/", 2)[2] for name in layout.weights}
    return Observed(found, found.taps.keep, layout.trainable, names)


def _clipped(gradients: Tensors, optimizer: keras.optimizers.Optimizer) -> Tensors:
    """Return gradients clipped by the settings of an optimizer."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    for kind in KINDS:
        if limit := getattr(inner, kind, None):
            clipped = clip(kind, limit, [*gradients.values()])
            return {name: np.asarray(g) for name, g in zip(gradients, clipped, strict=True)}
    return gradients


def _differ(batches: list[Batch]) -> bool:
    """Return whether there are several batches, no two of them of the same samples."""
    return len(batches) > 1 and len({batch.tobytes() for batch in batches}) == len(batches)
