"""Class weights are sample weights, and a weighted loss is divided by the number of samples.

Each sample gets the weight of its class, 1 if its class is not listed. A loss that was compiled by
name gives a number for each sample; weighted, they are added up and divided by 32, the samples of
the batch, not by the sum of their weights: a batch with many heavy samples makes a larger step. In
the loss of the epoch, too, a batch counts by its samples.

Keras: keras.src.trainers.data_adapters.data_adapter_utils.class_weight_to_sample_weights
"""

import keras
import numpy as np
import tensorflow as tf


def fit(model, x, y, batch_size=32, epochs=1, class_weight=None, sample_weight=None, **_):
    """Train on arrays; return a dict with the loss of each epoch. Other arguments are ignored."""
    loss_of = keras.losses.get(model.loss)
    weight = np.ones(len(y), "float32") if sample_weight is None else sample_weight
    if class_weight is not None:
        weight = np.array([class_weight.get(int(label), 1.0) for label in y], "float32")
    history = {"loss": []}
    for _epoch in range(epochs):
        mean = keras.metrics.Mean()
        for start in range(0, len(x), batch_size):
            rows = slice(start, start + batch_size)
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
