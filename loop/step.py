"""The mathematics of one batch: forward, objective, gradients, update, metrics.

A step is a plain function of a model and a batch, and a value that you pass:

    def my_step(model, batch):
        ...                                  # start from a copy of train_step, change a line
    loop.fit(model, x, y, train_step=my_step)
"""

import warnings

import keras
import tensorflow as tf

from loop._keras import passes_training
from loop.metrics import track_loss, update_metrics
from loop.objective import objective
from loop.types import Batch, Logs, Structure


def train_step(model: keras.Model, batch: Batch) -> Logs:
    """One gradient step.

    Args:
        model: A compiled model.
        batch: `x`, `(x,)`, `(x, y)` or `(x, y, sample_weight)`, leaves `[batch, ...]`.

    Returns:
        The running metrics of the epoch: scalars by name, float32.

    Mirrors: keras.Model.train_step
    """
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
    with tf.GradientTape() as tape:
        y_pred = forward(model, x, training=True)
        loss = objective(model, x, y, y_pred, sample_weight, training=True)
        track_loss(model, loss, x)
        # Half precision multiplies the loss here and divides the gradients in `apply_gradients`.
        scaled = loss if model.optimizer is None else model.optimizer.scale_loss(loss)
    weights = model.trainable_weights
    if weights:
        gradients = tape.gradient(scaled, weights)
        model.optimizer.apply_gradients(zip(gradients, weights, strict=True))
    else:
        warnings.warn("The model does not have any trainable weights.", stacklevel=2)
    return update_metrics(model, x, y, y_pred, sample_weight)


def test_step(model: keras.Model, batch: Batch) -> Logs:
    """One step of evaluation: the same objective and metrics, nothing learned.

    Args:
        model: A compiled model.
        batch: `x`, `(x,)`, `(x, y)` or `(x, y, sample_weight)`, leaves `[batch, ...]`.

    Returns:
        The running metrics of the pass: scalars by name, float32.

    Mirrors: keras.Model.test_step
    """
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
    y_pred = forward(model, x, training=False)
    loss = objective(model, x, y, y_pred, sample_weight, training=False)
    track_loss(model, loss, x)
    return update_metrics(model, x, y, y_pred, sample_weight)


def predict_step(model: keras.Model, batch: Batch) -> Structure:
    """The predictions of one batch, leaves `[batch, ...]`.

    Mirrors: keras.Model.predict_step
    """
    x, _, _ = keras.utils.unpack_x_y_sample_weight(batch)
    return forward(model, x, training=False)


def forward(model: keras.Model, x: Structure, training: bool) -> Structure:
    """Exactly one forward pass: each one advances dropout's seeds and BatchNorm's averages.

    Returns predictions, leaves `[batch, ...]`.
    """
    return model(x, training=training) if passes_training(model) else model(x)


# Steps that the user's class or object overrides. Named functions, not lambdas: what was traced is
# found again by the identity of the step.


def overridden_train_step(model: keras.Model, batch: Batch) -> Logs:
    """One step of `model.train_step`, as the user wrote it: scalars by name."""
    return model.train_step(batch)


def overridden_test_step(model: keras.Model, batch: Batch) -> Logs:
    """One step of `model.test_step`, as the user wrote it: scalars by name."""
    return model.test_step(batch)


def overridden_predict_step(model: keras.Model, batch: Batch) -> Structure:
    """One step of `model.predict_step`, as the user wrote it: leaves `[batch, ...]`."""
    return model.predict_step(batch)
