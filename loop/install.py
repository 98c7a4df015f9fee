"""Put `loop.fit` and its relatives in the place of `model.fit`, for scripts that stay unchanged.

loop.install()              # from here on, model.fit is loop.fit
with loop.installed(): ...  # the same, inside the block only

glassfit run script.py      # an unmodified script
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras

from loop.evaluate import evaluate
from loop.fit import fit
from loop.on_batch import predict_on_batch, test_on_batch, train_on_batch
from loop.predict import predict

_OURS: dict[str, Callable[..., Any]] = {
    "fit": fit,
    "evaluate": evaluate,
    "predict": predict,
    "train_on_batch": train_on_batch,
    "test_on_batch": test_on_batch,
    "predict_on_batch": predict_on_batch,
}

_replaced: dict[str, Callable[..., Any]] = {}  # Keras's methods by name; empty: not installed


def install() -> None:
    """Replace Keras's methods by ours, for all existing and future models.

    Each method is replaced on the class that defines it, so that calls through mixins and
    `super().fit` run on this engine too. Installing twice changes nothing.

        loop.install()
        model.fit(x, y)  # runs loop.fit

    `loop.uninstall` puts Keras's methods back.
    """
    if not _replaced:
        for name, ours in _OURS.items():
            owner = _owner(name)
            _replaced[name] = vars(owner)[name]
            setattr(owner, name, ours)


def uninstall() -> None:
    """Put Keras's methods back.

        loop.uninstall()
        model.fit(x, y)  # runs on Keras's engine

    No-op where ours are not installed.
    """
    for name in list(_replaced):
        setattr(_owner(name), name, _replaced.pop(name))


@contextlib.contextmanager
def installed() -> Iterator[None]:
    """Return a context manager that installs our methods for the block.

        with loop.installed():
            model.fit(x, y)  # runs loop.fit

    Inside a block or a script that has installed them already, leaving the block keeps them.
    """
    before = bool(_replaced)
    install()
    try:
        yield
    finally:
        if not before:
            uninstall()


def _owner(name: str) -> type:
    """Return the class among `keras.Model` and its bases that defines a method."""
    return next(base for base in keras.Model.__mro__ if name in vars(base))
