"""What is refused before anything starts: errors say what was expected, what came, what to do."""

import keras

from loop.types import PLANS, StepFunction


def check_plan(plan: str) -> None:
    """Refuses a plan that does not exist.

    Raises:
        ValueError: The message lists the plans there are.
    """
    if plan not in PLANS:
        raise ValueError(f"Unknown plan: expected one of {list(PLANS)}, got {plan!r}.")


def check_compiled(model: keras.Model, own_step: StepFunction | None) -> None:
    """Refuses a model that does not know what to make smaller.

    Raises:
        ValueError: The model is not compiled and no step was given in its place.
    """
    if not model.compiled and own_step is None:
        raise ValueError(
            "You must call `compile()` before using the model: expected a compiled model or a "
            "step of your own (`train_step=`, `test_step=`), got neither. Call "
            "model.compile(optimizer=..., loss=...)."
        )


def check_one_device(model: keras.Model) -> None:
    """Refuses what this engine would train wrongly.

    Raises:
        NotImplementedError: The model was created for several replicas.
    """
    replicas = model.distribute_strategy.num_replicas_in_sync
    if replicas > 1:
        raise NotImplementedError(
            f"The model was created under a tf.distribute strategy with {replicas} replicas: "
            "loop trains on one device for now. Create the model outside the strategy's scope."
        )
