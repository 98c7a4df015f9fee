"""Which batches make an epoch, and how running dry ends it.

no `steps`                one pass over the data is one epoch
`steps`                   a pass runs on across epochs; where it ends, it cuts the epoch short,
                          and the next epoch starts a new pass
size of a pass unknown    it ends when the pass says so, with a warning, as in fit
"""

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator

import keras
import tensorflow as tf

from loop.callbacks import BatchHooks
from loop.types import Call, Logs, Pass, Source

Execution = tuple[int, int, Pass]
"""First step, last step and the pass to draw their batches from, for one call."""


class Epochs:
    """Which batches each epoch runs: one epoch after another, over one pass or several.

    Between epochs it remembers the pass it draws from, how many batches it drew from that pass, and
    the size of a pass once that is known. Iterate inside `until_out_of_data`:

        with schedule.until_out_of_data():
            for first, last, batches in schedule.one_epoch(until_seen):
                ...                         # draws the batches of steps first to last

    Mirrors: keras.src.trainers.epoch_iterator.EpochIterator
    """

    def __init__(self, source: Source, steps: int | None = None, steps_per_execution: int = 1):
        self.source = source
        self.steps = steps
        self.steps_per_execution = steps_per_execution
        self._size = source.num_batches  # of one pass; learnt from the first where None
        self._pass: Pass | None = None
        self._drawn = 0  # from the current pass

    @property
    def num_batches(self) -> int | None:
        """Steps in an epoch; None while unknown."""
        return self.steps or self._size

    def whole_pass(self) -> int | None:
        """Steps in an epoch that is one pass over the data; None where it is not."""
        return self._size if self._size and self.steps in (None, self._size) else None

    def one_epoch(self, until_seen: Callable[[int], int]) -> Iterator[Execution]:
        """Yields what each call of the next epoch runs.

        Args:
            until_seen: From the step that comes next to the one after which somebody looks.
        """
        self.source.begin_epoch()
        limit = self.num_batches or None  # an empty source is found out like an unknown one
        running_on = self._pass if self.steps else None
        batches = running_on or self._start_pass()
        step = 0
        while limit is None or step < limit:
            if self._size and self._drawn >= self._size:
                if self.steps:
                    self._warn_out_of_data()
                break
            count = self._executed_together(step, until_seen(step), limit)
            self._drawn += count
            yield step, step + count - 1, batches
            step += count
        if self._size and self._drawn >= self._size:
            # Keras starts a pass here even if the next epoch starts another. A dataset that
            # reshuffles draws its seeds per pass, so skipping one would change the order.
            self._start_pass()
        self.source.end_epoch()

    def _executed_together(self, step: int, last: int, limit: int | None) -> int:
        """How many steps run up to `last`, in whole executions: these may reach beyond the data."""
        wanted = last + 1 - step
        if limit is not None:
            wanted = min(wanted, limit - step)
        if self._size:
            wanted = min(wanted, self._size - self._drawn)
        elif not self.source.is_endless:
            wanted = 1  # where the pass runs dry, it must do so between two calls
        return math.ceil(wanted / self.steps_per_execution) * self.steps_per_execution

    def _start_pass(self) -> Pass:
        self._pass = self.source.new_pass()
        self._drawn = 0
        return self._pass

    @contextlib.contextmanager
    def until_out_of_data(self) -> Iterator[None]:
        """Ends the epoch, with a warning, where the pass had fewer batches than were asked for."""
        try:
            yield
        except (StopIteration, tf.errors.OutOfRangeError):
            if self._size is None:
                self._size = self._drawn
            self._warn_out_of_data()
            self._pass = None
            self.source.end_epoch()

    def _warn_out_of_data(self) -> None:
        warnings.warn(
            "Your input ran out of data; interrupting training. Make sure that your dataset or "
            "generator can generate at least `steps_per_epoch * epochs` batches. You may need to "
            "use the `.repeat()` function when building your dataset.",
            stacklevel=2,
        )


def run_steps(
    call: Call, schedule: Epochs, hooks: BatchHooks, is_stopping: Callable[[], bool]
) -> Logs:
    """The loop over the batches of an epoch or an evaluation; returns the logs after the last.

    Args:
        call: The compiled call that runs some of them.
        schedule: Which batches there are.
        hooks: Who is told of them.
        is_stopping: Asked after every call: whether a callback has seen enough.

    Mirrors: keras.Model.fit
    """
    logs: Logs = {}
    together = schedule.steps_per_execution
    with schedule.until_out_of_data():
        for first, last, batches in schedule.one_epoch(
            hooks.until_seen(call, together, is_stopping)
        ):
            hooks.begin(first)
            every = call(batches, last - first + 1, each=hooks.are_read(together))
            logs = every[-1]
            hooks.end(last, every)
            if is_stopping():
                break
    return logs


def capped_epochs(epochs: int) -> int:
    """The number of epochs, within `keras.config.max_epochs()`."""
    limit = keras.config.max_epochs()
    if not limit or epochs <= limit:
        return epochs
    warnings.warn(f"Limiting epochs to {limit}", stacklevel=3)
    return limit


def capped_steps(steps: int | None) -> int | None:
    """The number of steps in an epoch, within `keras.config.max_steps_per_epoch()`."""
    limit = keras.config.max_steps_per_epoch()
    if not limit or (steps and steps <= limit):
        return steps
    warnings.warn(f"Limiting steps_per_epoch to {limit}", stacklevel=3)
    return limit
