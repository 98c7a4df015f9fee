"""Costs that nobody sees: how often a step is traced, and when what was traced is dropped."""

import gc
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf

import loop

X = np.random.default_rng(0).uniform(size=(100, 4)).astype("float32")
Y = X.sum(axis=1)


class Counting(keras.Model):
    """Counts how often Python runs its call: once for each graph."""

    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(1)
        self.training, self.other = 0, 0

    def call(self, inputs, training=False):
        if training:
            self.training += 1
        else:
            self.other += 1
        return self.dense(inputs)


@pytest.fixture
def model():
    built = Counting()
    built(X[:1])
    built.compile("sgd", "mse")
    built.training = built.other = 0
    return built


def test_one_trace_serves_all_epochs_and_the_short_last_batch(model):
    loop.fit(model, X, Y, epochs=3, validation_split=0.3, verbose=0)
    assert (model.training, model.other) == (1, 1)


def test_a_second_fit_on_the_same_shapes_traces_nothing(model):
    loop.fit(model, X, Y, verbose=0)
    loop.evaluate(model, X, Y, verbose=0)
    loop.fit(model, X[:70], Y[:70], verbose=0)
    loop.evaluate(model, X[:70], Y[:70], verbose=0)
    assert (model.training, model.other) == (1, 1)


def test_compile_drops_what_was_traced(model):
    loop.fit(model, X, Y, verbose=0)
    model.compile("sgd", "mse")
    loop.fit(model, X, Y, verbose=0)
    assert model.training == 2


@pytest.mark.long
def test_make_train_function_with_force_drops_what_was_traced(model):
    loop.fit(model, X, Y, verbose=0)
    model.make_train_function(force=True)
    loop.fit(model, X, Y, verbose=0)
    assert model.training == 2


@pytest.mark.long
def test_a_callback_may_force_a_new_trace_in_mid_epoch(model):
    class Force(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 1:
                self.model.make_train_function(force=True)

    loop.fit(model, X, Y, callbacks=[Force()], verbose=0)
    assert model.training == 2


def test_toggling_trainable_without_compiling_traces_nothing_and_trains_as_before(model):
    loop.fit(model, X, Y, verbose=0)
    model.dense.trainable = False
    before = model.dense.kernel.numpy()
    loop.fit(model, X, Y, verbose=0)
    assert model.training == 1
    assert not np.array_equal(before, model.dense.kernel.numpy()), "Keras trains it, so do we"


@pytest.mark.long
def test_another_train_step_without_compiling_changes_nothing_as_in_keras(model):
    for engine in (keras.Model.fit, loop.fit):
        model.compile("sgd", "mse")
        engine(model, X, Y, verbose=0)
        model.train_step = lambda data: {"another": tf.constant(9.0)}
        assert list(engine(model, X, Y, verbose=0).history) == ["loss"]
        del model.train_step


@pytest.mark.long
def test_a_step_of_the_users_has_a_trace_of_its_own_and_keeps_it(model):
    def my_step(model, batch):
        return loop.train_step(model, batch)

    for _ in range(2):
        loop.fit(model, X, Y, verbose=0)
        loop.fit(model, X, Y, verbose=0, train_step=my_step)
    assert model.training == 2


@pytest.mark.long
def test_graphs_go_when_the_model_is_compiled_anew_and_when_it_goes():
    model = Counting()
    model.compile("sgd", "mse")
    loop.fit(model, X, Y, verbose=0)
    kept = weakref.ref(model.train_function)
    model.compile("sgd", "mse")
    gc.collect()
    assert kept() is None
    loop.fit(model, X, Y, verbose=0)
    kept = weakref.ref(model.train_function)
    del model
    keras.backend.clear_session()
    gc.collect()
    assert kept() is None


@pytest.mark.filterwarnings("ignore:Even though the `tf.config")
def test_tensorflow_told_to_run_eagerly_runs_eagerly(model):
    tf.config.run_functions_eagerly(True)
    try:
        loop.fit(model, X, Y, verbose=0)
    finally:
        tf.config.run_functions_eagerly(False)
    assert model.training == 4, "once a batch"
