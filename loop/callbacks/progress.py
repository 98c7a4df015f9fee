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
import logging
import os
import shutil
import sys
import textwrap
import time
from typing import Any

import keras
from keras.callbacks import Callback
from tqdm.auto import tqdm

from loop.callbacks.cadence import register_cadence
from loop.types import Logs

INTERVAL = 0.1
"""Seconds between two drawings of a bar."""

SHORTEST_BAR = 6
"""Columns: where fewer are left, the line has no bar."""


class ProgressBar(Callback):
    """A tqdm bar, or a line, for each epoch, evaluation or prediction.

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

    def _open(self, title: str) -> None:
        self._title, self._done, self._after_first = title, 0, (0, 0.0)
        self._started = self._drawn = time.perf_counter()
        if self.params["verbose"] != 2 and _shows_bars():
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
            metrics = [f"{name}: {_number(value)}" for name, value in (logs or {}).items()]
            _print(" - ".join([self._title, seconds, *metrics]))
        if self._steps is None:  # the first epoch has found out
            self._steps = self._done or None

    def _draw(self, heads: list[str], logs: Logs | None) -> None:
        """Draw the bar and the lines below it, opening as many lines as the metrics need."""
        columns = _columns()
        metrics = [f"{name}={_short_number(value)}" for name, value in (logs or {}).items()]
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
        if _columns() is None:  # a notebook: there is one bar, which stays
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
        return [f"{count} {times} {_rate(seconds)}", f"{count} {times}", count]

    def _heads_at_end(self) -> list[str]:
        seconds, rate = _duration(time.perf_counter() - self._started), self._seconds_per_step()
        return [f"{self._count()} {seconds} {_rate(rate)}", f"{seconds} {_rate(rate)}", seconds]

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


def layout(
    title: str,
    heads: list[str],
    metrics: list[str],
    columns: int | None,
    with_bar: bool = True,
) -> list[str]:
    """Return the text of each line that shows title, head and metrics, with nothing cut.

    Args:
        title: What the bar is for, like "Epoch 1/10".
        heads: Count, times and rate of the steps: the full text first, then shorter ones.
        metrics: Texts like "loss=0.6931".
        columns: Width of the terminal; None where long lines wrap by themselves, as in a notebook.
        with_bar: Whether there may be a bar: the number of steps is known.

    Returns:
        One line where all of it fits with one of the heads, else the metrics on further lines. As
        tqdm's `bar_format`: "{bar}" stands where tqdm draws the bar, other braces are doubled.
    """
    text = " ".join(metrics)
    if columns is None:
        return [_line(title, heads[0], text, with_bar)]
    room = columns - SHORTEST_BAR - 1
    for head in heads:
        length = len(_joined(title, head, text))
        if length <= columns:
            return [_line(title, head, text, with_bar and length <= room)]
    head = next((head for head in heads if len(_joined(title, head)) <= columns), heads[-1])
    first = _line(title, head, "", with_bar and len(_joined(title, head)) <= room)
    below = textwrap.wrap(text, max(columns - 2, 1), break_on_hyphens=False)
    return [first, *(f"  {_doubled_braces(line)}" for line in below)]


def _line(title: str, head: str, text: str, with_bar: bool) -> str:
    rest = _doubled_braces(_joined(head, text))
    return _joined(_doubled_braces(title), "{bar}" if with_bar else "", rest)


def _joined(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def _doubled_braces(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _shows_bars() -> bool:
    """Whether a bar can be redrawn where standard output goes: a terminal, a notebook, PyCharm."""
    if sys.stdout is None or not keras.config.is_interactive_logging_enabled():
        return False
    return sys.stdout.isatty() or _is_notebook() or "PYCHARM_HOSTED" in os.environ


def _is_notebook() -> bool:
    return type(sys.stdout).__module__.startswith("ipykernel")


def _columns() -> int | None:
    """Return the width of the terminal now; None where there is no terminal."""
    if not sys.stdout.isatty():
        return None
    columns = shutil.get_terminal_size().columns
    return columns - 1 if os.name == "nt" else columns  # Windows wraps a line that is full


def _print(line: str) -> None:
    """Print a line, or log it where `keras.config.disable_interactive_logging` asks for that."""
    if keras.config.is_interactive_logging_enabled():
        print(line, flush=True)
    else:
        logging.getLogger("absl").info(line)


def _number(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.4f}" if abs(value) > 1e-3 or value == 0 else f"{value:.4e}"


def _short_number(value: Any) -> str:
    """Return four significant digits: "0.5310", "12.35", "1.000e-05"."""
    return f"{value:#.4g}".rstrip(".") if isinstance(value, float) else str(value)


def _duration(seconds: float) -> str:
    """Return "12ms", "1.2s", "12s" or "02:05": at most four columns below a minute."""
    if seconds >= 59.5:
        return str(tqdm.format_interval(seconds))
    if seconds >= 0.0995:
        return f"{seconds:.1f}s" if seconds < 9.95 else f"{seconds:.0f}s"
    return f"{seconds * 1e3:.0f}ms"


def _rate(seconds: float) -> str:
    """Return the duration of a step in Keras's units, of equal width: " 12ms/step"."""
    if seconds >= 0.9995:
        return f"{seconds:4.0f}s/step"
    return f"{seconds * 1e3:3.0f}ms/step" if seconds >= 1e-3 else f"{seconds * 1e6:3.0f}us/step"


register_cadence(ProgressBar, INTERVAL)
