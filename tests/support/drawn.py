"""Random trainings: model, compile, data, arguments of fit and callbacks, drawn by hypothesis.

    @given(trainings())
    def test_...(training): ...             # a Scenario; its `shows` says what was drawn

What is drawn is a plain dict of choices, so that a failure prints all it takes to repeat it.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from hypothesis import strategies as st
from keras import layers

from compare.scenario import FitArguments, Scenario

Choices = dict[str, Any]

LAYERS: dict[str, Callable[[], keras.Layer]] = {
    "dense": lambda: layers.Dense(5, "relu"),
    "regularized": lambda: layers.Dense(4, "tanh", kernel_regularizer="l2", bias_regularizer="l1"),
    "active": lambda: layers.Dense(4, "relu", activity_regularizer="l2"),
    "dropout": lambda: layers.Dropout(0.3),
    "norm": lambda: layers.BatchNormalization(),
    "layer_norm": lambda: layers.LayerNormalization(),
    "noise": lambda: layers.GaussianNoise(0.1),
    "frozen": lambda: layers.Dense(4, trainable=False, kernel_regularizer="l2"),
}
OPTIMIZERS: dict[str, Callable[[], keras.optimizers.Optimizer]] = {
    "sgd": lambda: keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True),
    "adam": lambda: keras.optimizers.Adam(),
    "amsgrad": lambda: keras.optimizers.Adam(amsgrad=True, clipnorm=0.5),
    "adamw": lambda: keras.optimizers.AdamW(weight_decay=0.01, global_clipnorm=1.0),
    "rmsprop": lambda: keras.optimizers.RMSprop(centered=True, clipvalue=0.3),
    "adagrad": lambda: keras.optimizers.Adagrad(0.1),
    "adadelta": lambda: keras.optimizers.Adadelta(1.0),
    "adamax": lambda: keras.optimizers.Adamax(),
    "nadam": lambda: keras.optimizers.Nadam(),
    "ftrl": lambda: keras.optimizers.Ftrl(0.1),
    "lion": lambda: keras.optimizers.Lion(),
    "lamb": lambda: keras.optimizers.Lamb(),
    "muon": lambda: keras.optimizers.Muon(),
    "adafactor": lambda: keras.optimizers.Adafactor(),
    "averaging": lambda: keras.optimizers.SGD(0.1, use_ema=True, ema_overwrite_frequency=3),
    "accumulating": lambda: keras.optimizers.Adam(gradient_accumulation_steps=3),
    "scaled": lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam()),
    "scheduled": lambda: keras.optimizers.SGD(
        keras.optimizers.schedules.ExponentialDecay(0.1, 2, 0.9)
    ),
}
HEADS = {
    "binary": (1, "sigmoid", "binary_crossentropy", ["accuracy"]),
    "classes": (3, "softmax", "sparse_categorical_crossentropy", ["accuracy"]),
    "crossentropy": (3, "softmax", "crossentropy", ["acc", "crossentropy"]),
    "numbers": (2, None, "mse", ["mae"]),
    "area": (1, "sigmoid", "binary_crossentropy", [keras.metrics.AUC]),
}
CALLBACKS: dict[str, Callable[[], keras.callbacks.Callback]] = {
    "early": lambda: keras.callbacks.EarlyStopping("loss", patience=0),
    "best": lambda: keras.callbacks.EarlyStopping("loss", restore_best_weights=True),
    "plateau": lambda: keras.callbacks.ReduceLROnPlateau("loss", patience=1, cooldown=1),
    "nan": lambda: keras.callbacks.TerminateOnNaN(),
    "swap": lambda: keras.callbacks.SwapEMAWeights(swap_on_epoch=True),
    "csv": lambda: keras.callbacks.CSVLogger("log.csv"),
    "saver": lambda: keras.callbacks.ModelCheckpoint(
        "{epoch}-{batch}.weights.h5", save_freq=3, save_weights_only=True
    ),
    "stop": lambda: _StopsAt(4),
    "rate": lambda: keras.callbacks.LearningRateScheduler(lambda _, rate: rate * 0.9),
    "reader": lambda: keras.callbacks.LambdaCallback(on_train_batch_end=lambda *_: None),
}


class _StopsAt(keras.callbacks.Callback):
    """Stops the training after so many batches of all."""

    def __init__(self, batches: int):
        super().__init__()
        self.left = batches

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.left -= 1
        self.model.stop_training = self.model.stop_training or self.left <= 0


def trainings() -> st.SearchStrategy[Scenario]:
    """Scenarios of trainings, small enough to run in a second."""
    return _choices().map(as_scenario)


@st.composite
def _choices(draw: st.DrawFn) -> Choices:
    """What to train: names of the tables above, and plain numbers."""
    source = draw(st.sampled_from(["arrays"] * 5 + ["dataset", "generator", "pydataset"]))
    chosen = {
        "layers": draw(st.lists(st.sampled_from(sorted(LAYERS)), min_size=1, max_size=3)),
        "heads": draw(st.lists(st.sampled_from(sorted(HEADS)), min_size=1, max_size=2)),
        "optimizer": draw(st.sampled_from(sorted(OPTIMIZERS))),
        "metrics": draw(st.sampled_from(["none", "plain", "weighted", "both"])),
        "loss_weights": draw(st.booleans()),
        "steps_per_execution": draw(st.sampled_from([1, 1, 1, 2, 3])),
        "run_eagerly": draw(st.sampled_from([False] * 9 + [True])),
        "source": source,
        "samples": draw(st.integers(3, 60)),
        "batch_size": draw(st.sampled_from([1, 4, 7, 16, 32])),
        "epochs": draw(st.integers(1, 4)),
        "callbacks": draw(st.lists(st.sampled_from(sorted(CALLBACKS)), max_size=2, unique=True)),
        "steps_per_epoch": draw(st.sampled_from([None, None, None, 2, 3])),
        "validation": draw(st.sampled_from([None, "data", "data", "split"])),
        "validation_freq": draw(st.sampled_from([1, 1, 2, [2], [1, 3]])),
    }
    if source in ("generator", "pydataset"):
        chosen["validation"] = chosen["validation"] and "data"
    if source == "dataset":
        chosen["validation"] = chosen["validation"] and "data"
    if source == "arrays":
        chosen["shuffle"] = draw(st.sampled_from([True, True, False, "batch"]))
        chosen["weights"] = draw(st.sampled_from([None, None, "sample", "class"]))
        chosen["initial_epoch"] = draw(st.sampled_from([0, 0, 0, 1]))
    return chosen


def as_scenario(chosen: Choices) -> Scenario:
    """The training of some choices."""
    return Scenario("drawn", str(chosen), partial(_model, chosen), partial(_arguments, chosen))


def _model(chosen: Choices) -> keras.Model:
    inputs = values = keras.Input((6,))
    for name in chosen["layers"]:
        values = LAYERS[name]()(values)
    outputs, losses, metrics = [], [], []
    for head in chosen["heads"]:
        units, activation, loss, of_head = HEADS[head]
        outputs.append(layers.Dense(units, activation)(values))
        losses.append(loss)
        metrics.append([one() if isinstance(one, type) else one for one in of_head])
    several = len(outputs) > 1
    model = keras.Model(inputs, outputs if several else outputs[0])
    kinds = {"plain": ["metrics"], "weighted": ["weighted_metrics"], "none": []}
    kinds["both"] = kinds["plain"] + kinds["weighted"]
    model.compile(
        OPTIMIZERS[chosen["optimizer"]](),
        losses if several else losses[0],
        loss_weights=[0.3, 2.0] if several and chosen["loss_weights"] else None,
        steps_per_execution=chosen["steps_per_execution"],
        run_eagerly=chosen["run_eagerly"],
        **dict.fromkeys(kinds[chosen["metrics"]], metrics if several else metrics[0]),
    )
    return model


def _arrays(chosen: Choices, samples: int) -> tuple[Any, Any]:
    random = np.random.default_rng(11)
    x = random.normal(size=(samples, 6)).astype("float32")
    targets = {
        "binary": lambda: random.integers(0, 2, samples),
        "area": lambda: random.integers(0, 2, samples),
        "classes": lambda: random.integers(0, 3, samples),
        "crossentropy": lambda: np.eye(3, dtype="float32")[random.integers(0, 3, samples)],
        "numbers": lambda: random.normal(size=(samples, 2)),
    }
    y = tuple(targets[head]() for head in chosen["heads"])
    return x, y if len(y) > 1 else y[0]


def _arguments(chosen: Choices) -> FitArguments:
    x, y = _arrays(chosen, chosen["samples"])
    arguments: dict[str, Any] = {
        name: chosen[name]
        for name in ("epochs", "steps_per_epoch", "shuffle", "initial_epoch")
        if name in chosen
    }
    arguments["callbacks"] = [CALLBACKS[name]() for name in chosen["callbacks"]]
    if chosen["validation"] == "split":
        arguments["validation_split"] = 0.3
    if chosen["validation"] == "data":
        arguments["validation_data"] = _arrays(chosen, 9)
    if chosen["validation"]:
        arguments["validation_freq"] = chosen["validation_freq"]
    if chosen.get("weights") == "sample":
        arguments["sample_weight"] = np.linspace(0.1, 2.0, chosen["samples"])
    if chosen.get("weights") == "class":
        arguments["class_weight"] = {0: 0.5, 1: 2.0}
    if chosen["source"] == "arrays":
        return {**arguments, "x": x, "y": y, "batch_size": chosen["batch_size"]}
    batches = list(_batches(x, y, chosen["batch_size"]))
    if chosen["source"] == "generator":
        return {**arguments, "x": iter_of(batches), "shuffle": False}
    if chosen["source"] == "pydataset":
        return {**arguments, "x": _Batches(batches)}
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(chosen["batch_size"])
    return {**arguments, "x": dataset, "shuffle": False}


def _batches(x: Any, y: Any, size: int) -> Iterator[tuple[Any, Any]]:
    for start in range(0, len(x), size):
        rows = slice(start, start + size)
        yield x[rows], keras.tree.map_structure(lambda array, rows=rows: array[rows], y)


def iter_of(batches: list[Any]) -> Iterator[Any]:
    """A generator: what fit takes for one, other iterators it refuses."""
    yield from batches


class _Batches(keras.utils.PyDataset):
    def __init__(self, batches: list[Any]):
        super().__init__()
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> Any:
        return self.batches[index]
