"""Callbacks: who is told what, and when. Keras's own and all their subclasses work unchanged."""

from loop.callbacks.batches import BatchHooks
from loop.callbacks.dispatch import Callbacks, with_defaults
from loop.callbacks.logs import python_logs
from loop.callbacks.progress import ProgressBar
from loop.watch import logs_only, register_cadence

__all__ = [
    "BatchHooks",
    "Callbacks",
    "ProgressBar",
    "logs_only",
    "python_logs",
    "register_cadence",
    "with_defaults",
]
