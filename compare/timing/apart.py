"""What else is found out about an engine when its rounds are over: an epoch, a step, the parts."""

from collections.abc import Callable

from compare.recording.recorder import empty_folder
from compare.timing.costs import Cost
from compare.timing.engines import EAGER
from compare.timing.memory import peak_memory
from compare.timing.resize import FixedSizeError, Size
from compare.timing.split import shares
from compare.timing.training import First, Training

LONG_EPOCH = 50
"""Steps in an epoch from which on the short fits of `per_epoch_and_step` have a quarter of them."""

TakeApart = Callable[[Training, First, list[float]], Cost]
"""Makes the record of an engine from its training, its first fits and the seconds of its rounds."""


def whole_fits(_: Training, first: First, seconds: list[float]) -> Cost:
    """Return the times of whole fits, the first and the warm ones, and the number of traces."""
    return Cost(first.seconds, seconds, traces=first.traces)


def with_epoch_and_step(training: Training, first: First, seconds: list[float]) -> Cost:
    """Return the times of whole fits, of an epoch and of a step."""
    per_epoch, per_step = _epoch_and_step_of(training, first)
    return Cost(first.seconds, seconds, per_epoch, per_step, traces=first.traces)


def with_fit_and_step(steps: int) -> TakeApart:
    """Return what finds the times of whole fits, of a step, and of all else in a fit.

    With T(n) the seconds of a fit of one epoch of n steps, and n a quarter of N:

        per step  = (T(N) - T(n)) / (N - n)
        per epoch = T(n) - n * per step

    Negative figures are noise, and stay: who compares engines subtracts them.

    Args:
        steps: N, the steps of a fit. The optimizer need not count them.
    """

    def taken_apart(training: Training, first: First, seconds: list[float]) -> Cost:
        (short, _), (whole, _) = (training.quickest(Size(size)) for size in (1 / 4, 1))
        per_step = (whole - short) / (steps * 3 / 4)
        per_epoch = short - steps / 4 * per_step
        return Cost(first.seconds, seconds, per_epoch, per_step, traces=first.traces)

    return taken_apart


def in_full(training: Training, first: First, seconds: list[float]) -> Cost:
    """Return all of it: times, the memory of this process, and where the time of a fit goes."""
    peak = peak_memory()  # of whole fits: what follows trains longer epochs than the scenario has
    per_epoch, per_step = _epoch_and_step_of(training, first)
    arguments = {"verbose": 0, **training.scenario.data()}
    with empty_folder():
        parts = shares(lambda: training.engine.fit(training.model, **arguments))
    return Cost(first.seconds, seconds, per_epoch, per_step, parts, peak, first.traces)


def _epoch_and_step_of(training: Training, first: First) -> tuple[float | None, float | None]:
    """Return seconds per epoch and per step; (None, None) for an eager model."""
    if training.engine.name == EAGER.name:
        return None, None  # its steps take so long that "us/step" is all there is to know
    epochs = int(training.scenario.data().get("epochs", 1))
    long = first.steps / epochs >= LONG_EPOCH
    return per_epoch_and_step(training.quickest, shorter=1 / 4 if long else 1)


def per_epoch_and_step(
    quickest: Callable[[Size], tuple[float, int]], shorter: float = 1
) -> tuple[float | None, float | None]:
    """Return the seconds per epoch and per step, solved from the times of fits of three lengths.

    With T(e, n) the seconds of a fit of e epochs and n steps in all, m the steps of the short
    epoch and M = 4 m:

        per step  = (T(3, 3 M) - T(3, 3 m)) / (3 M - 3 m)
        per epoch = (T(3, 3 m) - T(1, m)) / 2 - m * per step

    Args:
        quickest: Returns seconds and steps of a fit of a size, see `Training.quickest`.
        shorter: The length of the short epoch, in epochs of the scenario.

    Returns:
        Seconds an epoch takes beside its steps, and seconds a step takes. None in place of a
        figure that is not positive, so within the noise; both None where the training cannot be
        resized, or counts no steps.
    """
    try:
        once, _ = quickest(Size(shorter, epochs=1))
        thrice, steps = quickest(Size(shorter, epochs=3))
        longer, more = quickest(Size(4 * shorter, epochs=3))
    except FixedSizeError:
        return None, None
    if more == steps:
        return None, None
    per_step = (longer - thrice) / (more - steps)
    per_epoch = (thrice - once) / 2 - steps / 3 * per_step
    return per_epoch if per_epoch > 0 else None, per_step if per_step > 0 else None
