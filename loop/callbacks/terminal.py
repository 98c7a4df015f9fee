"""What the place that a progress bar is printed to can show, and the text that fits there."""

import logging
import os
import shutil
import sys
import textwrap
from typing import Any

import keras
from tqdm.auto import tqdm

SHORTEST_BAR = 6
"""Columns: where fewer are left, the line has no bar."""


def shows_bars() -> bool:
    """Whether a bar can be redrawn where standard output goes: a terminal, a notebook, PyCharm."""
    if sys.stdout is None or not keras.config.is_interactive_logging_enabled():
        return False
    return sys.stdout.isatty() or _is_notebook() or "PYCHARM_HOSTED" in os.environ


def _is_notebook() -> bool:
    return type(sys.stdout).__module__.startswith("ipykernel")


def columns_of_terminal() -> int | None:
    """Return the width of the terminal now; None where there is no terminal."""
    if not sys.stdout.isatty():
        return None
    columns = shutil.get_terminal_size().columns
    return columns - 1 if os.name == "nt" else columns  # Windows wraps a line that is full


def print_line(line: str) -> None:
    """Print a line, or log it where `keras.config.disable_interactive_logging` asks for that."""
    if keras.config.is_interactive_logging_enabled():
        print(line, flush=True)
    else:
        logging.getLogger("absl").info(line)


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


def number(value: Any) -> str:
    """Return four decimals, as Keras prints them."""
    if not isinstance(value, float):
        return str(value)
    return f"{value:.4f}" if abs(value) > 1e-3 or value == 0 else f"{value:.4e}"


def short_number(value: Any) -> str:
    """Return four significant digits: "0.5310", "12.35", "1.000e-05"."""
    return f"{value:#.4g}".rstrip(".") if isinstance(value, float) else str(value)


def duration(seconds: float) -> str:
    """Return "12ms", "1.2s", "12s" or "02:05": at most four columns below a minute."""
    if seconds >= 59.5:
        return str(tqdm.format_interval(seconds))
    if seconds >= 0.0995:
        return f"{seconds:.1f}s" if seconds < 9.95 else f"{seconds:.0f}s"
    return f"{seconds * 1e3:.0f}ms"


def rate(seconds: float) -> str:
    """Return the duration of a step in Keras's units, of equal width: " 12ms/step"."""
    if seconds >= 0.9995:
        return f"{seconds:4.0f}s/step"
    return f"{seconds * 1e3:3.0f}ms/step" if seconds >= 1e-3 else f"{seconds * 1e6:3.0f}us/step"
