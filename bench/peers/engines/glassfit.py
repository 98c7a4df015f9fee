"""`loop.fit` on the very model that `keras.Model.fit` trains."""

import loop
from bench.peers.engines.keras_fit import build_model
from bench.peers.workload import Train, data


def prepare_auto(samples: int, epochs: int, batch_size: int) -> Train:
    """Prepare a fit under `plan="auto"`, whose bits are those of `model.fit`."""
    return _prepare(samples, epochs, batch_size, "auto")


def prepare_fastest(samples: int, epochs: int, batch_size: int) -> Train:
    """Prepare a fit under `plan="fastest"`."""
    return _prepare(samples, epochs, batch_size, "fastest")


def _prepare(samples: int, epochs: int, batch_size: int, plan: str) -> Train:
    x, y = data(samples)
    model = build_model()

    def train() -> float:
        history = loop.fit(model, x, y, batch_size=batch_size, epochs=epochs, verbose=0, plan=plan)
        return float(history.history["loss"][-1])

    return train
