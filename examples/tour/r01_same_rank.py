"""Targets get the rank of the predictions.

Targets `[32]` minus predictions `[32, 1]` are not 32 differences but a table `[32, 32]`: every
target against every prediction. TensorFlow broadcasts without a word, and the loss is a number like
any other: the network learns the mean. Keras's losses first give both the same rank; a subclass of
`keras.losses.Loss` has to do it itself.

Keras: keras.src.losses.loss.squeeze_or_expand_to_same_rank
"""

import numpy as np
import tensorflow as tf


def fit(model, x, y, batch_size=32, epochs=1, **_):
    """Train on arrays; return a dict with the loss of each epoch. Other arguments are ignored."""
    history = {"loss": []}
    for _epoch in range(epochs):
        losses = []
        for start in range(0, len(x), batch_size):
            rows = slice(start, start + batch_size)
            with tf.GradientTape() as tape:
                y_pred = model(x[rows])
                y_true = y[rows, None] if y.ndim == 1 and y_pred.shape[-1] == 1 else y[rows]
                loss = tf.reduce_mean(tf.square(y_true - y_pred))
            gradients = tape.gradient(loss, model.trainable_weights)
            model.optimizer.apply(gradients, model.trainable_weights)
            losses.append(float(loss))
        history["loss"].append(float(np.mean(losses)))
    return history
