"""Progress shown while a model trains, evaluates or predicts.

verbose=1, "auto"   a tqdm bar for each epoch where standard output is a terminal or a notebook;
                    one line for each epoch where it is a file or a pipe
verbose=2           one line for each epoch
verbose=0           nothing

Everything is printed on standard output, as Keras does, so that `python train.py > log.txt` keeps a
record of the training. tqdm would take standard error: the log would be empty, and the bars of a
job whose standard error is kept would fill it with carriage returns.

In a terminal no metric is cut: a bar gives up its rate, its count of steps and itself for the
metrics, and metrics that still do not fit go on lines of their own below it.
"""

import itertools
import sys
import time

from keras.callbacks import Callback
from tqdm.auto import tqdm

from loop.callbacks.cadence import register_cadence
from loop.callbacks.terminal import (
    columns_of_terminal,
    duration,
    layout,
    number,
    print_line,
    rate,
    short_number,
    shows_bars,
)
from loop.types import Logs

INTERVAL = 0.1
"""Seconds between two drawings of a bar."""


class ProgressBar(Callback):
    """A tqdm bar, or a line, for each epoch, evaluation or prediction.

        model.fit(x, y, verbose=0, callbacks=[ProgressBar()])  # our bar under Keras's engine

    Validation inside `fit` has no bar of its own: its metrics are shown at the end of the epoch.

    Mirrors: keras.callbacks.ProgbarLogger
    """

    def __init__(self) -> None:
        super().__init__()
        self._bars: list[tqdm] = []  # the bar, and a line for metrics below it each
        self._title = ""
        self._steps: int | None = None
        self._done = 0
        self._started = self._drawn = 0.0
        self._after_first = (0, 0.0)  # steps done and time when the first call was over
        self._in_fit = False

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Show nothing for the validation passes inside fit."""
        self._in_fit = True
        self._steps = self.params["steps"]

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Open the bar of an epoch."""
        epochs = str(self.params["epochs"])
        self._open(f"Epoch {epoch + 1:{len(epochs)}}/{epochs}")

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Show the number of the batch and the running metrics."""
        self._advance(batch, logs)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Show the metrics of the epoch, validation included, and close the bar."""
        self._close(logs)

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Open the bar of an evaluation."""
        if not self._in_fit:
            self._steps = self.params["steps"]
            self._open("Evaluate")

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Show the number of the batch and the running metrics."""
        if not self._in_fit:
            self._advance(batch, logs)

    def on_test_end(self, logs: Logs | None = None) -> None:
        """Show the final metrics and close the bar."""
        if not self._in_fit:
            self._close(logs)

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """Open the bar of a prediction."""
        self._steps = self.params["steps"]
        self._open("Predict")

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Show the number of the batch; the logs are the predictions, and are not shown."""
        self._advance(batch, None)

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """Close the bar."""
        self._close(None)

    def close(self) -> None:
        """Leave the bar as it is drawn, if one is open: training was interrupted."""
        if self._bars:
            self._leave()

    def _open(self, title: str) -> None:
        self._title, self._done, self._after_first = title, 0, (0, 0.0)
        self._started = self._drawn = time.perf_counter()
        if self.params["verbose"] != 2 and shows_bars():
            self._draw(self._heads_while_running(), None)

    def _advance(self, batch: int, logs: Logs | None) -> None:
        self._done, now = batch + 1, time.perf_counter()
        if not self._after_first[0]:
            self._after_first = self._done, now
        if self._bars and now - self._drawn >= INTERVAL:
            self._drawn = now
            self._draw(self._heads_while_running(), logs)

    def _close(self, logs: Logs | None) -> None:
        if self._bars:
            self._draw(self._heads_at_end(), logs)
            self._leave()
        else:
            seconds = f"{time.perf_counter() - self._started:.2f}s"
            metrics = [f"{name}: {number(value)}" for name, value in (logs or {}).items()]
            print_line(" - ".join([self._title, seconds, *metrics]))
        if self._steps is None:  # the first epoch has found out
            self._steps = self._done or None

    def _draw(self, heads: list[str], logs: Logs | None) -> None:
        """Draw the bar and the lines below it, opening as many lines as the metrics need."""
        columns = columns_of_terminal()
        metrics = [f"{name}={short_number(value)}" for name, value in (logs or {}).items()]
        lines = layout(self._title, heads, metrics, columns, with_bar=self._steps is not None)
        for bar, line in itertools.zip_longest(self._bars[:], lines):
            if bar is None:  # tqdm draws it at once
                total = self._steps if not self._bars else None
                options = {"ncols": columns, "bar_format": line, "file": sys.stdout}
                self._bars.append(tqdm(total=total, initial=self._done, **options))
            else:
                bar.n, bar.ncols = self._done, columns
                bar.bar_format = line or "{desc}"  # an empty line where fewer are needed now
                bar.refresh()

    def _leave(self) -> None:
        """Leave what is drawn where it is, and close the bars."""
        if columns_of_terminal() is None:  # a notebook: there is one bar, which stays
            self._bars[0].close()
        else:  # printed anew: closing bars below a user's own bar would leave pieces of both
            drawn = [str(bar) for bar in self._bars]
            for bar in reversed(self._bars):
                bar.leave = False
                bar.close()
            tqdm.write("\n".join(line for line in drawn if line), file=sys.stdout)
        self._bars = []

    def _heads_while_running(self) -> list[str]:
        """Return count, times and rate of the steps, and shorter texts without some of them."""
        count, seconds = self._count(), self._seconds_per_step()
        if not self._done:
            return [count]
        times = tqdm.format_interval(time.perf_counter() - self._started)
        if self._steps:
            times += f"<{tqdm.format_interval(max(self._steps - self._done, 0) * seconds)}"
        return [f"{count} {times} {rate(seconds)}", f"{count} {times}", count]

    def _heads_at_end(self) -> list[str]:
        seconds, pace = (
            duration(time.perf_counter() - self._started),
            rate(self._seconds_per_step()),
        )
        return [f"{self._count()} {seconds} {pace}", f"{seconds} {pace}", seconds]

    def _count(self) -> str:
        known = self._steps is not None and self._done <= self._steps
        return f"{self._done}/{self._steps}" if known else f"{self._done} steps"

    def _seconds_per_step(self) -> float:
        """Return the seconds a step takes; the first call, which compiles, counts if it is alone.

        Mirrors: keras.utils.Progbar._estimate_step_duration
        """
        first, end_of_first = self._after_first
        now = time.perf_counter()
        if self._done > first > 0:
            return (now - end_of_first) / (self._done - first)
        return (now - self._started) / max(self._done, 1)


register_cadence(ProgressBar, INTERVAL)
