"""The trainings that are timed.

From a small network, where the loop costs more than the mathematics, to a residual network, where
it costs nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from keras import layers

from loop.callbacks import logs_only

BATCH = 32


@dataclass(frozen=True)
class Workload:
    """One training to time.

    Attributes:
        name: How it is called.
        shows: What it stands for.
        build: Makes the compiled model.
        arguments: The arguments of fit for so many steps an epoch, new objects at each call.
        steps: Steps in an epoch.
        epochs: Epochs in a fit.
        goals: How many times as fast as `model.fit` each plan should be, as the project has it.
        cold: Whether the model is new for each fit: tracing and compiling are on the clock.
    """

    name: str
    shows: str
    build: Callable[[], keras.Model]
    arguments: Callable[[int], dict[str, Any]]
    steps: int
    epochs: int = 1
    goals: dict[str, float] = field(default_factory=dict)
    cold: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether it trains on arrays and asks for nothing else."""
        return self.arguments(1).keys() == {"x", "y"} and not self.cold

    def fit_arguments(self, steps: int | None = None, epochs: int | None = None) -> dict[str, Any]:
        """All arguments of fit, `x` with `[steps * 32, ...]` samples."""
        arguments = self.arguments(steps or self.steps)
        return {"epochs": epochs or self.epochs, "batch_size": BATCH, "verbose": 0, **arguments}


def _random(shape: tuple[int, ...], classes: int) -> Callable[[int], dict[str, Any]]:
    def arguments(steps: int) -> dict[str, Any]:
        random = np.random.default_rng(7)
        samples = steps * BATCH
        x = random.uniform(size=(samples, *shape)).astype("float32")
        return {"x": x, "y": random.integers(0, classes, size=samples)}

    return arguments


def _classifier(*hidden: keras.Layer, shape: tuple[int, ...], classes: int = 10) -> keras.Model:
    model = keras.Sequential([keras.Input(shape), *hidden, layers.Dense(classes, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def mlp() -> keras.Model:
    """10 - 16 - 1."""
    model = keras.Sequential(
        [keras.Input((10,)), layers.Dense(16, "relu"), layers.Dense(1, "sigmoid")]
    )
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    return model


def mnist_mlp() -> keras.Model:
    """784 - 128 - 10, with dropout."""
    return _classifier(layers.Dense(128, "relu"), layers.Dropout(0.2), shape=(784,))


def cnn() -> keras.Model:
    """Two convolutions on 28 x 28."""
    return _classifier(
        layers.Conv2D(8, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Conv2D(16, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Flatten(),
        shape=(28, 28, 1),
    )


def lstm() -> keras.Model:
    """32 units over 28 time steps."""
    return _classifier(layers.LSTM(32), shape=(28, 28))


def gru() -> keras.Model:
    """16 units over 8 time steps, unrolled."""
    return _classifier(layers.GRU(16, unroll=True), shape=(8, 8))


def transformer() -> keras.Model:
    """Two blocks of attention over 32 tokens of 32 features."""
    inputs = tokens = keras.Input((32, 32))
    for _ in range(2):
        seen = layers.MultiHeadAttention(2, 16, dropout=0.1)(tokens, tokens)
        tokens = layers.LayerNormalization()(layers.Add()([tokens, seen]))
        wide = layers.Dense(32)(layers.Dense(64, "gelu")(tokens))
        tokens = layers.LayerNormalization()(layers.Add()([tokens, wide]))
    outputs = layers.Dense(10, "softmax")(layers.GlobalAveragePooling1D()(tokens))
    model = keras.Model(inputs, outputs)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def resnet() -> keras.Model:
    """Three residual blocks on 32 x 32 x 3."""
    inputs = keras.Input((32, 32, 3))
    image = layers.Conv2D(16, 3, padding="same", activation="relu")(inputs)
    for filters, strides in ((16, 1), (32, 2), (64, 2)):
        kept = layers.Conv2D(filters, 1, strides)(image)
        image = layers.Conv2D(filters, 3, strides, padding="same", use_bias=False)(image)
        image = layers.ReLU()(layers.BatchNormalization()(image))
        image = layers.Conv2D(filters, 3, padding="same", use_bias=False)(image)
        image = layers.ReLU()(layers.Add()([layers.BatchNormalization()(image), kept]))
    outputs = layers.Dense(10, "softmax")(layers.GlobalAveragePooling2D()(image))
    model = keras.Model(inputs, outputs)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


_mlp_data = _random((10,), 2)


def _with_validation(samples: int) -> Callable[[int], dict[str, Any]]:
    def arguments(steps: int) -> dict[str, Any]:
        x = np.random.default_rng(8).uniform(size=(samples, 10)).astype("float32")
        return {**_mlp_data(steps), "validation_data": (x, (x.sum(1) > 5).astype("int64"))}

    return arguments


def _from_tf_data(steps: int) -> dict[str, Any]:
    import tensorflow as tf

    arrays = _mlp_data(steps)
    dataset = tf.data.Dataset.from_tensor_slices((arrays["x"], arrays["y"])).batch(BATCH)
    return {"x": dataset, "batch_size": None, "shuffle": False}


class Watching(keras.callbacks.Callback):
    """Looks at the loss of every batch."""

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Keeps the loss."""
        self.loss = logs["loss"]


def _watched(steps: int) -> dict[str, Any]:
    return {**_mlp_data(steps), "callbacks": [Watching()]}


def _read(steps: int) -> dict[str, Any]:
    return {**_mlp_data(steps), "callbacks": [logs_only(Watching())]}


def _goals(auto: float, fastest: float | None = None) -> dict[str, float]:
    return {"auto": auto} | ({"fastest": fastest} if fastest else {})


WORKLOADS = (
    Workload("mlp", "10-16-1", mlp, _mlp_data, 1000, 1, _goals(9, 80)),
    Workload("mnist_mlp", "784-128-10 with dropout", mnist_mlp, _random((784,), 10), 150, 1, _goals(2.7, 2.7)),
    Workload("cnn", "two convolutions, 28x28", cnn, _random((28, 28, 1), 10), 60, 1, _goals(1.8, 1.8)),
    Workload("lstm", "32 units, 28 time steps", lstm, _random((28, 28), 10), 60, 1, _goals(1.5, 4)),
    Workload("gru", "16 units, 8 time steps, unrolled", gru, _random((8, 8), 10), 100, 1, _goals(1.9, 6)),
    Workload("transformer", "two blocks, 32 tokens of 32", transformer, _random((32, 32), 10), 30, 1, _goals(1.25, 2.4)),
    Workload("resnet", "three residual blocks, 32x32x3", resnet, _random((32, 32, 3), 10), 8, 1, _goals(1.0, 1.0)),
    Workload("seed", "mlp, 10 epochs of 25 steps, validation", mlp, _with_validation(200), 25, 10, _goals(12, 60)),
    Workload("seed_cold", "the same, tracing included", mlp, _with_validation(200), 25, 10, _goals(2), cold=True),
    Workload("tf_data", "mlp from tf.data", mlp, _from_tf_data, 500, 1, _goals(3.5)),
    Workload("watched", "mlp, a callback looks at every batch", mlp, _watched, 500, 1, _goals(2.5)),
    Workload("read", "mlp, a callback reads the logs of every batch", mlp, _read, 500, 1, _goals(6)),
    Workload("tiny_validation", "mlp, 100 steps an epoch, validation on 8", mlp, _with_validation(8), 100, 4, _goals(8)),
)  # fmt: skip
