"""Samples come in a random order.

fit shuffles by default. It draws the order inside a graph of tf.data, and each epoch begins an
iterator of its own. So after `keras.utils.set_random_seed` every epoch has the SAME order; without
a seed each has another. `np.random.shuffle` or an eager `tf.random.shuffle` give other orders.

Keras: keras.src.trainers.data_adapters.array_data_adapter.ArrayDataAdapter.get_tf_dataset
"""

import keras
import numpy as np
import tensorflow as tf


def fit(model, x, y, batch_size=32, epochs=1, shuffle=True, class_weight=None,
        sample_weight=None, **_):  # fmt: skip
    """Train on arrays; return a dict with the loss of each epoch. Other arguments are ignored."""
    loss_of = keras.losses.get(model.loss)
    weight = np.ones(len(y), "float32") if sample_weight is None else sample_weight
    if class_weight is not None:
        weight = np.array([class_weight.get(int(label), 1.0) for label in y], "float32")
    orders = tf.data.Dataset.from_tensors(tf.range(len(x), dtype=tf.int64))
    orders = orders.map(tf.random.shuffle) if shuffle else orders
    history = {"loss": []}
    for _epoch in range(epochs):
        [order] = orders.as_numpy_iterator()
        mean = keras.metrics.Mean()
        for start in range(0, len(x), batch_size):
            rows = order[start : start + batch_size]
            with tf.GradientTape() as tape:
                y_pred = model(x[rows], training=True)
                y_true = y[rows, None] if y.ndim == 1 and y_pred.shape[-1] == 1 else y[rows]
                loss = tf.reduce_mean(loss_of(y_true, y_pred) * weight[rows])
                loss = keras.ops.sum([loss, *model.losses])
            gradients = tape.gradient(loss, model.trainable_weights)
            model.optimizer.apply(gradients, model.trainable_weights)
            mean.update_state(loss, sample_weight=len(x[rows]))
        history["loss"].append(float(mean.result()))
    return history
