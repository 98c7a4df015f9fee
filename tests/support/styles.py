"""A right training loop in three styles, with places where a test plants a mistake.

    without_regularizers = Places(added=lambda model: 0.0)
    train("eager", without_regularizers, model, **arguments)

The loops are plain: `eager` has a tape in Python and averages with NumPy, `in_function` has its
step in a `tf.function` and reads a pipeline of `tf.data`, `in_subclass` overrides `train_step` and
is trained by Keras's fit. Only the last one calls callbacks and knows of class weights.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf


def slices(arrays, batch_size, epoch):
    """Yield the batches of arrays in order, the short last one included."""
    for start in range(0, len(arrays[0]), batch_size):
        yield rows_of(arrays, slice(start, start + batch_size))


def rows_of(arrays, rows):
    """Return some samples of arrays, which may be nested or None."""
    return keras.tree.map_structure(lambda leaf: None if leaf is None else leaf[rows], arrays)


def tail(x, y, part):
    """Return the training samples and, from the end, those held out."""
    cut = int(len(x) * (1 - part))
    return (x[:cut], y[:cut]), (x[cut:], y[cut:])


def sum_of_added(model):
    """Return the sum of regularizers and of what layers add."""
    return sum(model.losses) if model.losses else 0.0


def weigh(mean, loss, size):
    """Count the loss of a batch as often as the batch has samples."""
    mean.update_state(loss, sample_weight=size)


def measure(name, metric, y, y_pred, weight):
    """Update a metric; plain ones get no sample weights."""
    metric.update_state(y, y_pred, weight if "weighted" in name else None)


@dataclass(frozen=True)
class Places:
    """What the loops call at the places where a mistake can be planted; the defaults are right.

    Attributes:
        split: `(x, y, part)`: the samples to train on, and those held out.
        batches: `(arrays, batch_size, epoch)`: the batches of the eager loop.
        pipeline: `(dataset, batch_size)`: those of the loop with a function.
        forward: `(model, x)`: the predictions of a training step.
        loss: `(model, y, y_pred, weight)`: the loss of a batch, without what layers add.
        added: What layers add to it.
        scaled: `(optimizer, loss)`: what the tape differentiates.
        optimizer: `(model, epoch)`: what applies the gradients.
        logged: `(on_data, loss)`: the loss that is logged, without and with what layers add.
        mean: `(losses, sizes)`: the log of an epoch, of the eager loop.
        count: `(mean, loss, size)`: the same where a metric of Keras keeps it.
        metrics: Makes the metrics by name; a name with "weighted" gets the sample weights.
        seen: `(model, x, y_pred)`: the predictions that metrics see, after the update.
        measure: `(name, metric, y, y_pred, weight)`: updates a metric with a batch.
        resets: Whether metrics begin anew in each epoch.
        resets_loss: The same of the loss, where it is kept apart from them, in the eager loop.
        ends: `(model, optimizer)`: what is done after the last epoch.
        tested: `(arrays, batch_size)`: the batches of validation.
        test_forward: `(model, x)`: the predictions of validation.
        test_loss: `(model, y, y_pred)`: the loss of validation, with what layers add.
        test_mean: `(losses, sizes)`: its log, where NumPy averages.
        test_count: `(mean, loss, size)`: the same where a metric of Keras keeps it.
        arguments: `(arguments)`: the arguments of fit as the loop uses them.
    """

    split: Callable[..., Any] = tail
    batches: Callable[..., Any] = slices
    pipeline: Callable[..., Any] = lambda dataset, batch_size: dataset.batch(batch_size)
    forward: Callable[..., Any] = lambda model, x: model(x, training=True)
    loss: Callable[..., Any] = lambda model, y, y_pred, weight: model.loss(y, y_pred, weight)
    added: Callable[..., Any] = sum_of_added
    scaled: Callable[..., Any] = lambda optimizer, loss: optimizer.scale_loss(loss)
    optimizer: Callable[..., Any] = lambda model, epoch: model.optimizer
    logged: Callable[..., Any] = lambda on_data, loss: loss
    mean: Callable[..., Any] = lambda losses, sizes: np.average(losses, weights=sizes)
    count: Callable[..., Any] = weigh
    metrics: Callable[..., Any] = dict
    seen: Callable[..., Any] = lambda model, x, y_pred: y_pred
    measure: Callable[..., Any] = measure
    resets: bool = True
    resets_loss: bool = True
    ends: Callable[..., Any] = lambda model, optimizer: optimizer.finalize_variable_values(
        model.trainable_variables
    )
    tested: Callable[..., Any] = lambda arrays, batch_size: slices(arrays, batch_size, 0)
    test_forward: Callable[..., Any] = lambda model, x: model(x, training=False)
    test_loss: Callable[..., Any] = lambda model, y, y_pred: (
        model.loss(y, y_pred) + sum_of_added(model)
    )
    test_mean: Callable[..., Any] = lambda losses, sizes: np.average(losses, weights=sizes)
    test_count: Callable[..., Any] = weigh
    arguments: Callable[..., Any] = dict


RIGHT = Places()


def eager(model, planted, data, batch_size=None, epochs=1, validation_data=None, **_):
    """Train with a tape in plain Python."""
    metrics, history = planted.metrics(), defaultdict(list)
    for epoch in range(epochs):
        optimizer = planted.optimizer(model, epoch)
        if epoch == 0 or planted.resets_loss:
            losses, sizes = [], []
        for inputs, targets, weight in planted.batches(data, batch_size, epoch):
            with tf.GradientTape() as tape:
                y_pred = planted.forward(model, inputs)
                on_data = planted.loss(model, targets, y_pred, weight)
                loss = on_data + planted.added(model)
                scaled = planted.scaled(optimizer, loss)
            gradients = tape.gradient(scaled, model.trainable_variables)
            optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
            losses.append(float(tf.reduce_mean(planted.logged(on_data, loss))))
            sizes.append(len(keras.tree.flatten(targets)[0]))
            update(metrics, targets, planted.seen(model, inputs, y_pred), weight, planted)
        history["loss"].append(float(planted.mean(losses, sizes)))
        write(history, "", metrics, planted)
        validate(model, validation_data, batch_size, metrics, history, planted)
    planted.ends(model, optimizer)
    return dict(history)


def update(metrics, y, y_pred, weight, planted):
    """Update metrics with a batch."""
    for name, metric in metrics.items():
        planted.measure(name, metric, y, y_pred, weight)


def write(history, prefix, metrics, planted):
    """Write metrics into the history, and reset them."""
    for name, metric in metrics.items():
        history[prefix + name].append(float(metric.result()))
        if planted.resets:
            metric.reset_state()


def validate(model, data, batch_size, metrics, history, planted):
    """Write the logs of validation into the history, if there is data for it."""
    if data is None:
        return
    losses, sizes = [], []
    for x, y in planted.tested(data, batch_size):
        y_pred = planted.test_forward(model, x)
        losses.append(float(planted.test_loss(model, y, y_pred)))
        sizes.append(len(y))
        update(metrics, y, y_pred, None, planted)
    history["val_loss"].append(float(planted.test_mean(losses, sizes)))
    write(history, "val_", metrics, planted)


def in_function(model, planted, data, batch_size=None, epochs=1, validation_data=None, **_):
    """Train with a step in a `tf.function`, on a pipeline."""
    dataset = data[0]
    if not isinstance(dataset, tf.data.Dataset):  # tuples: a list would become one tensor
        arrays = tuple(tuple(of) if isinstance(of, list) else of for of in data if of is not None)
        dataset = planted.pipeline(tf.data.Dataset.from_tensor_slices(arrays), batch_size)
    metrics, history, optimizer = planted.metrics(), defaultdict(list), None
    mean = keras.metrics.Mean()
    for epoch in range(epochs):
        if optimizer is not (chosen := planted.optimizer(model, epoch)):
            optimizer, step = chosen, step_of(model, chosen, mean, metrics, planted)
        for batch in dataset:
            step(*keras.utils.unpack_x_y_sample_weight(batch))
        write(history, "", {"loss": mean, **metrics}, planted)
        validate(model, validation_data, batch_size, metrics, history, planted)
    planted.ends(model, optimizer)
    return dict(history)


def step_of(model, optimizer, mean, metrics, planted):
    """Return a training step in a `tf.function`."""

    @tf.function(reduce_retracing=True)
    def step(x, y, weight):
        with tf.GradientTape() as tape:
            y_pred = planted.forward(model, x)
            on_data = planted.loss(model, y, y_pred, weight)
            loss = on_data + planted.added(model)
            scaled = planted.scaled(optimizer, loss)
        gradients = tape.gradient(scaled, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        value = tf.reduce_mean(planted.logged(on_data, loss))
        planted.count(mean, value, tf.shape(keras.tree.flatten(y)[0])[0])
        update(metrics, y, planted.seen(model, x, y_pred), weight, planted)

    return step


class Own(keras.Model):
    """A model with a training step of its own; `planted`, `mean` and `own` are set after it."""

    @property
    def metrics(self):
        return [self.mean, *self.own.values()] if self.planted.resets else []

    def train_step(self, data):
        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        planted = self.planted
        with tf.GradientTape() as tape:
            y_pred = planted.forward(self, x)
            on_data = planted.loss(self, y, y_pred, weight)
            loss = on_data + planted.added(self)
            scaled = planted.scaled(self.optimizer, loss)
        gradients = tape.gradient(scaled, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        value = tf.reduce_mean(planted.logged(on_data, loss))
        planted.count(self.mean, value, tf.shape(keras.tree.flatten(y)[0])[0])
        update(self.own, y, planted.seen(self, x, y_pred), weight, planted)
        return self.results()

    def test_step(self, data):
        x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
        y_pred = self.planted.test_forward(self, x)
        loss = self.planted.test_loss(self, y, y_pred)
        self.planted.test_count(self.mean, loss, tf.shape(y)[0])
        update(self.own, y, y_pred, None, self.planted)
        return self.results()

    def results(self):
        own = {name: metric.result() for name, metric in self.own.items()}
        return {"loss": self.mean.result(), **own}


def in_subclass(model, planted, **arguments):
    """Train the layers of a model as one that has a training step of its own."""
    outputs = model.outputs if len(model.outputs) > 1 else model.outputs[0]
    own = Own(model.inputs if len(model.inputs) > 1 else model.inputs[0], outputs)
    own.planted, own.mean, own.own = planted, keras.metrics.Mean(), planted.metrics()
    own.compile(planted.optimizer(model, 0), model.loss)
    return own.fit(**arguments).history


def on_arrays(loop):
    """Return a loop on `(x, y, sample_weight)` as one that takes the arguments of fit."""

    def loop_of_fit(model, planted, x, y=None, sample_weight=None, validation_split=0, **more):
        if validation_split:
            (x, y), more["validation_data"] = planted.split(x, y, validation_split)
        return loop(model, planted, (x, y, sample_weight), **more)

    return loop_of_fit


STYLES = {"eager": on_arrays(eager), "function": on_arrays(in_function), "subclass": in_subclass}


def train(style, planted, model, **arguments):
    """Train a model by the loop of a style with a mistake, and return its logs."""
    return STYLES[style](model, planted, **planted.arguments(arguments))
