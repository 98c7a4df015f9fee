"""How a model may be compiled: every optimizer, precisions, states, structures."""

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from compare.scenario import FitArguments, Scenario
from compare.scenarios.first import perceptron, uniform


def _optimizers() -> list[str]:
    """The names of all optimizers that Keras has, but for those that are made of others."""
    kinds = [getattr(keras.optimizers, name) for name in sorted(vars(keras.optimizers))]
    return [
        kind.__name__
        for kind in kinds
        if isinstance(kind, type)
        and issubclass(kind, keras.Optimizer)
        and kind is not keras.Optimizer
        and kind.__name__ not in ("LossScaleOptimizer", "MultiOptimizer")
    ]


def _with_optimizer(name: str) -> keras.Model:
    model = keras.Sequential([keras.Input((10,)), layers.Dense(1, "sigmoid")])
    model.compile(getattr(keras.optimizers, name)(), "binary_crossentropy")
    return model


def _with_two_optimizers() -> keras.Model:
    def choose(variable: keras.Variable) -> keras.Optimizer:
        slow = "bias" in variable.path
        return keras.optimizers.SGD(0.01) if slow else keras.optimizers.Adam()

    model = _with_optimizer("SGD")
    model.compile(keras.optimizers.MultiOptimizer(choose), "binary_crossentropy")
    return model


def _two_epochs() -> FitArguments:
    x, y = uniform(100)
    return {"x": x, "y": y, "epochs": 2}


def _under_policy(policy: str, build: Callable[[], keras.Model]) -> keras.Model:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        return build()
    finally:
        keras.config.set_dtype_policy(before)


def _deep() -> keras.Model:
    model = keras.Sequential(
        [
            keras.Input((10,)),
            layers.Dense(8, "relu", kernel_regularizer="l2"),
            layers.Dropout(0.2),
            layers.Dense(1),
        ]
    )
    model.compile("adam", "mse", metrics=["mae"])
    return model


def _overflowing() -> FitArguments:
    x, _ = uniform(100)
    return {"x": x, "y": 1e3 * x.sum(axis=1, keepdims=True), "epochs": 3, "batch_size": 16}


def _stateful() -> keras.Model:
    model = keras.Sequential(
        [
            keras.Input((4, 3), batch_size=8),
            layers.GRU(5, stateful=True),
            layers.Dense(1),
        ]
    )
    model.compile("sgd", "mse")
    return model


def _sequences_in_order() -> FitArguments:
    random = np.random.default_rng(4)
    x = random.normal(size=(32, 4, 3)).astype("float32")
    return {"x": x, "y": x.sum((1, 2)), "epochs": 3, "batch_size": 8, "shuffle": False}


