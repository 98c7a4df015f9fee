"""The computation on one batch: forward pass, objective, gradients, update, metrics.

A step is a plain function of a model and a batch, passed as an argument:

    def my_step(model, batch):
        ...                                  # start from a copy of train_step and change a line
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
    """Update the weights by one gradient step, and the metrics with the predictions before it.

        loop.fit(model, x, y, train_step=loop.train_step)  # as without train_step

    Args:
        model: A compiled model.
        batch: `x`, `(x,)`, `(x, y)` or `(x, y, sample_weight)`, leaves `[batch, ...]`.

    Returns:
        The metrics over the epoch so far: scalars by name, float32.

    Mirrors: keras.Model.train_step
    """
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
    with tf.GradientTape() as tape:
        y_pred = forward(model, x, training=True)
        loss = objective(model, x, y, y_pred, sample_weight, training=True)
        track_loss(model, loss, x)
        # In mixed_float16 this scales the loss up; `apply_gradients` scales the gradients down.
        scaled = loss if model.optimizer is None else model.optimizer.scale_loss(loss)
    weights = model.trainable_weights
    if weights:
        gradients = tape.gradient(scaled, weights)
        model.optimizer.apply_gradients(zip(gradients, weights, strict=True))
    else:
        warnings.warn("The model does not have any trainable weights.", stacklevel=2)
    return update_metrics(model, x, y, y_pred, sample_weight)


def test_step(model: keras.Model, batch: Batch) -> Logs:
    """Update the metrics with one batch; train nothing.

        loop.evaluate(model, x, y, test_step=loop.test_step)  # as without test_step

    Args:
        model: A compiled model.
        batch: `x`, `(x,)`, `(x, y)` or `(x, y, sample_weight)`, leaves `[batch, ...]`.

    Returns:
        The metrics over the pass so far: scalars by name, float32.

    Mirrors: keras.Model.test_step
    """
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
    y_pred = forward(model, x, training=False)
    loss = objective(model, x, y, y_pred, sample_weight, training=False)
    track_loss(model, loss, x)
    return update_metrics(model, x, y, y_pred, sample_weight)


def predict_step(model: keras.Model, batch: Batch) -> Structure:
    """Return the predictions for one batch, leaves `[batch, ...]`.

        y_pred = loop.predict_step(model, (x[:32],))

    Mirrors: keras.Model.predict_step
    """
    x, _, _ = keras.utils.unpack_x_y_sample_weight(batch)
    return forward(model, x, training=False)


def forward(model: keras.Model, x: Structure, training: bool) -> Structure:
    """Run the forward pass; return predictions, leaves `[batch, ...]`.

        y_pred = loop.forward(model, x[:32], training=False)

    Call it once per step: in training, a pass advances the seeds of dropout and updates the moving
    averages of BatchNormalization.

    Args:
        model: Any Keras model.
        x: Inputs, leaves `[batch, ...]`.
        training: Passed to a model whose `call` takes it.

    Mirrors: keras.Model.__call__
    """
    return model(x, training=training) if passes_training(model) else model(x)


# Steps for models that override Keras's. These are functions of the module, not lambdas made per
# fit, because compiled graphs are cached by the identity of the step function.


def overridden_train_step(model: keras.Model, batch: Batch) -> Logs:
    """Return the logs of the model's own `train_step`: scalars by name."""
    return model.train_step(batch)


def overridden_test_step(model: keras.Model, batch: Batch) -> Logs:
    """Return the logs of the model's own `test_step`: scalars by name."""
    return model.test_step(batch)


def overridden_predict_step(model: keras.Model, batch: Batch) -> Structure:
    """Return the predictions of the model's own `predict_step`, leaves `[batch, ...]`."""
    return model.predict_step(batch)
