"""What is refused before anything starts: errors say what was expected, what came, what to do."""

from collections.abc import Callable

import keras
import tensorflow as tf

from loop._keras import is_distributed, is_inherited
from loop.types import PLANS, StepFunction


def check_plan(plan: str) -> None:
    """Refuses a plan that does not exist.

    Raises:
        ValueError: The message lists the plans there are.
    """
    if plan not in PLANS:
        raise ValueError(f"Unknown plan: expected one of {list(PLANS)}, got {plan!r}.")


def check_compiled(model: keras.Model, given_step: StepFunction | None) -> None:
    """Refuses a model that does not know what to make smaller.

    Raises:
        ValueError: The model is not compiled and no step was given in its place.
    """
    if not model.compiled and given_step is None:
        raise ValueError(
            "You must call `compile()` before using the model: expected a compiled model or a "
            "step of your own (`train_step=`, `test_step=`), got neither. Call "
            "model.compile(optimizer=..., loss=...)."
        )


def check_frequency(validation_freq: int | list[int]) -> None:
    """Refuses a frequency of validation that makes no sense.

    Raises:
        ValueError: It is neither an int nor a list of epochs.
        ZeroDivisionError: It is 0 (the class that Keras raises here).

    Mirrors: keras.src.trainers.trainer.Trainer._should_eval
    """
    if not isinstance(validation_freq, int | list):
        raise ValueError(
            "Expected `validation_freq` to be a list or int. Received: validation_freq="
            f"{validation_freq} of the type {type(validation_freq)}. Pass n to validate every n "
            "epochs, or a list of epochs counted from 1."
        )
    if validation_freq == 0:
        raise ZeroDivisionError("Expected `validation_freq` to be 1 or more, got 0.")


def check_one_process(model: keras.Model) -> None:
    """Refuses strategies that this engine has never been tried under.

    Raises:
        NotImplementedError: The model was created for several workers, or for TPUs.
    """
    several = (
        tf.distribute.MultiWorkerMirroredStrategy,
        tf.distribute.ParameterServerStrategy,
        tf.distribute.TPUStrategy,
    )
    if is_distributed(model) and isinstance(model.distribute_strategy, several):
        raise NotImplementedError(
            f"The model was created under a {type(model.distribute_strategy).__name__}: "
            "`model.fit` trains it there, loop trains in one process, without TPUs. Create it "
            "under a MirroredStrategy, or under none."
        )


def check_inherited(method: Callable, original: Callable) -> None:
    """Refuses an override of a method that `model.fit` calls and loop does itself.

    Raises:
        NotImplementedError: The method of the model is not Keras's.
    """
    if not is_inherited(method, original):
        raise NotImplementedError(
            f"The model overrides `{original.__name__}`: `model.fit` calls it, loop does not yet. "
            "Pass `train_step=` or `test_step=`, or override `train_step`, `test_step`, "
            "`compute_loss` or `compute_metrics`, which loop honours."
        )
