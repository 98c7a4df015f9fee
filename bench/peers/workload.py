"""What every peer trains: the same samples, from the same weights, under the same optimizer.

Imports NumPy only: both environments load it before any framework.
"""

from collections.abc import Callable

import numpy as np

FEATURES = 10
UNITS = 16
SEED = 7
LEARNING_RATE, BETA_1, BETA_2, EPSILON = 1e-3, 0.9, 0.999, 1e-7
"""Keras's defaults of Adam; other frameworks have another epsilon, so all are passed."""

Train = Callable[[], float]
"""Runs a whole fit and returns the loss of its last epoch, averaged over samples.

The next call goes on training the same model with the same compiled code, as a second `fit` does.
"""

Prepare = Callable[[int, int, int], Train]
"""`prepare(samples, epochs, batch_size)` makes the data and the model."""


def data(samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Return inputs `[samples, 10]` and random labels `[samples, 1]`, float32."""
    random = np.random.default_rng(SEED)
    x = random.uniform(size=(samples, FEATURES))
    y = random.integers(0, 2, size=(samples, 1))
    return x.astype("float32"), y.astype("float32")


def initial_weights() -> list[np.ndarray]:
    """Return kernel and bias of both layers, float32, Glorot uniform: the same for every peer.

    With other initial weights the losses after few steps could not be compared.
    """
    random = np.random.default_rng(SEED)
    weights = []
    for rows, columns in ((FEATURES, UNITS), (UNITS, 1)):
        limit = np.sqrt(6 / (rows + columns))
        weights.append(random.uniform(-limit, limit, size=(rows, columns)).astype("float32"))
        weights.append(np.zeros(columns, dtype="float32"))
    return weights
