"""A scenario: a training that any engine can run from the same seed.

    def build():                      # -> a compiled model
    def data():                       # -> the arguments of fit
    Scenario("my_training", "what it shows", build, data)

The table of scenarios (`compare.scenarios`) drives the proof, the tests, the docs and the bench.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras

FitArguments = Mapping[str, Any]

Fit = Callable[..., Any]
"""`fit(model, **arguments)`: `keras.Model.fit`, `loop.fit`, or a loop of your own."""


@dataclass(frozen=True)
class Scenario:
    """A training, and what it shows.

        Scenario("my_training", "seventy samples make a short last batch", build, data)

    Attributes:
        name: The name on the command line and in reports.
        shows: The behaviour that no other scenario tests, in a line.
        build: Returns the compiled model. Called after the seeds are set.
        data: Returns the arguments of fit, `x` with leaves `[samples, ...]` and all others, as
            new objects at each call. Called after `build`.
        xla: Whether the model is compiled with XLA, so that XLA's bits are compared.
        folder: Where it trains; a new empty folder each time by default. Files that callbacks
            write are compared in empty folders only.
    """

    name: str
    shows: str
    build: Callable[[], keras.Model]
    data: Callable[[], FitArguments]
    xla: bool = False
    folder: Path | None = None

    @property
    def exactness(self) -> str:
        """The class of exactness: "exact" (`model.fit` as compiled) or "exact-xla"."""
        return "exact-xla" if self.xla else "exact"

    def under_xla(self) -> Scenario:
        """Return the scenario with its model compiled as by `jit_compile=True`."""
        return replace(self, build=partial(_with_xla, self.build), xla=True)


def _with_xla(build: Callable[[], keras.Model]) -> keras.Model:
    model = build()
    model.jit_compile = True
    return model
