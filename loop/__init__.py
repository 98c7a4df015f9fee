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
from loop.gradients import apply, gradients, minimize, per_example_gradients
from loop.install import install, installed, uninstall
from loop.logs import last, mean, total
from loop.metrics import track_loss, update_metrics
from loop.objective import objective
from loop.on_batch import predict_on_batch, test_on_batch, train_on_batch
from loop.predict import predict
from loop.seeds import fit_seeds
from loop.state import State, for_optimizer
from loop.step import forward, predict_step, test_step, train_step
from loop.steps import steps
from loop.strict import strict

__version__ = "0.1.0"

__all__ = [
    "State",
    "apply",
    "evaluate",
    "explain",
    "fit",
    "fit_seeds",
    "for_optimizer",
    "forward",
    "gradients",
    "install",
    "installed",
    "last",
    "mean",
    "minimize",
    "objective",
    "per_example_gradients",
    "predict",
    "predict_on_batch",
    "predict_step",
    "steps",
    "strict",
    "test_on_batch",
    "test_step",
    "total",
    "track_loss",
    "train_on_batch",
    "train_step",
    "uninstall",
    "update_metrics",
]
