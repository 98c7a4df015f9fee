"""What every peer trains: the same samples, from the same weights, under the same optimizer.

Only NumPy here: it is read in both environments, before any framework is imported.
"""

from collections.abc import Callable

import numpy as np

FEATURES = 10
UNITS = 16
SEED = 7
LEARNING_RATE, BETA_1, BETA_2, EPSILON = 1e-3, 0.9, 0.999, 1e-7
"""Adam as Keras has it by default; others have another epsilon, so it is passed to them."""

Train = Callable[[], float]
"""Runs one whole fit, returns when it is done: the loss of its last epoch, averaged over samples.

The next call trains the same model on, with what was traced and compiled, as a second `fit` does.
"""

Prepare = Callable[[int, int, int], Train]
"""`prepare(samples, epochs, batch_size)`: makes data and model."""


def data(samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs `[samples, 10]` and labels `[samples, 1]`, float32: nothing to learn, all to do."""
    random = np.random.default_rng(SEED)
    x = random.uniform(size=(samples, FEATURES))
    y = random.integers(0, 2, size=(samples, 1))
    return x.astype("float32"), y.astype("float32")


def initial_weights() -> list[np.ndarray]:
    """Kernel and bias of both layers, float32, Glorot uniform: the same for every peer.

    From weights of their own, losses after few steps would differ for no other reason.
    """
    random = np.random.default_rng(SEED)
    weights = []
    for rows, columns in ((FEATURES, UNITS), (UNITS, 1)):
        limit = np.sqrt(6 / (rows + columns))
        weights.append(random.uniform(-limit, limit, size=(rows, columns)).astype("float32"))
        weights.append(np.zeros(columns, dtype="float32"))
    return weights
