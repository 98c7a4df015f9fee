"""The loss of an epoch is a mean over samples, not over batches.

70 samples in batches of 32 make batches of 32, 32 and 6. In a mean of three losses each of the last
6 samples counts more than five times as much as the others. fit weights the loss of a batch by its
size.

Keras: keras.Model.train_step
"""

import keras
import tensorflow as tf


def fit(model, x, y, batch_size=32, epochs=1, **_):
    """Train on arrays; return a dict with the loss of each epoch. Other arguments are ignored."""
    history = {"loss": []}
    for _epoch in range(epochs):
        mean = keras.metrics.Mean()
        for start in range(0, len(x), batch_size):
            rows = slice(start, start + batch_size)
            with tf.GradientTape() as tape:
                y_pred = model(x[rows], training=True)
                y_true = y[rows, None] if y.ndim == 1 and y_pred.shape[-1] == 1 else y[rows]
                loss = tf.reduce_mean(tf.square(y_true - y_pred))
            gradients = tape.gradient(loss, model.trainable_weights)
            model.optimizer.apply(gradients, model.trainable_weights)
            mean.update_state(loss, sample_weight=len(x[rows]))
        history["loss"].append(float(mean.result()))
    return history
