"""Metrics see the predictions before the update, add up over an epoch, and start anew.

The predictions are those of the forward pass of training, with dropout, before the weights move.
Each metric adds up sums and counts over the batches of the epoch; its value is no mean of values of
batches. Metrics of `metrics=` are not weighted, those of `weighted_metrics=` are. The log `loss` is
a metric as well, the first one of the model. In History the names are sorted.

Keras: keras.Model.compute_metrics
"""

import functools

import keras
import numpy as np
import tensorflow as tf


def fit(model, x, y, batch_size=32, epochs=1, shuffle=True, class_weight=None,
        sample_weight=None, **_):  # fmt: skip
    """Train on arrays; return a dict with the metrics of each epoch."""
    if class_weight is not None:  # of integer classes `[samples]`; instead of sample weights
        sample_weight = np.array([class_weight.get(round(c), 1.0) for c in np.ravel(y)], "float32")
    batches = to_batches(x, y, sample_weight, batch_size, shuffle)
    train = compiled(train_step, model)
    history = {}
    for _epoch in range(epochs):
        model.reset_metrics()
        iterator = iter(batches)  # the last batch may be short
        for _place in range(len(batches)):
            train(iterator)
        for name, value in sorted(model.get_metrics_result().items()):
            history.setdefault(name, []).append(float(value))
    return history


def train_step(model, batch):
    """Update the weights by one gradient step; return the metrics over the epoch so far."""
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
    with tf.GradientTape() as tape:
        y_pred = model(x, training=True)
        # For each output, its loss weight x the sum of (sample weight x loss), divided by how many
        # losses no mask hides, not by their weights. Then what layers add, as an L2.
        loss = model.compute_loss(x, y, y_pred, sample_weight)
    gradients = tape.gradient(loss, model.trainable_weights)
    model.optimizer.apply(gradients, model.trainable_weights)
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
