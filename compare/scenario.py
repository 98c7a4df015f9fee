"""A scenario: one training, described so that any engine can run it from the same seed.

    def build():                      # -> a compiled model
    def data():                       # -> the arguments of fit
    Scenario("my_training", "what it shows", build, data)

The table of scenarios (`compare.scenarios`) drives the proof, the tests, the docs and the bench.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras

FitArguments = Mapping[str, Any]

Fit = Callable[..., Any]
"""`fit(model, **arguments)`: `keras.Model.fit`, `loop.fit`, or a loop of your own."""


@dataclass(frozen=True)
class Scenario:
    """One training, and what it shows.

    Attributes:
        name: How it is called on the command line and in reports.
        shows: What would go unnoticed without it, in a line.
        build: Makes the compiled model. Called after the seeds are set.
        data: Makes the arguments of fit, `x` with leaves `[samples, ...]` and all the others,
            new objects at each call. Called after `build`, with the same seeds.
        xla: Whether the model is compiled with XLA: then it is XLA's bits that are compared.
    """

    name: str
    shows: str
    build: Callable[[], keras.Model]
    data: Callable[[], FitArguments]
    xla: bool = False

    @property
    def exactness(self) -> str:
        """The class that is claimed: "exact" (`model.fit` as compiled) or "exact-xla"."""
        return "exact-xla" if self.xla else "exact"

    def under_xla(self) -> Scenario:
        """The same with the model compiled as by `jit_compile=True`: XLA's bits are compared."""
        return replace(self, build=partial(_with_xla, self.build), xla=True)


def _with_xla(build: Callable[[], keras.Model]) -> keras.Model:
    model = build()
    model.jit_compile = True
    return model
