"""Two loops to hold fits against: the bare step without data, and the loop of the tutorials."""

import functools
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

import loop


def bare_step(
    model: keras.Model, x: Any, y: Any, batch_size: int = 32, epochs: int = 1, **_: Any
) -> None:
    """Run the training step as often as a fit would, all in one call and on the first batch.

    No data is moved, no log is read and no callback is called: what remains is the time of the
    step itself. The loss and the weights are those of training on one batch, again and again.

    Args:
        model: A compiled model.
        x: Inputs `[samples, ...]`, one array.
        y: Targets `[samples]` or `[samples, ...]`, one array.
        batch_size: Samples in a batch.
        epochs: Epochs of the fit whose steps are run.
    """
    batch = tf.constant(x[:batch_size]), tf.constant(y[:batch_size].reshape(batch_size, -1))
    steps = epochs * -(-len(x) // batch_size)
    step, many_steps = _compiled(model)
    if not model.optimizer.built:  # the optimizer's variables are created outside of the loop
        step(batch)
        steps -= 1
    many_steps(batch, tf.constant(steps))


@functools.lru_cache(maxsize=1)
def _compiled(model: keras.Model) -> tuple[Callable, Callable]:
    """Return the compiled step of a model, and a loop over it; kept for the last model."""
    step = tf.function(
        lambda batch: loop.train_step(model, batch), jit_compile=model.jit_compile or None
    )

    def many_steps(batch: Any, steps: tf.Tensor) -> None:
        def body(done: tf.Tensor) -> tuple[tf.Tensor]:
            step(batch)
            return (done + 1,)

        tf.while_loop(lambda done: done < steps, body, [0], parallel_iterations=1)

    return step, tf.function(many_steps, autograph=False)


LOSSES = {
    "binary_crossentropy": (keras.losses.BinaryCrossentropy, keras.metrics.BinaryAccuracy),
    "sparse_categorical_crossentropy": (
        keras.losses.SparseCategoricalCrossentropy,
        keras.metrics.SparseCategoricalAccuracy,
    ),
}
"""Loss and accuracy by the name that a model was compiled with."""


def hand_written(
    model: keras.Model, x: Any, y: Any, batch_size: int = 32, epochs: int = 1, **_: Any
) -> None:
    """Train with the loop of the tutorials: tf.data, a `tf.function` a step, metrics an epoch."""
    step, metrics = _step_of(model)
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(len(x)).batch(batch_size)
    for _epoch in range(epochs):
        for metric in metrics:
            metric.reset_state()
        for batch in dataset.prefetch(tf.data.AUTOTUNE):
            step(*batch)
        for metric in metrics:
            float(metric.result())


@functools.lru_cache(maxsize=1)
def _step_of(model: keras.Model) -> tuple[Callable, tuple[keras.Metric, keras.Metric]]:
    """Return the compiled step of a model and its metrics; kept for the last model."""
    new_loss, new_accuracy = LOSSES[model.loss]
    loss_of, mean, accuracy = new_loss(), keras.metrics.Mean(), new_accuracy()

    def step(x: tf.Tensor, y: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            predictions = model(x, training=True)
            loss = loss_of(y, predictions)
        gradients = tape.gradient(loss, model.trainable_variables)
        model.optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        mean.update_state(loss)
        accuracy.update_state(y[:, tf.newaxis], predictions)

    return tf.function(step), (mean, accuracy)
