"""Callbacks: who is told what, and when. Keras's own and all their subclasses work unchanged."""

from loop.callbacks.dispatch import Callbacks, with_defaults
from loop.callbacks.logs import python_logs
from loop.callbacks.progress import ProgressBar

__all__ = ["Callbacks", "ProgressBar", "python_logs", "with_defaults"]
