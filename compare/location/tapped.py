"""Train a scenario with taps in its model: every step of any loop, recorded from inside."""

from __future__ import annotations

import bisect
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from compare.location.capture import Capture
from compare.location.taps import ENDS, Taps
from compare.recording.bits import same
from compare.recording.recorder import record
from compare.recording.trace import Trace
from compare.recording.trials import Compared, Trainings
from compare.scenario import Fit, Scenario
from loop.engine.reuse import make_optimizer, make_variables


@dataclass
class TappedRun:
    """One training with taps.

    Attributes:
        trace: What the training left behind.
        taps: What the taps recorded.
        ends: How many steps were done at the end of each epoch, from `on_epoch_end`.
        epochs: The numbers of these epochs.
    """

    trace: Trace
    taps: Taps
    ends: list[int] = field(default_factory=list)
    epochs: list[int] = field(default_factory=list)

    def disturbed(self, untapped: Trace) -> bool:
        """Return whether the taps changed what the training leaves behind.

        How often a warning is given does not count: taps make metrics before anything is traced.
        """
        alike = [replace(it, warnings=sorted({*it.warnings})) for it in (untapped, self.trace)]
        return not same(*alike)

    def place(self, step: int) -> tuple[int | None, int]:
        """Return the epoch of a step, and the number of the step in that epoch."""
        passed = bisect.bisect_right(self.ends, step)
        begun = self.ends[passed - 1] if passed else 0
        return (self.epochs[passed] if passed < len(self.epochs) else None), step - begun


def run_tapped(
    scenario: Scenario,
    fit: Fit,
    first: int = 0,
    keep: Capture | None = None,
    ends: str = ENDS[0],
    prints_wanted: bool = True,
) -> TappedRun:
    """Train a scenario with taps in the model.

    Args:
        scenario: What to train.
        fit: Called as `fit(model, **arguments)`.
        first: The first step to record.
        keep: Where to capture tensors, if anywhere.
        ends: What ends a step, one of `taps.ENDS`.
        prints_wanted: Whether to take fingerprints; without, only `keep` sees the tensors.
    """
    run = TappedRun(Trace(), Taps(first, keep, ends, prints_wanted))

    def tapped_fit(model: keras.Model, **arguments: Any) -> Any:
        class EpochEnds(keras.callbacks.Callback):
            def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
                run.taps.see_state(model, "validation/")
                run.ends.append(run.taps.steps)
                run.epochs.append(epoch)

        # First in the list: the other callbacks have not changed the model yet.
        arguments["callbacks"] = [EpochEnds(), *arguments["callbacks"]]
        _build_metrics(model, arguments)
        if fit is keras.Model.fit:  # it traces its step once then, not twice
            make_optimizer(model)
        with run.taps.on(model):
            return fit(model, **arguments)

    run.trace = record(scenario, tapped_fit, "epochs")[0]
    return run


def _build_metrics(model: keras.Model, arguments: dict[str, Any]) -> None:
    """Make the metrics of `compile`, as Keras does before it traces the steps of a fit.

    A loop that traces its step once would make them after the forward pass, where taps look for
    them. Data that cannot be looked at without drawing from them are left alone.
    """
    data = tuple(arguments.get(name) for name in ("x", "y", "sample_weight"))
    if isinstance(data[0], tf.data.Dataset):
        spec = data[0].element_spec
    elif all(isinstance(leaf, np.ndarray | tf.Tensor) for leaf in keras.tree.flatten(data[:2])):
        spec = keras.tree.map_structure(
            lambda leaf: tf.TensorSpec((None, *leaf.shape[1:]), leaf.dtype), data[:2]
        )
    else:
        return
    with contextlib.suppress(Exception):  # a model that is built late, or wrong: fit says so
        make_variables(model, spec)


class TappedTrainings:
    """The trainings of a scenario by a reference and a candidate, with taps.

    The runs that record from the first step on are kept: `locate`, `heat_of` and `diagnose` share
    them.

    Attributes:
        trainings: The same trainings without taps.
        capture: What these runs are to capture besides, for a trained model; None for nothing.
    """

    def __init__(
        self,
        trainings: Trainings,
        capture: Callable[[keras.Model], Capture] | None = None,
        by_reference: dict[str, TappedRun] | None = None,
    ):
        self.trainings = trainings
        self.capture = capture
        self._by_reference = {} if by_reference is None else by_reference
        self._by_candidate: dict[str, TappedRun] = {}

    def by_another(self, candidate: Fit) -> TappedTrainings:
        """Return the trainings of another candidate; those of the reference are shared."""
        trainings = self.trainings.by_another(candidate)
        return TappedTrainings(trainings, self.capture, self._by_reference)

    def compared(self) -> Compared:
        """Do what `Trainings.compared` does; the run with taps shows that the reference repeats."""
        return self.trainings.compared(lambda: self.by_reference().trace)

    def by_reference(self, ends: str = ENDS[0]) -> TappedRun:
        """Return the run of the reference with steps that end so."""
        if ends not in self._by_reference:
            self._by_reference[ends] = self._run(self.trainings.reference, ends)
        return self._by_reference[ends]

    def by_candidate(self, ends: str = ENDS[0]) -> TappedRun:
        """Return the run of the candidate with steps that end so."""
        if ends not in self._by_candidate:
            self._by_candidate[ends] = self._run(self.trainings.candidate, ends)
        return self._by_candidate[ends]

    def both(self, first: int = 0) -> tuple[TappedRun, TappedRun]:
        """Return the runs of reference and candidate, recorded from step `first` on."""
        for ends in ENDS:  # until both trainings have steps that end in this way
            if self.by_candidate(ends).taps.steps and self.by_reference(ends).taps.steps:
                break
        if not first:
            return self.by_reference(ends), self.by_candidate(ends)
        scenario, trainings = self.trainings.scenario, self.trainings
        return (
            run_tapped(scenario, trainings.reference, first, ends=ends),
            run_tapped(scenario, trainings.candidate, first, ends=ends),
        )

    def both_again(
        self, keep: tuple[Capture, Capture], ends: str, prints_wanted: bool = False
    ) -> tuple[TappedRun, TappedRun]:
        """Train both again and capture tensors."""
        fits = self.trainings.reference, self.trainings.candidate
        theirs, ours = (
            run_tapped(self.trainings.scenario, fit, 0, keep_of, ends, prints_wanted)
            for fit, keep_of in zip(fits, keep, strict=True)
        )
        return theirs, ours

    def _run(self, fit: Fit, ends: str) -> TappedRun:
        keep = self.capture(self.trainings.by_reference("epochs").model) if self.capture else None
        return run_tapped(self.trainings.scenario, fit, keep=keep, ends=ends)
