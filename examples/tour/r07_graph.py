"""The step is a graph, and draws its batch inside.

Operations that run one by one from Python cost most of the time of a small model; a `tf.function`
runs the step as one graph. Passed in as an argument, the short batch `[6, ...]` would be traced a
second time, and other graphs may round otherwise. Drawn inside, all batches have the shape
`[None, ...]`. But if all batches are full, fit knows their size when it traces: `[32, ...]`.

Keras: keras.src.backend.tensorflow.trainer.TensorFlowTrainer.make_train_function
"""

import functools

import keras
import numpy as np
import tensorflow as tf


def fit(model, x, y, batch_size=32, epochs=1, shuffle=True, class_weight=None,
        sample_weight=None, **_):  # fmt: skip
    """Train on arrays; return a dict with the loss of each epoch."""
    weight = np.ones(len(y), "float32") if sample_weight is None else sample_weight
    if class_weight is not None:
        weight = np.array([class_weight.get(int(label), 1.0) for label in y], "float32")
    batches = to_batches(x, y, weight, batch_size, shuffle)
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
    x, y, sample_weight = batch
    loss_of = keras.losses.get(model.loss)
    with tf.GradientTape() as tape:
        y_pred = model(x, training=True)
        y_true = y[:, None] if len(y.shape) == 1 and y_pred.shape[-1] == 1 else y
        loss = tf.reduce_mean(loss_of(y_true, y_pred) * sample_weight)
        loss = keras.ops.sum([loss, *model.losses])
    gradients = tape.gradient(loss, model.trainable_weights)
    model.optimizer.apply(gradients, model.trainable_weights)
    mean.update_state(loss, sample_weight=tf.shape(x)[0])


def compiled(step, model, mean):
    """Return a graph that draws the next batch of an iterator: one trace serves all sizes."""
    step = tf.function(functools.partial(step, model, mean), jit_compile=model.jit_compile)
    return tf.function(lambda iterator: step(next(iterator)), reduce_retracing=True)


def to_batches(x, y, sample_weight, batch_size, shuffle):
    """Return a dataset of batches `(x, y, sample_weight)`."""
    data = to_tensor(x), to_tensor(y), to_tensor(sample_weight)
    order = tf.data.Dataset.from_tensors(tf.range(len(x), dtype=tf.int64))
    # Each iterator draws an order; under a seed each begins with the same random numbers.
    order = order.map(tf.random.shuffle) if shuffle else order
    # If all batches are full, their size is known when the step is traced.
    order = order.unbatch().batch(batch_size, drop_remainder=len(x) % batch_size == 0)
    return order.map(lambda rows: tuple(tf.gather(array, rows) for array in data))


def to_tensor(array):
    """Return an array as a tensor, floats in the default dtype."""
    tensor = tf.convert_to_tensor(array)
    return tf.cast(tensor, keras.config.floatx()) if tensor.dtype.is_floating else tensor
