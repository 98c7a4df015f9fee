"""One objective for all outputs, reductions and masks.

A model may have several outputs, each with a loss and a loss weight; a loss may be reduced by a sum
or by the weights; padded time steps may be masked. `model.compute_loss` does what the last rungs do
by hand, and all of this: for each output, its loss weight times

    sum(sample weight x loss, where no mask hides it) / number of losses that no mask hides

and then what layers add. (A loss may also be reduced to the sum itself, or divide by the weights.)

Keras: keras.Model.compute_loss
"""

import functools

import keras
import numpy as np
import tensorflow as tf


def fit(model, x, y, batch_size=32, epochs=1, shuffle=True, class_weight=None,
        sample_weight=None, **_):  # fmt: skip
    """Train on arrays; return a dict with the loss of each epoch."""
    if class_weight is not None:  # of integer classes `[samples]`; instead of sample weights
        sample_weight = np.array([class_weight.get(round(c), 1.0) for c in np.ravel(y)], "float32")
    batches = to_batches(x, y, sample_weight, batch_size, shuffle)
    mean = keras.metrics.Mean()
    train = compiled(train_step, model, mean)
    history = {"loss": []}
    for _epoch in range(epochs):
        mean.reset_state()
        iterator = iter(batches)  # the last batch may be short
        for _place in range(len(batches)):
            train(iterator)
        history["loss"].append(float(mean.result()))
    return history


def train_step(model, mean, batch):
    """Update the weights by one gradient step."""
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
    with tf.GradientTape() as tape:
        y_pred = model(x, training=True)
        # For each output, its loss weight x the sum of (sample weight x loss), divided by how many
        # losses no mask hides, not by their weights. Then what layers add, as an L2.
        loss = model.compute_loss(x, y, y_pred, sample_weight)
    gradients = tape.gradient(loss, model.trainable_weights)
    model.optimizer.apply(gradients, model.trainable_weights)
    mean.update_state(loss, sample_weight=tf.shape(x)[0])


def compiled(step, model, mean):
    """Return a graph that draws the next batch of an iterator: one trace serves all sizes."""
    step = tf.function(functools.partial(step, model, mean), jit_compile=model.jit_compile)
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
