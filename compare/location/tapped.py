"""One training with taps in its model: every step of any loop, as it was seen from inside."""

import bisect
from dataclasses import dataclass, field
from typing import Any

import keras

from compare.location.capture import Album, Kept
from compare.location.taps import ENDS, Taps
from compare.recording.recorder import record
from compare.recording.trace import Trace
from compare.scenario import Fit, Scenario


@dataclass
class Tapped:
    """One run with taps.

    Attributes:
        trace: What it left behind.
        taps: What went through its steps.
        ends: How many steps were done at the end of each epoch, as far as callbacks were told.
        epochs: The numbers of these epochs.
    """

    trace: Trace
    taps: Taps
    ends: list[int] = field(default_factory=list)
    epochs: list[int] = field(default_factory=list)

    def place(self, step: int) -> tuple[int | None, int]:
        """The epoch of a step, and its number in it."""
        passed = bisect.bisect_right(self.ends, step)
        begun = self.ends[passed - 1] if passed else 0
        return (self.epochs[passed] if passed < len(self.epochs) else None), step - begun


def run_tapped(
    scenario: Scenario,
    fit: Fit,
    first: int = 0,
    keep: Kept | Album | None = None,
    ends: str = ENDS[0],
) -> Tapped:
    """Trains a scenario with taps in the model, from step `first` on."""
    run = Tapped(Trace(), Taps(first, keep, ends))

    def tapped(model: keras.Model, **arguments: Any) -> Any:
        class Ends(keras.callbacks.Callback):
            def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
                run.taps.see_state(model, "validation/")
                run.ends.append(run.taps.steps)
                run.epochs.append(epoch)

        # In front of all others: what they do to the model is not seen yet.
        arguments["callbacks"] = [Ends(), *arguments["callbacks"]]
        with run.taps.on(model):
            return fit(model, **arguments)

    run.trace = record(scenario, tapped, "epochs")[0]
    return run


def both_tapped(scenario: Scenario, fits: tuple[Fit, Fit], first: int = 0) -> tuple[Tapped, Tapped]:
    """Both trainings with taps, told by the first of `ENDS` that is seen in both of them."""
    for ends in ENDS:
        one, other = (run_tapped(scenario, fit, first, ends=ends) for fit in fits)
        if one.taps.steps and other.taps.steps:
            break
    return one, other
