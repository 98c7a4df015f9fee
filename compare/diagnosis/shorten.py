"""Train only the beginning of a training, in the way that takes the least time."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import keras

from compare.diagnosis.broken import BrokenRule, FitCall
from compare.scenario import Scenario

EAGER = 64
"""Up to so many steps, shortened trainings run eagerly: tracing would take longer."""


def eager(scenario: Scenario) -> Scenario:
    """Return a scenario whose model runs eagerly: nothing is traced."""

    def build() -> keras.Model:
        model = scenario.build()
        model.run_eagerly = True
        return model

    return replace(scenario, build=build, xla=False)


def after_steps(steps: int, validates: bool) -> BrokenRule:
    """Return what ends a fit after some steps; it leaves out validation unless it `validates`."""
    return BrokenRule(
        "after_steps", "", "", "", partial(_stop_in_epoch, steps, validates), "epochs"
    )


def after_epochs(epochs: int) -> BrokenRule:
    """Return what ends a fit after some epochs."""
    return BrokenRule("after_epochs", "", "", "", partial(_stop_between, epochs), "epochs")


def _stop_in_epoch(steps: int, validates: bool, call: FitCall) -> None:
    if not validates:
        call.arguments["validation_freq"] = 2**31  # a split stays a split, so batches are the same
    call.add_callback(_Stop("on_train_batch_end", steps))


def _stop_between(epochs: int, call: FitCall) -> None:
    call.add_callback(_Stop("on_epoch_end", epochs))


class _Stop(keras.callbacks.Callback):
    """Ends a fit once a hook has been called `left` times."""

    def __init__(self, hook: str, left: int):
        super().__init__()
        self.left = left
        setattr(self, hook, self._count)

    def _count(self, number: int, logs: object = None) -> None:
        self.left -= 1
        self.model.stop_training = self.left <= 0
