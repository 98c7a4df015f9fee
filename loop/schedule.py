"""Which batches make an epoch, in which segments they run, and how running out of data ends it.

no `steps`                one pass over the data is one epoch
`steps`                   a pass runs on across epochs; where it ends, it cuts the epoch short,
                          and the next epoch starts a new pass
size of a pass unknown    it ends when the pass is exhausted, with a warning, as in fit
"""

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

from loop.types import MAX_SECONDS, Ahead, Horizon, Pass, Result, Segment, Source

ENDLESS = 2**20
"""Steps of a segment over data that never end, at most: the time ends it before."""


class Schedule:
    """The segments of one epoch after another, over one pass or several.

    The schedule alone knows the position in the data. Iterate inside `until_out_of_data`, and tell
    it how far each segment came:

        with schedule.until_out_of_data():
            for segment in schedule.segments(horizon):
                result = runner.run(segment)
                last = schedule.advance(result)

    Attributes:
        source: Where the batches come from.
        steps: Steps in an epoch; None for one pass over the data.
        steps_per_execution: Steps that Keras would run in one call.

    Mirrors: keras.src.trainers.epoch_iterator.EpochIterator
    """

    def __init__(self, source: Source, steps: int | None = None, steps_per_execution: int = 1):
        self.source = source
        self.steps = steps
        self.steps_per_execution = steps_per_execution
        self._size = source.num_batches  # of one pass; learnt from the first where None
        self._pass: Pass | None = None
        self._drawn = 0  # batches of the current pass
        self._step = 0  # the next step in the epoch
        self._running = 0  # steps of the segment under way

    @property
    def num_batches(self) -> int | None:
        """Steps in an epoch; None while unknown."""
        return self.steps or self._size

    @property
    def steps_of_whole_pass(self) -> int | None:
        """Steps in an epoch that is one pass over the data; None where it is not."""
        return self._size if self._size and self.steps in (None, self._size) else None

    def segments(self, horizon: Callable[[int], Horizon]) -> Iterator[Segment]:
        """Yield what each call of the next epoch runs.

        Args:
            horizon: Returns how far the next call may run, given the step that comes next.
        """
        self.source.begin_epoch()
        limit = self.num_batches or None  # an empty source is found out like an unknown one
        running_on = self._pass if self.steps else None
        batches = running_on or self._start_pass()
        self._step = 0
        while limit is None or self._step < limit:
            if self._is_exhausted():
                if self.steps:
                    _warn_out_of_data()
                break
            reach = horizon(self._step)
            self._running = self._steps_until(reach.last, limit)
            yield Segment(batches, self._drawn, self._step, self._running, reach)
        if self._is_exhausted():
            # Keras starts a pass here even if the next epoch starts another. A dataset that
            # reshuffles draws its seeds per pass, so skipping one would change the order.
            self._start_pass()
        self.source.end_epoch()

    def whole_epochs(self, ahead: Ahead) -> Segment:
        """Return the segment of whole epochs over arrays, each one pass over the data."""
        source: Any = self.source
        orders = source.orders(ahead.epochs)
        if not source.repeats_its_order:  # fewer where the orders of all need too much memory
            ahead = ahead._replace(epochs=len(orders))
        return Segment(None, 0, 0, self._size or 0, Horizon(None, MAX_SECONDS), orders, ahead)

    def advance(self, result: Result) -> int:
        """Note how far a segment came; return the last step that ran, counted in its epoch."""
        self._drawn += result.steps
        self._step += result.steps
        self._running = 0
        return self._step - 1

    @contextlib.contextmanager
    def until_out_of_data(self) -> Iterator[None]:
        """End the epoch, with a warning, where the pass had fewer batches than were asked for."""
        try:
            yield
        except (StopIteration, tf.errors.OutOfRangeError):
            if self._size is None:
                self._size = self._drawn + self._running  # Keras counts the call that failed, too
            _warn_out_of_data()
            self._pass = None
            self.source.end_epoch()

    def _steps_until(self, last: int | None, limit: int | None) -> int:
        """Return how many steps run up to `last`: whole executions, maybe beyond the data."""
        wanted = ENDLESS if last is None else last + 1 - self._step
        if limit is not None:
            wanted = min(wanted, limit - self._step)
        if self._size:
            wanted = min(wanted, self._size - self._drawn)
        elif not self.source.is_endless:
            wanted = 1  # the pass must be found exhausted between two calls, not inside of one
        return math.ceil(wanted / self.steps_per_execution) * self.steps_per_execution

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
    """Return the number of epochs, within `keras.config.max_epochs()`."""
    limit = keras.config.max_epochs()
    if not limit or epochs <= limit:
        return epochs
    warnings.warn(f"Limiting epochs to {limit}", stacklevel=3)
    return limit


def capped_steps(steps: int | None) -> int | None:
    """Return the number of steps in an epoch, within `keras.config.max_steps_per_epoch()`."""
    limit = keras.config.max_steps_per_epoch()
    if not limit or (steps and steps <= limit):
        return steps
    warnings.warn(f"Limiting steps_per_epoch to {limit}", stacklevel=3)
    return limit
