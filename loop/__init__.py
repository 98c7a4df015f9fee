"""model.fit, in plain sight: a training loop to read, that trains to the same bits as Keras.

    import loop
    history = loop.fit(model, x, y, epochs=10, validation_split=0.2)

Where to start reading: `fit.py`, then `step.py`, `objective.py` and `metrics.py`, then `epoch.py`
and `data/`, then `function.py` and `callbacks/`.
"""

from loop.evaluate import evaluate
from loop.explain import explain
from loop.fit import fit
from loop.install import install, installed, uninstall
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
    "predict",
    "predict_on_batch",
    "predict_step",
    "strict",
    "test_on_batch",
    "test_step",
    "train_on_batch",
    "train_step",
    "uninstall",
]
