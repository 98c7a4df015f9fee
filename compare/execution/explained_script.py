"""`glassfit explain script.py`: explains each fit of a script before it runs, then lets it run.

Imported in the process that runs the script, right after the script has imported Keras.
"""

import functools
import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
from rich.console import Console

import loop
from loop.explain.page import as_fragment, as_page


def begin(script: str, step: bool, html: str | None) -> Callable[[], None]:
    """Install our methods, and explain each call of fit from here on.

    Args:
        script: The path of the script.
        step: Whether to show the first step of each fit in numbers.
        html: The file for a page with all explanations; None for none.

    Returns:
        A function to call when the script ends: writes the page.
    """
    loop.install()
    fits = ExplainedFits(script, step)
    owner = next(base for base in keras.Model.__mro__ if "fit" in vars(base))
    owner.fit = fits.explained(vars(owner)["fit"])

    def write() -> None:
        if html is not None:
            path = Path(html)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(as_page(Path(script).name, fits.fragments), encoding="utf-8")

    return write


class ExplainedFits:
    """The fits of a script, in their order.

    Args:
        script: The path of the script, to find the line that calls fit.
        step: Whether to show the first step of each fit.

    Attributes:
        fragments: The explanations so far, as HTML.
    """

    def __init__(self, script: str, step: bool):
        self.fragments: list[str] = []
        self._script = os.path.realpath(script)
        self._step = step
        self._console = Console(stderr=True, highlight=False)

    def explained(self, fit: Callable[..., Any]) -> Callable[..., Any]:
        """Return a fit that is explained on standard error before it runs."""

        @functools.wraps(fit)
        def explained_fit(model: keras.Model, *args: Any, **arguments: Any) -> Any:
            self._explain(self._title(inspect.currentframe()), model, args, arguments)
            return fit(model, *args, **arguments)

        return explained_fit

    def _explain(self, title: str, model: keras.Model, args: tuple, arguments: dict) -> None:
        """Print the explanation of a fit, and keep it for the page."""
        sys.stdout.flush()
        self._console.print(f"\n{title}", style="bold", markup=False)
        try:
            found = loop.explain(model, *args, **arguments, step=self._step)
        except Exception as error:  # the fit that follows raises it, where the script expects it
            message = f"cannot be explained: {type(error).__name__}: {error}"
            self._console.print(message, markup=False)
            self.fragments.append(as_fragment([message], (), None, (), title))
            return
        if self._console.is_terminal:
            self._console.print(found)
        else:  # a file or a pipe: lines without spaces at their ends
            print(found, file=sys.stderr, flush=True)
        self.fragments.append(found.fragment(title))

    def _title(self, frame: Any) -> str:
        """Return the number of a fit, and the file and line of the script that calls it."""
        while frame and os.path.realpath(frame.f_code.co_filename) != self._script:
            frame = frame.f_back
        line = frame.f_lineno if frame else "?"
        return f"fit {len(self.fragments) + 1}, {Path(self._script).name}:{line}"
