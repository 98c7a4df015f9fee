"""Callbacks: which hooks are called, when, and with which logs. Takes Keras's callbacks as is."""

from loop.callbacks.batches import BatchHooks
from loop.callbacks.cadence import logs_only, register_cadence
from loop.callbacks.dispatch import Callbacks, complete, with_defaults
from loop.callbacks.logs import python_logs
from loop.callbacks.progress import ProgressBar

__all__ = [
    "BatchHooks",
    "Callbacks",
    "ProgressBar",
    "complete",
    "logs_only",
    "python_logs",
    "register_cadence",
    "with_defaults",
]
