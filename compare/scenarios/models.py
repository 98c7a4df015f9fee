"""What a model may be and how it may be compiled: losses, metrics, masks, overrides."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from compare.scenario import FitArguments, Scenario
from compare.scenarios.first import perceptron, uniform


def _everything_added() -> keras.Model:
    class Pull(layers.Layer):
        """Adds a loss of its own, and an integer one, which counts as well."""

        def call(self, inputs: tf.Tensor) -> tf.Tensor:
            self.add_loss(0.01 * tf.reduce_mean(tf.square(inputs)))
            self.add_loss(tf.shape(inputs)[0] * 0 + 1)
            return inputs

    frozen = layers.Dense(8, kernel_regularizer="l1", trainable=False)  # adds nothing: frozen
    model = keras.Sequential(
        [
            keras.Input((10,)),
            layers.Dense(8, kernel_regularizer="l2", bias_regularizer="l1", activity_regularizer="l2"),
            frozen,
            Pull(),
            layers.Dense(1),
        ]
    )  # fmt: skip
    model.compile("sgd", "mse", metrics=["mae"])
    return model


def _added_loss_only() -> keras.Model:
    class Reconstruction(keras.Model):
        """Learns from `add_loss` alone, without targets."""

        def __init__(self) -> None:
            super().__init__()
            self.code, self.decode = layers.Dense(3), layers.Dense(10)

        def call(self, inputs: tf.Tensor) -> tf.Tensor:
            outputs = self.decode(self.code(inputs))
            self.add_loss(tf.reduce_mean(tf.square(outputs - inputs)))
            return outputs

    model = Reconstruction()
    model.compile("sgd")
    return model


def _inputs_only() -> FitArguments:
    return {"x": uniform(100)[0], "epochs": 2}


def _floats(samples: int = 100) -> FitArguments:
    x, _ = uniform(samples)
    y = x.sum(axis=1, keepdims=True)
    weight = np.random.default_rng(5).uniform(size=samples)
    return {"x": x, "y": y, "sample_weight": weight, "epochs": 2, "validation_split": 0.2}


def _reduction(reduction: str | None) -> keras.Model:
    model = keras.Sequential([keras.Input((10,)), layers.Dense(1)])
    model.compile("sgd", keras.losses.MeanSquaredError(reduction=reduction))
    return model


def _sum() -> keras.Model:
    return _reduction("sum")


def _mean_with_sample_weight() -> keras.Model:
    return _reduction("mean_with_sample_weight")


def _masked() -> keras.Model:
    model = keras.Sequential(
        [
            keras.Input((12,), dtype="int32"),
            layers.Embedding(50, 8, mask_zero=True),
            layers.LSTM(8, return_sequences=True),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile("sgd", "binary_crossentropy", metrics=["accuracy"], weighted_metrics=["accuracy"])
    return model


def _padded_sequences() -> FitArguments:
    random = np.random.default_rng(6)
    words = random.integers(1, 50, size=(60, 12))
    words[np.arange(12) >= random.integers(2, 13, size=(60, 1))] = 0
    return {
        "x": words,
        "y": (words % 2)[..., np.newaxis],
        "sample_weight": random.uniform(size=(60, 12)),
        "batch_size": 16,
        "epochs": 2,
    }


def _transformer() -> keras.Model:
    inputs = keras.Input((12,), dtype="int32")
    words = layers.Embedding(50, 16)(inputs)
    attended = layers.MultiHeadAttention(2, 8, dropout=0.1)(words, words)
    normed = layers.LayerNormalization()(words + attended)
    pooled = layers.GlobalAveragePooling1D()(normed)
    model = keras.Model(inputs, layers.Dense(2)(layers.Dropout(0.2)(pooled)))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(0.003), loss, metrics=["accuracy"])
    return model


def _sentences() -> FitArguments:
    words = np.random.default_rng(6).integers(0, 50, size=(80, 12))
    return {"x": words, "y": (words.sum(axis=1) > 290).astype(int), "epochs": 2, "batch_size": 32}


def _custom_functions() -> keras.Model:
    def huber_like(y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        return tf.reduce_mean(tf.sqrt(1 + tf.square(y_true - y_pred)), axis=-1)

    def bias(y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        return y_pred - y_true

    model = keras.Sequential([keras.Input((10,)), layers.Dense(1)])
    model.compile("sgd", huber_like, metrics=[bias, keras.metrics.RootMeanSquaredError()])
    return model


def _shape_dependent_strings() -> keras.Model:
    model = keras.Sequential([keras.Input((10,)), layers.Dense(2, activation="softmax")])
    model.compile("sgd", "crossentropy", metrics=["acc", "accuracy"], weighted_metrics=["acc"])
    return model


def _busy_optimizer() -> keras.Model:
    model = perceptron()
    schedule = keras.optimizers.schedules.CosineDecay(0.01, 20)
    optimizer = keras.optimizers.Adam(
        schedule,
        clipnorm=0.5,
        weight_decay=1e-3,
        use_ema=True,
        ema_overwrite_frequency=5,
        gradient_accumulation_steps=2,
    )
    model.compile(optimizer, "binary_crossentropy", metrics=["accuracy"])
    return model


def _labels() -> FitArguments:
    x, y = uniform(100)
    return {"x": x, "y": y, "epochs": 3, "validation_split": 0.2}


def _one_epoch() -> FitArguments:
    return {**_labels(), "epochs": 1}


def _unbuilt() -> keras.Model:
    model = keras.Sequential([layers.Dense(8, "relu"), layers.Dropout(0.5), layers.Dense(1)])
    model.compile("adam", "mse")  # weights are made, and random numbers drawn, inside fit
    return model


def _steps_per_execution() -> keras.Model:
    model = perceptron()
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"], steps_per_execution=3)
    return model


def _eager() -> keras.Model:
    model = perceptron()
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"], run_eagerly=True)
    return model


def _xla() -> keras.Model:
    model = perceptron()
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"], jit_compile=True)
    return model


class OwnStep(keras.Model):
    """Overrides `train_step` as the guides teach it, with logs of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = layers.Dense(1)
        self.error = keras.metrics.MeanAbsoluteError(name="error")

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        return self.dense(inputs)

    def train_step(self, data: tuple) -> dict:
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            y_pred = self(x, training=True)
            loss = self.compute_loss(x, y, y_pred, sample_weight)
        gradients = tape.gradient(loss, self.trainable_weights)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))
        self.error.update_state(y, y_pred)
        return {"last_loss": loss, "error": self.error.result()}

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return [self.error]


