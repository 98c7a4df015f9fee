"""The schedule: which batches make an epoch, and which steps each call runs.

`steps` is None           an epoch is one pass over the data
`steps` is given          a pass continues across epochs; a pass that ends within an epoch also ends
                          the epoch, early, and the next epoch starts a new pass
size of a pass unknown    the epoch ends when the pass is exhausted, with a warning, as in Keras
"""

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

from loop.types import Horizon, Pass, Segment, Source, WholeEpochs

ENDLESS = 2**20
"""The most steps in a segment over data of unknown size; its time limit ends the call earlier."""


class Schedule:
    """Yields the segments of each epoch, and is the only owner of the position in the data.

    Iterate inside `until_out_of_data`, and call `advance` after each segment:

        with schedule.until_out_of_data():
            for segment in schedule.segments(horizon):
                steps, recorded = runner.run_steps(segment)
                last = schedule.advance(steps)

    Attributes:
        source: Where the batches come from.
        steps: Steps per epoch; None for one pass over the data.
        steps_per_execution: The model's `steps_per_execution`; calls run multiples of it.
        ran: How many steps ran so far, in all epochs.

    Mirrors: keras.src.trainers.epoch_iterator.EpochIterator
    """

    def __init__(self, source: Source, steps: int | None = None, steps_per_execution: int = 1):
        self.source = source
        self.steps = steps
        self.steps_per_execution = steps_per_execution
        self.ran = 0
        self._size = source.num_batches  # of a pass; None until the first unsized pass has ended
        self._pass: Pass | None = None
        self._drawn = 0  # batches drawn from the current pass
        self._step = 0  # the next step in the epoch

    @property
    def num_batches(self) -> int | None:
        """Steps per epoch; None while unknown."""
        return self.steps or self._size

    @property
    def steps_of_whole_pass(self) -> int | None:
        """Steps per epoch if an epoch is exactly one pass over the data; None otherwise."""
        return self._size if self._size and self.steps in (None, self._size) else None

    def segments(self, horizon: Callable[[int], Horizon]) -> Iterator[Segment]:
        """Yield the segments of the next epoch: what each call runs.

        Args:
            horizon: Returns how far a call may run, given the first step of the call.
        """
        self.source.begin_epoch()
        limit = self.num_batches or None  # for an empty source, drawing the first batch fails
        unfinished = self._pass if self.steps else None
        batches = unfinished or self._start_pass()
        self._step = 0
        while limit is None or self._step < limit:
            if self._is_exhausted():
                if self.steps:
                    _warn_out_of_data()
                break
            reach = horizon(self._step)
            steps = self._steps_until(reach.last, limit)
            yield Segment(batches, self._drawn, self._step, steps, reach)
        if self._is_exhausted():
            # Matches Keras, which starts a pass here even if the next epoch starts another. A
            # dataset that reshuffles draws new seeds for each pass, so omitting this start would
            # change the order of the next epoch.
            self._start_pass()
        self.source.end_epoch()

    def whole_epochs(self, epochs: int, test_steps: int) -> WholeEpochs:
        """Return epochs over arrays, one pass each, that one call runs.

        Args:
            epochs: The most epochs.
            test_steps: Validation steps in each of them.
        """
        source: Any = self.source
        orders = source.orders(epochs)
        if not source.repeats_its_order:
            epochs = len(orders)  # fewer if the orders of all epochs need too much memory
        whole = WholeEpochs(epochs, self._size or 0, test_steps, orders)
        self.ran += whole.epochs * whole.steps
        return whole

    def advance(self, steps: int) -> int:
        """Move the position past the steps that ran; return the last of them, in its epoch."""
        left = max(0, self._size - self._drawn) if self._size else steps
        self.ran += min(steps, left)  # an execution may be longer than what is left of the data
        self._drawn += steps
        self._step += steps
        return self._step - 1

    @contextlib.contextmanager
    def until_out_of_data(self) -> Iterator[None]:
        """End the epoch, with a warning, if the pass ends before the steps of the epoch do."""
        try:
            yield
        except (StopIteration, tf.errors.OutOfRangeError):
            if self._size is None:
                # Matches Keras, which counts the steps of the failed execution as well.
                self._size = self._drawn + self.steps_per_execution
            _warn_out_of_data()
            self._pass = None
            self.source.end_epoch()

    def _steps_until(self, last: int | None, limit: int | None) -> int:
        """Return the number of steps up to `last`, within the epoch and the pass.

        It is rounded up to a multiple of `steps_per_execution`, which may exceed the data.
        """
        count = ENDLESS if last is None else last + 1 - self._step
        if limit is not None:
            count = min(count, limit - self._step)
        if self._size:
            count = min(count, self._size - self._drawn)
        return math.ceil(count / self.steps_per_execution) * self.steps_per_execution

    def _is_exhausted(self) -> bool:
        return bool(self._size) and self._drawn >= (self._size or 0)

    def _start_pass(self) -> Pass:
        self._pass = self.source.new_pass()
        self._drawn = 0
        return self._pass


def _warn_out_of_data() -> None:
    warnings.warn(
        "Your input ran out of data; interrupting training. Make sure that your dataset or "
        "generator can generate at least `steps_per_epoch * epochs` batches. You may need to "
        "use the `.repeat()` function when building your dataset.",
        stacklevel=2,
    )


def capped_epochs(epochs: int) -> int:
    """Return `epochs`, limited to `keras.config.max_epochs()`; warn if that lowers it."""
    limit = keras.config.max_epochs()
    if not limit or epochs <= limit:
        return epochs
    warnings.warn(f"Limiting epochs to {limit}", stacklevel=3)
    return limit


def capped_steps(steps: int | None) -> int | None:
    """Return `steps`, limited to `keras.config.max_steps_per_epoch()`; warn if that lowers it."""
    limit = keras.config.max_steps_per_epoch()
    if not limit or (steps and steps <= limit):
        return steps
    warnings.warn(f"Limiting steps_per_epoch to {limit}", stacklevel=3)
    return limit