class Counts(keras.metrics.Metric):
    """A metric of the user's own, with integer state: positives predicted, and the most in a batch."""

    def __init__(self, name: str = "counts"):
        super().__init__(name=name)
        self.positives = self.add_weight(shape=(), initializer="zeros", dtype="int32", name="n")
        self.most = self.add_weight(shape=(), initializer="zeros", name="most")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Sees one batch."""
        positives = tf.reduce_sum(tf.cast(y_pred > 0.5, tf.int32))
        self.positives.assign_add(positives)
        self.most.assign(tf.maximum(self.most, tf.cast(positives, tf.float32)))

    def result(self) -> Any:
        """Two logs."""
        return {"positives": self.positives + 0, "most": self.most + 0.0}


def _with_metrics_of_all_kinds() -> keras.Model:
    model = keras.Sequential([keras.Input((10,)), layers.Dense(1, "sigmoid")])
    model.compile(
        "sgd",
        "binary_crossentropy",
        metrics=[Counts(), keras.metrics.AUC(name="area"), keras.metrics.Precision()],
        weighted_metrics=[keras.metrics.Recall(), "mse"],
    )
    return model


def _weighted() -> FitArguments:
    x, y = uniform(100)
    weight = np.linspace(0.5, 1.5, 100)
    return {"x": x, "y": y, "sample_weight": weight, "epochs": 3, "validation_split": 0.2}


def _nested() -> keras.Model:
    left, right = keras.Input((4,), name="left"), keras.Input((6,), name="right")
    both = layers.Concatenate()([left, right])
    outputs = {
        "size": layers.Dense(1, name="size")(both),
        "kinds": [
            layers.Dense(3, "softmax", name="first")(both),
            layers.Dense(2, "softmax", name="second")(left),
        ],
    }
    model = keras.Model({"left": left, "right": right}, outputs)
    losses = {"size": "mse", "kinds": ["sparse_categorical_crossentropy"] * 2}
    model.compile("sgd", losses, loss_weights={"size": 0.5, "kinds": [1.0, 2.0]})
    return model


def _nested_data() -> FitArguments:
    x, y = uniform(100)
    inputs = {"left": x[:, :4], "right": x[:, 4:]}
    targets = {"size": x.sum(1), "kinds": [y + y[::-1], y]}
    return {"x": inputs, "y": targets, "epochs": 2, "validation_data": (inputs, targets)}


def _normalized() -> keras.Model:
    model = keras.Sequential(
        [
            keras.Input((10,)),
            layers.BatchNormalization(),
            layers.Dense(8, "relu"),
            layers.BatchNormalization(trainable=False),
            layers.Dense(1),
        ]
    )
    model.compile("sgd", "mse")
    return model


def _with_a_spare_layer() -> keras.Model:
    class Spare(keras.Model):
        """Has weights that no prediction depends on."""

        def __init__(self) -> None:
            super().__init__()
            self.used, self.spare = layers.Dense(1), layers.Dense(1)

        def call(self, inputs: tf.Tensor) -> tf.Tensor:
            self.spare(inputs)
            return self.used(inputs)

    model = Spare()
    model.compile("adam", "mse")
    return model


def _trained_before() -> keras.Model:
    model = perceptron()
    x, y = uniform(40)
    model.fit(x, y, epochs=1, verbose=0)
    return model


def _thawed() -> keras.Model:
    """First trained frozen; then thawed and compiled without metrics, so the old metrics stay."""
    model = perceptron()
    model.layers[0].trainable = False
    x, y = uniform(40)
    model.fit(x, y, epochs=1, verbose=0)
    model.layers[0].trainable = True
    model.compile("rmsprop", "binary_crossentropy")
    return model


COMPILED = (
    *(
        Scenario(f"optimizer_{name.lower()}", f"{name} as it is by default", partial(_with_optimizer, name), _two_epochs)
        for name in _optimizers()
    ),
    Scenario("optimizers_by_variable", "SGD for biases, Adam for the others", _with_two_optimizers, _two_epochs),
    Scenario("mixed_float16", "half precision: the loss is scaled, the log is not", partial(_under_policy, "mixed_float16", _deep), _two_epochs),
    Scenario("mixed_float16_overflow", "gradients overflow: steps are left out, the scale goes down", partial(_under_policy, "mixed_float16", _deep), _overflowing),
    Scenario("mixed_bfloat16", "the other half precision, without scaling", partial(_under_policy, "mixed_bfloat16", _deep), _two_epochs),
    Scenario("stateful_rnn", "a state that goes on from batch to batch", _stateful, _sequences_in_order),
    Scenario("metrics_of_all_kinds", "a metric of one's own, counts, areas, weighted and not", _with_metrics_of_all_kinds, _weighted),
    Scenario("nested_outputs", "inputs by name, outputs in a dict with a list, weighted losses", _nested, _nested_data),
    Scenario("batch_normalization", "moving averages, one layer frozen: training or not matters", _normalized, _two_epochs),
    Scenario("spare_layer", "weights without gradients: a warning, no update", _with_a_spare_layer, _two_epochs),
    Scenario("trained_before", "the optimizer goes on where an earlier fit left it", _trained_before, _two_epochs),
    Scenario("compiled_anew", "thawed and compiled again between two fits", _thawed, _two_epochs),
)  # fmt: skip
