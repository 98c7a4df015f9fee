"""The objective includes what layers add.

`add_loss` and activity regularizers leave scalars in `model.losses` during the forward pass; weight
regularizers are computed when it is read, for trainable weights only. A loop that does not add them
trains without any regularization, and says nothing.

Keras: keras.Model.compute_loss
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
                loss = keras.ops.sum([loss, *model.losses])
            gradients = tape.gradient(loss, model.trainable_weights)
            model.optimizer.apply(gradients, model.trainable_weights)
            mean.update_state(loss, sample_weight=len(x[rows]))
        history["loss"].append(float(mean.result()))
    return history
