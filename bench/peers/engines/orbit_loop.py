"""Orbit, the training loop of the TensorFlow Model Garden: an epoch is one `tf.while_loop`."""

import orbit
import tensorflow as tf
import tf_keras

from bench.peers.engines.legacy_keras import build_model
from bench.peers.workload import Train, data


class Trainer(orbit.StandardTrainer):
    """Trains an epoch a loop, with the step of Orbit's own example, SingleTaskTrainer."""

    def __init__(self, dataset: tf.data.Dataset) -> None:
        super().__init__(dataset)
        self.model = build_model()
        self.optimizer = tf_keras.optimizers.Adam()
        self.optimizer.build(self.model.trainable_variables)
        self.loss = tf_keras.losses.BinaryCrossentropy()
        self.mean_loss = tf_keras.metrics.Mean()
        self.accuracy = tf_keras.metrics.BinaryAccuracy()

    def train_loop_begin(self) -> None:
        """Reset the metrics of the epoch."""
        self.mean_loss.reset_state()
        self.accuracy.reset_state()

    def train_step(self, iterator: tf.data.Iterator) -> None:
        """Train on one batch."""
        x, y = next(iterator)
        with tf.GradientTape() as tape:
            y_pred = self.model(x, training=True)
            loss = self.loss(y, y_pred)
        variables = self.model.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        self.mean_loss.update_state(loss)
        self.accuracy.update_state(y, y_pred)

    def train_loop_end(self) -> dict[str, tf.Tensor]:
        """Return the logs of the epoch."""
        return {"loss": self.mean_loss.result(), "accuracy": self.accuracy.result()}


def prepare(samples: int, epochs: int, batch_size: int) -> Train:
    """Prepare a fit by Orbit's Controller, without checkpoints and summaries."""
    trainer = Trainer(_endless(samples, batch_size))
    losses: list[float] = []
    controller = orbit.Controller(
        global_step=trainer.optimizer.iterations,
        trainer=trainer,
        steps_per_loop=samples // batch_size,
        train_actions=[lambda logs: losses.append(float(logs["loss"]))],
    )

    def train() -> float:
        done = int(trainer.optimizer.iterations)
        controller.train(done + epochs * (samples // batch_size))
        return losses[-1]

    return train


def _endless(samples: int, batch_size: int) -> tf.data.Dataset:
    """Return batches of endless epochs, each in a new order and gathered batch by batch.

    `Model.fit` does the same; `shuffle(samples).batch(32)` would handle every sample by itself.
    """
    x, y = map(tf.constant, data(samples))

    def one_epoch(_: tf.Tensor) -> tf.data.Dataset:
        order = tf.random.shuffle(tf.range(samples))
        rows = tf.data.Dataset.from_tensor_slices(tf.reshape(order, (-1, batch_size)))
        return rows.map(lambda rows: (tf.gather(x, rows), tf.gather(y, rows)))

    return tf.data.Dataset.range(1).repeat().flat_map(one_epoch).prefetch(tf.data.AUTOTUNE)
