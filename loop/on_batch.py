"""`loop.train_on_batch`, `loop.test_on_batch` and `loop.predict_on_batch`: one step on one batch.

They run the steps of fit, traced for each new shape, on the batch as it is given: without casts to
`floatx` and without callbacks. Each call resets the metrics first.
"""

import keras

from loop.advice import advised
from loop.callbacks import python_logs
from loop.checks import check_compiled, check_one_process
from loop.data import class_to_sample_weight
from loop.engine.kinds import TEST, TRAIN
from loop.engine.model_step import ModelStep
from loop.metrics import in_metric_order, reset_metrics
from loop.predict import as_numpy, predict_function
from loop.types import Batch, Logs, StepFunction, Structure


@advised
def train_on_batch(
    model: keras.Model,
    x: Structure,
    y: Structure = None,
    sample_weight: Structure = None,
    class_weight: dict[int, float] | None = None,
    return_dict: bool = False,
    *,
    train_step: StepFunction | None = None,
) -> float | list[float] | Logs:
    """Run one gradient step on one batch, as `model.train_on_batch` does.

        logs = loop.train_on_batch(model, x[:32], y[:32], return_dict=True)

    Args:
        model: A compiled model, or any model with `train_step` given.
        x: Inputs `[batch, ...]`, nested as the model takes them.
        y: Targets `[batch, ...]`.
        sample_weight: `[batch]` or `[batch, ...]`.
        class_weight: Weights by integer class.
        return_dict: Whether to return a dict of names to values.
        train_step: Replaces the model's step.

    Returns:
        The metrics of this batch: a float, a list of floats with the loss first, or a dict.

    Raises:
        ValueError: The model is not compiled, or the arguments contradict each other.
        NotImplementedError: Keras supports the model, loop does not yet.

    Mirrors: keras.Model.train_on_batch
    """
    check_compiled(model, train_step)
    if class_weight is not None:
        if sample_weight is not None:
            raise ValueError(
                "Arguments `sample_weight` and `class_weight` cannot be specified at the same "
                f"time. Received: sample_weight={sample_weight}, class_weight={class_weight}"
            )
        sample_weight = class_to_sample_weight(y, class_weight)
    logs = _on_batch(ModelStep(model, TRAIN, train_step), (x, y, sample_weight))
    return logs if return_dict else in_metric_order(model, logs)


@advised
def test_on_batch(
    model: keras.Model,
    x: Structure,
    y: Structure = None,
    sample_weight: Structure = None,
    return_dict: bool = False,
    *,
    test_step: StepFunction | None = None,
) -> float | list[float] | Logs:
    """Return the loss and the metrics on one batch; train nothing.

        logs = loop.test_on_batch(model, x[:32], y[:32], return_dict=True)

    Args:
        model: A compiled model, or any model with `test_step` given.
        x: Inputs `[batch, ...]`, nested as the model takes them.
        y: Targets `[batch, ...]`.
        sample_weight: `[batch]` or `[batch, ...]`.
        return_dict: Whether to return a dict of names to values.
        test_step: Replaces the model's step.

    Returns:
        A float, a list of floats with the loss first, or a dict.

    Raises:
        ValueError: The model is not compiled.
        NotImplementedError: Keras supports the model, loop does not yet.

    Mirrors: keras.Model.test_on_batch
    """
    check_compiled(model, test_step)
    logs = _on_batch(ModelStep(model, TEST, test_step), (x, y, sample_weight))
    return logs if return_dict else in_metric_order(model, logs)


@advised
def predict_on_batch(model: keras.Model, x: Structure) -> Structure:
    """Return the predictions for one batch.

        predictions = loop.predict_on_batch(model, x[:32])

    Args:
        model: Any Keras model; it need not be compiled.
        x: Inputs `[batch, ...]`, nested as the model takes them.

    Returns:
        NumPy arrays `[batch, ...]` in the structure of the model's outputs.

    Raises:
        NotImplementedError: Keras supports the model, loop does not yet.

    Mirrors: keras.Model.predict_on_batch
    """
    check_one_process(model)
    return keras.tree.map_structure(as_numpy, predict_function(model)([(x,)]))


def _on_batch(step: ModelStep, batch: Batch) -> Logs:
    """Reset the metrics, run the step on a batch and return its logs as floats."""
    check_one_process(step.model)
    on_batch = step.for_any_shape().flat
    reset_metrics(step.model)
    step.running_logs().reset()
    return python_logs(on_batch(batch))  # waits for the device
