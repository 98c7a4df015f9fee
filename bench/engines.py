"""The ways to train that are timed against each other."""

import itertools
import time
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

import loop
from bench.workloads import Workload
from compare.recording.recorder import wait_for_device
from loop.data import make_source
from loop.function import TRAIN, StepGraphs

Fit = Callable[..., Any]


def ready(engine: str, workload: Workload) -> tuple[keras.Model, Fit]:
    """A new model, and the way to train it: `fit(model, **arguments)`.

    Args:
        engine: "keras", "keras tuned", "hand-written", "limit", or a plan of ours.
        workload: What to train.
    """
    if engine == "keras tuned":
        return _tuned(workload)
    model = new_model(workload)
    if engine == "keras":
        return model, keras.Model.fit
    if engine == "keras jit":
        model.jit_compile = True
        return model, keras.Model.fit
    if engine == "hand-written":
        return model, HandWritten(model)
    if engine == "limit":
        return model, NoData()
    return model, lambda model, **arguments: loop.fit(model, plan=engine, **arguments)


def new_model(workload: Workload) -> keras.Model:
    """The model of a workload from the one seed, with names that begin anew."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(1)
    return workload.build()


def seconds_of(fit: Fit, model: keras.Model, arguments: dict[str, Any]) -> float:
    """Seconds of one fit, until the device is done."""
    start = time.perf_counter()
    fit(model, **arguments)
    wait_for_device(model)
    return time.perf_counter() - start


def _tuned(workload: Workload) -> tuple[keras.Model, Fit]:
    """Keras at its best: over `steps_per_execution` and jit, the quickest third fit."""
    best: tuple[float, keras.Model] | None = None
    for together, jit in itertools.product((1, 10, workload.steps), (False, True)):
        model = new_model(workload)
        model.steps_per_execution, model.jit_compile = together, jit
        for _ in range(2):
            seconds_of(keras.Model.fit, model, workload.fit_arguments())
        taken = seconds_of(keras.Model.fit, model, workload.fit_arguments())
        if best is None or taken < best[0]:
            best = taken, model
    assert best
    return best[1], keras.Model.fit


class HandWritten:
    """The loop of the tutorials: tf.data, a `tf.function` for a step, metrics read each epoch."""

    def __init__(self, model: keras.Model):
        losses = {
            "binary_crossentropy": keras.losses.BinaryCrossentropy,
            "sparse_categorical_crossentropy": keras.losses.SparseCategoricalCrossentropy,
        }
        loss_of, mean = losses[model.loss](), keras.metrics.Mean()
        accuracy = {
            "binary_crossentropy": keras.metrics.BinaryAccuracy,
            "sparse_categorical_crossentropy": keras.metrics.SparseCategoricalAccuracy,
        }[model.loss]()

        @tf.function
        def step(x: tf.Tensor, y: tf.Tensor) -> None:
            with tf.GradientTape() as tape:
                predictions = model(x, training=True)
                loss = loss_of(y, predictions)
            gradients = tape.gradient(loss, model.trainable_variables)
            model.optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
            mean.update_state(loss)
            accuracy.update_state(y[:, tf.newaxis], predictions)

        self.step, self.metrics = step, (mean, accuracy)

    def __call__(
        self, model: keras.Model, x: Any, y: Any, batch_size: int, epochs: int, **_: Any
    ) -> None:
        """Trains."""
        dataset = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(len(x)).batch(batch_size)
        for _epoch in range(epochs):
            for metric in self.metrics:
                metric.reset_state()
            for batch in dataset.prefetch(tf.data.AUTOTUNE):
                self.step(*batch)
            for metric in self.metrics:
                float(metric.result())


class NoData:
    """The same compiled step over and over on one batch: what a loop that costs nothing leaves."""

    def __init__(self) -> None:
        self.loop: Any = None

    def __call__(
        self, model: keras.Model, x: Any, y: Any, batch_size: int, epochs: int, **_: Any
    ) -> None:
        """Runs as many steps as fit would."""
        steps = epochs * len(x) // batch_size
        if self.loop is None:
            source = make_source(x, y, None, batch_size)
            one = StepGraphs(model, TRAIN, source.spec).compiled().on_batch

            def many(batch: Any, steps: tf.Tensor) -> None:
                def body(place: tf.Tensor) -> tuple:
                    one(batch)
                    return (place + 1,)

                tf.while_loop(lambda place: place < steps, body, [0], parallel_iterations=1)

            self.loop = tf.function(many, autograph=False)
            self.batch = next(iter(source.new_pass()))
        self.loop(self.batch, tf.constant(steps))
