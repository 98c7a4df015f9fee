"""Data of unknown size: how many calls they take, how far they are drawn, and how they fail."""

from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf

import loop
from compare.scenarios.first import perceptron, uniform
from loop.engine import program

X, Y = uniform(320)
BATCHES = 10  # of 32 samples
SPEC = tf.TensorSpec([None, 10]), tf.TensorSpec([None], tf.int64)
PLANS = ["step", "auto", "fused"]
fused = partial(loop.fit, plan="fused")


def batch(place):
    """The batch at a place, which starts again where the samples end."""
    rows = slice(place % BATCHES * 32, place % BATCHES * 32 + 32)
    return X[rows].astype("float32"), Y[rows]


def unsized(batches=BATCHES):
    return tf.data.Dataset.from_generator(lambda: map(batch, range(batches)), output_signature=SPEC)


class Counting:
    """Batches that count how many were drawn."""

    def __init__(self, batches=1000):
        self.batches = batches
        self.drawn = 0

    def __iter__(self):
        for place in range(self.batches):
            self.drawn += 1
            yield batch(place)


def not_ahead(dataset):
    """The dataset without the prefetch that tf.data appends, which draws ahead as it likes."""
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.inject_prefetch = False
    return dataset.with_options(options)


def drawn_by(counting):
    return not_ahead(tf.data.Dataset.from_generator(lambda: iter(counting), output_signature=SPEC))


def fits():
    """Keras's fit, and ours under every plan; the model is the first argument."""
    yield keras.Model.fit
    for plan in PLANS:
        yield partial(loop.fit, plan=plan)


def fitted(fit, x, **arguments):
    keras.utils.set_random_seed(3)
    model = perceptron()
    fit(model, x=x, shuffle=False, verbose=0, **arguments)
    return model


@pytest.fixture
def calls(monkeypatch):
    """The concrete function of every call of a program."""
    made = []
    original = program.flat_call

    def counting(function):
        run = original(function)
        return lambda *arguments: made.append(function) or run(*arguments)

    monkeypatch.setattr(program, "flat_call", counting)
    return made


class StopAt(keras.callbacks.Callback):
    """Stops training after a batch."""

    def __init__(self, batch):
        super().__init__()
        self.batch = batch

    def on_train_batch_end(self, batch, logs=None):
        self.model.stop_training = batch == self.batch


@pytest.mark.sampled
@pytest.mark.filterwarnings("ignore:Your input ran out of data")
@pytest.mark.parametrize("make", [unsized, lambda: map_of(unsized())], ids=["plain", "filtered"])
def test_a_pass_of_unknown_size_is_one_call_and_two_that_find_its_end(calls, make):
    fitted(fused, make(), epochs=3)
    assert len(calls) == 3 * 3  # all batches; none; the step that fails for want of a batch


def map_of(dataset):
    return dataset.filter(lambda x, y: True).prefetch(2)


@pytest.mark.long
def test_steps_per_epoch_over_a_pass_of_unknown_size_are_one_call_an_epoch(calls):
    fitted(fused, unsized(), epochs=2, steps_per_epoch=4)
    assert len(calls) == 2


def test_validation_on_data_of_unknown_size_is_one_call_and_two_that_find_its_end(calls):
    model = perceptron()
    with pytest.warns(UserWarning, match="ran out of data"):
        loop.evaluate(model, unsized(), verbose=0, plan="fused")
    assert len(calls) == 3


@pytest.mark.long
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"steps_per_epoch": 3, "epochs": 2}, 6),
        ({"steps_per_epoch": 5, "callbacks": lambda: [StopAt(2)]}, 3),
        ({"callbacks": lambda: [StopAt(6)]}, 7),
    ],
    ids=["epochs that end", "stopped in an epoch", "stopped in a pass"],
)
def test_no_batch_is_drawn_that_keras_would_not_draw(arguments, expected):
    drawn = []
    for fit in fits():
        counting = Counting()
        callbacks = {"callbacks": arguments["callbacks"]()} if "callbacks" in arguments else {}
        fitted(fit, drawn_by(counting), **{**arguments, **callbacks})
        drawn.append(counting.drawn)
    assert drawn == [expected] * 4


@pytest.mark.long
def test_a_call_without_time_left_draws_only_what_it_runs(monkeypatch):
    monkeypatch.setattr(program, "_seconds", lambda _: tf.constant(0.0, tf.float64))
    counting = Counting()
    fitted(fused, drawn_by(counting), steps_per_epoch=4, epochs=1)
    assert counting.drawn == 4


@pytest.mark.long
def test_a_batch_computed_from_the_weights_is_drawn_after_the_step_before():
    def trained(fit):
        keras.utils.set_random_seed(3)
        sizes = 1000, 1000, 1  # a step that takes longer than drawing a batch
        model = keras.Sequential([keras.Input((10,)), *map(keras.layers.Dense, sizes)])
        model.compile("adam", "mse")

        def batches():
            for place in range(BATCHES):
                x, y = batch(place)
                yield x + model.weights[0].numpy()[:, 0], y

        data = not_ahead(tf.data.Dataset.from_generator(batches, output_signature=SPEC))
        fit(model, x=data, shuffle=False, verbose=0, steps_per_epoch=BATCHES)
        return [weight.numpy() for weight in model.weights]

    theirs, *ours = map(trained, fits())
    for weights in ours:
        for expected, weight in zip(theirs, weights, strict=True):
            np.testing.assert_array_equal(weight, expected)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_a_loader_that_ends_before_its_stated_size_keeps_the_logs_of_the_epoch():
    data = pytest.importorskip("torch.utils.data")

    class Shorter(data.IterableDataset):
        def __len__(self):
            return BATCHES

        def __iter__(self):
            return map(batch, range(BATCHES - 3))

    losses = []
    for fit in fits():
        keras.utils.set_random_seed(3)
        loader = data.DataLoader(Shorter(), batch_size=None)
        history = fit(perceptron(), x=loader, epochs=2, shuffle=False, verbose=0)
        losses.append(history.history["loss"])
    assert losses == [losses[0]] * len(losses)
    assert len(losses[0]) == 2


class Broken(keras.utils.PyDataset):
    """Batches of which the fifth cannot be loaded."""

    def __len__(self):
        return BATCHES

    def __getitem__(self, place):
        if place == 4:
            raise KeyError("no batch 4")
        return batch(place)


def broken():
    broken = Broken()
    return (broken[place] for place in range(BATCHES))


def torch_loader():
    torch = pytest.importorskip("torch.utils.data")
    return torch.DataLoader(Broken(), batch_size=None)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "make",
    [
        Broken,
        lambda: Broken(workers=2),
        broken,
        lambda: tf.data.Dataset.from_generator(broken, output_signature=SPEC),
        torch_loader,
    ],
    ids=["PyDataset", "PyDataset with workers", "generator", "dataset", "torch loader"],
)
def test_an_error_in_code_that_loads_batches_is_raised_as_keras_raises_it(make):
    raised = []
    for fit in fits():
        keras.utils.set_random_seed(3)
        model = perceptron()
        with pytest.raises(Exception, match="no batch 4") as caught:
            fit(model, x=make(), shuffle=False, verbose=0)
        raised.append((caught.type, int(model.optimizer.iterations)))
    assert raised == [raised[0]] * len(raised)
