"""Callbacks: which hooks are called, when, and with which logs. Takes Keras's callbacks as is."""

from loop.callbacks.batches import BatchHooks
from loop.callbacks.cadence import logs_only, register_cadence
from loop.callbacks.dispatch import Callbacks, complete, with_defaults
from loop.callbacks.finder import LearningRateFinder
from loop.callbacks.logs import python_logs
from loop.callbacks.nans import NanHunter
from loop.callbacks.norms import GradientNorms, UpdateRatios
from loop.callbacks.progress import ProgressBar
from loop.callbacks.records import BatchHistory, EvaluateEvery, Throughput

__all__ = [
    "BatchHistory",
    "BatchHooks",
    "Callbacks",
    "EvaluateEvery",
    "GradientNorms",
    "LearningRateFinder",
    "NanHunter",
    "ProgressBar",
    "Throughput",
    "UpdateRatios",
    "complete",
    "logs_only",
    "python_logs",
    "register_cadence",
    "with_defaults",
]
