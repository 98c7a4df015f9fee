"""Keras's model.fit as a readable training loop that gives the same bits, faster.

    import loop
    history = loop.fit(model, x, y, epochs=10, validation_split=0.2)

Read in this order: `fit.py`, then `step.py`, `objective.py` and `metrics.py`, then `schedule.py`,
`data/` and `callbacks/`. How steps are compiled and share calls is in `engine/`, which need not be
read to understand what fit does.
"""

from loop.evaluate import evaluate
from loop.explain import explain
from loop.fit import fit
from loop.install import install, installed, uninstall
from loop.logs import last, mean, total
from loop.on_batch import predict_on_batch, test_on_batch, train_on_batch
from loop.predict import predict
from loop.step import predict_step, test_step, train_step
from loop.strict import strict

__version__ = "0.1.0"

__all__ = [
    "evaluate",
    "explain",
    "fit",
    "install",
    "installed",
    "last",
    "mean",
    "predict",
    "predict_on_batch",
    "predict_step",
    "strict",
    "test_on_batch",
    "test_step",
    "total",
    "train_on_batch",
    "train_step",
    "uninstall",
]
