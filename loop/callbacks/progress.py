"""What a person sees while it trains.

verbose=1, "auto"   a tqdm bar for each epoch, with the running metrics
verbose=2           one line for each epoch
verbose=0           silence
"""

import time
from typing import Any

from keras.callbacks import Callback
from tqdm.auto import tqdm

from loop.callbacks.cadence import register_cadence
from loop.types import Logs


class ProgressBar(Callback):
    """A tqdm bar, or a line, for each epoch, evaluation or prediction; validation is silent.

    Mirrors: keras.callbacks.ProgbarLogger
    """

    def __init__(self) -> None:
        super().__init__()
        self._bar: tqdm | None = None
        self._title = ""
        self._started = 0.0
        self._in_fit = False

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Validation passes inside fit show nothing of their own."""
        self._in_fit = True

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Starts the bar of an epoch."""
        self._open(f"Epoch {epoch + 1}/{self.params['epochs']}")

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Moves on and shows the running metrics."""
        self._advance(batch, logs)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Shows the metrics of the epoch, validation included."""
        self._close(logs)

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Starts the bar of an evaluation."""
        if not self._in_fit:
            self._open("Evaluate")

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Moves on and shows the running metrics."""
        if not self._in_fit:
            self._advance(batch, logs)

    def on_test_end(self, logs: Logs | None = None) -> None:
        """Shows the final metrics."""
        if not self._in_fit:
            self._close(logs)

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """Starts the bar of a prediction."""
        self._open("Predict")

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Moves on; predictions are not shown."""
        self._advance(batch, None)

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """Closes the bar."""
        self._close(None)

    def _open(self, title: str) -> None:
        self._title, self._started = title, time.perf_counter()
        if self.params["verbose"] != 2:
            self._bar = tqdm(total=self.params["steps"], desc=title, unit="step", leave=True)

    def _advance(self, batch: int, logs: Logs | None) -> None:
        if self._bar is not None:
            self._bar.set_postfix(_formatted(logs), refresh=False)
            self._bar.update(batch + 1 - self._bar.n)

    def _close(self, logs: Logs | None) -> None:
        if self._bar is not None:
            self._bar.set_postfix(_formatted(logs), refresh=True)
            self._bar.close()
            self._bar = None
        else:
            seconds = f"{time.perf_counter() - self._started:.2f}s"
            metrics = [f"{name}: {value}" for name, value in _formatted(logs).items()]
            print(" - ".join([self._title, seconds, *metrics]), flush=True)


def _formatted(logs: Logs | None) -> dict[str, str]:
    return {name: _number(value) for name, value in (logs or {}).items()}


def _number(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.4f}" if abs(value) > 1e-3 or value == 0 else f"{value:.4e}"


register_cadence(ProgressBar, 0.1)  # as often as tqdm redraws a bar
