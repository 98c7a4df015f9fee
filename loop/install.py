"""`model.fit` and its friends on this engine, for scripts that nobody wants to change.

loop.install()              # from here on, model.fit is loop.fit
with loop.installed(): ...  # the same, for a while

python -m loop script.py    # an unmodified script
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

_keras_own: dict[str, Callable[..., Any]] = {}  # what stood in the place of ours; {}: not installed


def install() -> None:
    """Puts our methods in the place of Keras's, for all models there are and will be.

    They go to the class that defines the method, so that mixins and `super().fit` reach us, too.
    Installing twice changes nothing.
    """
    if not _keras_own:
        for name, ours in _OURS.items():
            owner = _owner(name)
            _keras_own[name] = vars(owner)[name]
            setattr(owner, name, ours)


def uninstall() -> None:
    """Puts Keras's methods back; does nothing where ours are not installed."""
    for name in list(_keras_own):
        setattr(_owner(name), name, _keras_own.pop(name))


@contextlib.contextmanager
def installed() -> Iterator[None]:
    """Our methods in the place of Keras's while the block runs; as before afterwards."""
    before = bool(_keras_own)
    install()
    try:
        yield
    finally:
        if not before:
            uninstall()


def _owner(name: str) -> type:
    """The class among the bases of `keras.Model` that defines a method."""
    return next(one for one in keras.Model.__mro__ if name in vars(one))
