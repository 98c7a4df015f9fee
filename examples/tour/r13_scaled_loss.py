"""Half precision scales the loss up, and the gradients down.

Gradients of float16 vanish below 6e-8. Under `mixed_float16`, `compile` wraps a LossScaleOptimizer
around yours: it multiplies the loss by a large factor before the gradients are taken, divides them
by it afterwards, and leaves a step out whose gradients are not finite. The log has the loss as it
was. Without it `scale_loss` returns the loss unchanged.

Keras: keras.optimizers.LossScaleOptimizer
"""

import functools
import math

import keras
import numpy as np
import tensorflow as tf


def fit(model, x, y=None, batch_size=32, epochs=1, verbose="auto", callbacks=None,
        validation_split=0.0, validation_data=None, shuffle=True, class_weight=None,
        sample_weight=None, initial_epoch=0, validation_steps=None, validation_batch_size=None,
        validation_freq=1):  # fmt: skip
    """Train on arrays; return the History."""
    if validation_split and validation_data is None:
        (x, y, sample_weight), validation_data = split((x, y, sample_weight), validation_split)
    if class_weight is not None:  # of integer classes `[samples]`; instead of sample weights
        sample_weight = np.array([class_weight.get(round(c), 1.0) for c in np.ravel(y)], "float32")
    batches = to_batches(x, y, sample_weight, batch_size, shuffle)
    if validation_data is not None:  # in order; class weights do not apply
        held_out = keras.utils.unpack_x_y_sample_weight(validation_data)
        held_out = to_batches(*held_out, validation_batch_size or batch_size, shuffle=False)
        held_out = held_out.take(-1 if validation_steps is None else validation_steps)  # -1: all
    callbacks = keras.callbacks.CallbackList(
        callbacks, add_history=True, add_progbar=verbose != 0, verbose=verbose, epochs=epochs,
        steps=len(batches), model=model,
    )  # fmt: skip
    if isinstance(validation_freq, int):
        validation_freq = range(0, epochs + 1, validation_freq)  # epochs count from 1 here
    train, test = compiled(train_step, model), compiled(test_step, model)

    model.stop_training = False
    callbacks.on_train_begin()
    logs = None
    for epoch in range(initial_epoch, epochs):
        model.reset_metrics()
        callbacks.on_epoch_begin(epoch)
        iterator = iter(batches)  # the last batch may be short
        for place in range(len(batches)):
            callbacks.on_train_batch_begin(place)
            step_logs = train(iterator)
            callbacks.on_train_batch_end(place, step_logs)
            if model.stop_training:  # a callback has set it
                break
        logs = model.get_metrics_result()  # read before validation, which resets the metrics
        if validation_data is not None and epoch + 1 in validation_freq:
            validated = evaluate(model, held_out, test, callbacks)
            logs = {**logs, **{f"val_{name}": value for name, value in validated.items()}}
        callbacks.on_epoch_end(epoch, logs)  # History, EarlyStopping, ...
        if model.stop_training:
            break
    callbacks.on_train_end(logs)
    return model.history


def evaluate(model, batches, test, callbacks):
    """Return the metrics over the batches of validation, by name."""
    callbacks.on_test_begin()
    model.reset_metrics()
    iterator = iter(batches)
    for place in range(len(batches)):
        callbacks.on_test_batch_begin(place)
        callbacks.on_test_batch_end(place, test(iterator))
    logs = model.get_metrics_result()
    callbacks.on_test_end(logs)
    return logs


def train_step(model, batch):
    """Update the weights by one gradient step; return the metrics over the epoch so far."""
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
    with tf.GradientTape() as tape:
        y_pred = model(x, training=True)
        # For each output, its loss weight x the sum of (sample weight x loss), divided by how many
        # losses no mask hides, not by their weights. Then what layers add, as an L2.
        loss = model.compute_loss(x, y, y_pred, sample_weight)
        scaled = model.optimizer.scale_loss(loss)  # for mixed_float16: apply divides by the scale
    gradients = tape.gradient(scaled, model.trainable_weights)
    model.optimizer.apply(gradients, model.trainable_weights)
    return update_metrics(model, x, y, y_pred, sample_weight, loss)


def test_step(model, batch):
    """Return the metrics over the batches of validation so far; train nothing."""
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
    y_pred = model(x, training=False)
    loss = model.compute_loss(x, y, y_pred, sample_weight)
    return update_metrics(model, x, y, y_pred, sample_weight, loss)


def update_metrics(model, x, y, y_pred, sample_weight, loss):
    """Update the metrics with predictions made before the update; return their values so far."""
    size = next(tf.shape(leaf)[0] for leaf in keras.tree.flatten(x) if leaf is not None)
    model.metrics[0].update_state(loss, sample_weight=size)  # Keras's mean `loss`
    return model.compute_metrics(x, y, y_pred, sample_weight)


def compiled(step, model):
    """Return a graph that draws the next batch of an iterator: one trace serves all sizes."""
    step = tf.function(functools.partial(step, model), jit_compile=model.jit_compile)
    return tf.function(lambda iterator: step(next(iterator)), reduce_retracing=True)


def to_batches(x, y, sample_weight, batch_size, shuffle):
    """Return a dataset of batches: `x`, `(x, y)` or `(x, y, sample_weight)`."""
    is_shared = keras.tree.is_nested(y) and not keras.tree.is_nested(sample_weight)
    if is_shared and sample_weight is not None:  # the same weights for all outputs
        sample_weight = keras.tree.map_structure(lambda _, w=sample_weight: w, y)
    data = keras.utils.pack_x_y_sample_weight(x, y, sample_weight)
    data = keras.tree.map_structure(to_tensor, keras.tree.lists_to_tuples(data), none_is_leaf=False)
    order = tf.data.Dataset.from_tensors(tf.range(len(x), dtype=tf.int64))
    # Each iterator draws an order; under a seed each begins with the same random numbers.
    order = order.map(tf.random.shuffle) if shuffle else order
    # If all batches are full, their size is known when the step is traced.
    order = order.unbatch().batch(batch_size, drop_remainder=len(x) % batch_size == 0)

    def take(rows):
        return keras.tree.map_structure(lambda a: tf.gather(a, rows), data, none_is_leaf=False)

    return order.map(take)


def to_tensor(array):
    """Return an array as a tensor, floats in the default dtype."""
    tensor = tf.convert_to_tensor(array)
    return tf.cast(tensor, keras.config.floatx()) if tensor.dtype.is_floating else tensor


def split(data, fraction):
    """Return the first samples of all arrays, and the last ones, which are held out."""
    samples = next(len(leaf) for leaf in keras.tree.flatten(data) if leaf is not None)
    cut = math.floor(samples * (1.0 - fraction))
    first = keras.tree.map_structure(lambda a: a[:cut], data, none_is_leaf=False)
    return first, keras.tree.map_structure(lambda a: a[cut:], data, none_is_leaf=False)
