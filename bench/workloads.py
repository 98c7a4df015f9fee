"""The trainings that are timed warm, from arrays mostly; `sources`, `methods`, `cold` have more.

From a small network, where the loop takes more time than the mathematics, to a residual network,
where it takes hardly any.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from compare.scenario import Fit, Scenario
from loop.callbacks import logs_only

BATCH = 32

Arguments = Callable[[int], dict[str, Any]]
"""Makes the arguments of fit for so many steps an epoch, new objects at each call."""


@dataclass(frozen=True)
class Workload:
    """A scenario that is timed, and what the project wants of it.

    Attributes:
        scenario: What is trained, or evaluated.
        goals: How many times as fast as `model.fit` each plan is to be. `python -m bench` marks
            what falls short; nothing else depends on it.
        cold: Whether first fits are timed: a new model each, traced and compiled on the clock.
        methods: What is timed in place of fit, Keras's method and ours, each called as
            `method(model, **scenario.data())`; None for fit.
        batches: Batches that one timed call works on. 0 where the optimizer counts as many; it
            counts none for `predict`, and one more for a dataset of unknown size.
    """

    scenario: Scenario
    goals: dict[str, float]
    cold: bool = False
    methods: tuple[Fit, Fit] | None = None
    batches: int = 0

    @property
    def name(self) -> str:
        """What the command line and tables call it."""
        return self.scenario.name

    @property
    def is_plain(self) -> bool:
        """Whether it trains on arrays and nothing else, and warm."""
        return not self.cold and self.scenario.data().keys() == {"x", "y", "batch_size", "epochs"}


def random_arrays(shape: tuple[int, ...], classes: int) -> Arguments:
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


mlp_data = random_arrays((10,), 2)


def with_validation(samples: int) -> Arguments:
    def arguments(steps: int) -> dict[str, Any]:
        x = np.random.default_rng(8).uniform(size=(samples, 10)).astype("float32")
        return {**mlp_data(steps), "validation_data": (x, (x.sum(1) > 5).astype("int64"))}

    return arguments


def with_bar(steps: int) -> dict[str, Any]:
    return {**mlp_data(steps), "verbose": "auto"}


def from_batches(x: Any, **more: Any) -> dict[str, Any]:
    """Return the arguments of fit for what makes batches itself."""
    return {"x": x, "batch_size": None, "shuffle": False, **more}


def dataset(steps: int) -> tf.data.Dataset:
    arrays = mlp_data(steps)
    return tf.data.Dataset.from_tensor_slices((arrays["x"], arrays["y"])).batch(BATCH)


def from_tf_data(steps: int) -> dict[str, Any]:
    return from_batches(dataset(steps))


class Watching(keras.callbacks.Callback):
    """Reads the loss of every batch."""

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Store the loss."""
        self.loss = logs["loss"]


def watched(steps: int) -> dict[str, Any]:
    return {**mlp_data(steps), "callbacks": [Watching()]}


def _read(steps: int) -> dict[str, Any]:
    return {**mlp_data(steps), "callbacks": [logs_only(Watching())]}


def _goals(auto: float, fastest: float | None = None) -> dict[str, float]:
    return {"auto": auto} | ({"fastest": fastest} if fastest else {})


def workload(
    name: str,
    shows: str,
    build: Callable[[], keras.Model],
    arguments: Arguments,
    steps: int,
    epochs: int,
    goals: dict[str, float],
    cold: bool = False,
) -> Workload:
    scenario = Scenario(name, shows, build, partial(_data, arguments, steps, epochs))
    return Workload(scenario, goals, cold)


def _data(arguments: Arguments, steps: int, epochs: int) -> dict[str, Any]:
    return {"epochs": epochs, "batch_size": BATCH, **arguments(steps)}


WORKLOADS = (
    workload("mlp", "10-16-1", mlp, mlp_data, 1000, 1, _goals(9, 80)),
    workload("mnist_mlp", "784-128-10 with dropout", mnist_mlp, random_arrays((784,), 10), 150, 1, _goals(2.7, 2.7)),
    workload("cnn", "two convolutions, 28x28", cnn, random_arrays((28, 28, 1), 10), 60, 1, _goals(1.8, 1.8)),
    workload("lstm", "32 units, 28 time steps", lstm, random_arrays((28, 28), 10), 60, 1, _goals(1.5, 4)),
    workload("gru", "16 units, 8 time steps, unrolled", gru, random_arrays((8, 8), 10), 100, 1, _goals(1.9, 6)),
    workload("transformer", "two blocks, 32 tokens of 32", transformer, random_arrays((32, 32), 10), 30, 1, _goals(1.25, 2.4)),
    workload("resnet", "three residual blocks, 32x32x3", resnet, random_arrays((32, 32, 3), 10), 8, 1, _goals(1.0, 1.0)),
    workload("seed", "mlp, 10 epochs of 25 steps, validation", mlp, with_validation(200), 25, 10, _goals(12, 60)),
    workload("seed_cold", "the same, tracing included", mlp, with_validation(200), 25, 10, _goals(2), cold=True),
    workload("tf_data", "mlp from tf.data", mlp, from_tf_data, 500, 1, _goals(3.5)),
    workload("watched", "mlp, a callback that reads every batch", mlp, watched, 500, 1, _goals(2.5)),
    workload("read", "mlp, a callback that only reads logs", mlp, _read, 500, 1, _goals(6)),
    workload("tiny_validation", "mlp, 100 steps an epoch, validation on 8", mlp, with_validation(8), 100, 4, _goals(8)),
)  # fmt: skip


FRONT_PAGE = ("mlp", "mnist_mlp", "cnn", "lstm", "transformer")
"""The rows of README."""

CONVOLUTIONS = ("cnn", "resnet")
"""What `--kernels` profiles: kernels of convolutions take most of their time."""


def find(names: Sequence[str], among: Sequence[Workload] = WORKLOADS) -> list[Workload]:
    """Return the workloads of these names, all of them for an empty list.

    Raises:
        KeyError: There is no such workload; the message lists them.
    """
    known = {workload.name: workload for workload in among}
    if unknown := sorted(set(names) - set(known)):
        raise KeyError(f"expected some of {list(known)}, got {unknown}")
    return [known[name] for name in names or known]