def _own_train_step() -> keras.Model:
    model = OwnStep()
    model.compile("adam", "mse")
    return model


class OwnParts(keras.Model):
    """Overrides what the step is made of: the loss without `training`, and the metrics."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = layers.Dense(1)
        self.spread = keras.metrics.Mean(name="spread")

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return self.dense(inputs)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None):  # type: ignore[no-untyped-def]
        return super().compute_loss(x, y, y_pred, sample_weight) + 0.1 * tf.reduce_mean(y_pred**2)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):  # type: ignore[no-untyped-def]
        results = super().compute_metrics(x, y, y_pred, sample_weight)
        self.spread.update_state(tf.math.reduce_std(y_pred))
        return {**results, "spread": self.spread.result()}


def _own_loss_and_metrics() -> keras.Model:
    model = OwnParts()
    model.compile("sgd", "mse", metrics=["mae"])
    return model


MODELS = (
    Scenario("added_losses", "every loss the layers add, none from frozen weights", _everything_added, _floats),
    Scenario("add_loss_only", "no targets, no compiled loss", _added_loss_only, _inputs_only),
    Scenario("reduction_sum", "a loss summed over the batch", _sum, _floats),
    Scenario("reduction_by_weights", "a loss divided by the sum of its sample weights", _mean_with_sample_weight, _floats),
    Scenario("masked_sequences", "padding masked in loss and metrics, weights per time step", _masked, _padded_sequences),
    Scenario("transformer", "attention with dropout, AdamW", _transformer, _sentences),
    Scenario("custom_functions", "a loss and a metric that are functions", _custom_functions, _floats),
    Scenario("shape_dependent_strings", "crossentropy and accuracy chosen by shape, names told apart", _shape_dependent_strings, _labels),
    Scenario("busy_optimizer", "schedule, clipping, decay, averages, accumulation", _busy_optimizer, _labels),
    Scenario("unbuilt_model", "weights made inside fit", _unbuilt, _floats),
    Scenario("steps_per_execution", "hooks every three batches, the last call a short one", _steps_per_execution, _labels),
    Scenario("run_eagerly", "no graph at all", _eager, _one_epoch),
    Scenario("jit_compile", "each step compiled with XLA", _xla, _labels, xla=True),
    Scenario("own_train_step", "a class that overrides train_step and metrics", _own_train_step, _floats),
    Scenario("own_loss_and_metrics", "a class that overrides compute_loss and compute_metrics", _own_loss_and_metrics, _floats),
)  # fmt: skip
