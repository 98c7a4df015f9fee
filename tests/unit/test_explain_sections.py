"""What `loop.explain` says of data, losses, metrics, callbacks and an epoch, held against a fit."""

import io
import re

import keras
import pytest
import tensorflow as tf
from keras import layers

import loop
from compare import find
from compare.scenarios.first import perceptron, uniform
from loop.callbacks import logs_only, register_cadence

X, Y = uniform(70)


@pytest.fixture
def model():
    keras.utils.set_random_seed(3)
    return perceptron()


def words(found):
    """The text of an explanation on one line."""
    return " ".join(str(found).split())


@pytest.mark.long
def test_the_sizes_of_the_batches_are_given_and_what_that_means_for_the_graph(model):
    text = words(loop.explain(model, X, Y, epochs=4))
    assert "x (70, 10) float64, as given" in text
    assert "3 batches an epoch: 2 with 32 samples and a short last one with 6 (70 samples)" in text
    assert "epochs 4, 12 steps in all" in text
    assert "x (?, 10) float32" in text
    assert "not part of the graph: the last batch has 6" in text
    text = words(loop.explain(model, X[:64], Y[:64]))
    assert "2 batches an epoch: 2 with 32 samples order" in text
    assert "x (32, 10) float32" in text
    assert "32, part of the graph: all batches have it" in text


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "the same in each epoch: that is what fit does under a global seed (3)"),
        ({"shuffle": False}, "that of the arrays (shuffle=False)"),
        ({"shuffle": "batch"}, "batches stay in place, their rows are shuffled"),
        ({"class_weight": {1: 9.0}}, "(class 1: 9; any other class: 1)"),
        ({"sample_weight": Y + 1.0}, "metrics= do not see it"),
        ({"steps_per_epoch": 2, "batch_size": 10}, "cut by steps_per_epoch"),
        ({"validation_split": 0.2}, "split off before shuffling (0.2), 14 samples, 1 batch,"),
        ({"validation_data": (X, Y), "validation_freq": 2}, "3 batches, every 2 epochs"),
        ({"validation_data": (X, Y), "validation_freq": [1, 3]}, "after epochs 1, 3 counted"),
        ({"initial_epoch": 1, "epochs": 3}, "2, the first is epoch 1 counted from 0, 6 steps"),
    ],
    ids=lambda value: next(iter(value), "default") if isinstance(value, dict) else "",
)
def test_what_is_said_of_the_data_follows_the_arguments(model, options, said):
    assert said in words(loop.explain(model, X, Y, **options))


def test_without_a_global_seed_the_order_is_said_to_be_new_in_each_epoch(model):
    tf.random.set_seed(None)
    try:
        assert "another one in each epoch" in words(loop.explain(model, X, Y))
    finally:
        tf.random.set_seed(0)


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("dataset", "a tf.data.Dataset, which batches, shuffles and repeats by itself"),
        ("pydataset", "a PyDataset: Python code, from which tf.data takes batches by index"),
        ("generator", "a generator: Python code, from which tf.data takes batches in its order"),
        ("sparse_tensor", "because an array is sparse or ragged"),
    ],
)
def test_the_source_is_named_with_the_reason(name, said):
    (scenario,) = find([name])
    assert said in words(loop.explain(scenario.build(), **scenario.data()))


@pytest.mark.long
def test_losses_and_metrics_are_those_that_compile_resolved():
    (scenario,) = find(["dict_losses"])
    for plan in ("auto", "step"):
        text = words(loop.explain(scenario.build(), **scenario.data(), plan=plan))
        assert re.search(r"price +mean_squared_error +0.3 +sum_over_batch_size", text)
        assert re.search(r"kind +sparse_categorical_crossentropy +2 +sum_over_batch_size", text)
        assert re.search(
            r"kind_accuracy +SparseCategoricalAccuracy targets and predictions, without", text
        )
        assert re.search(
            r"price_loss +Mean +the loss of that output, without its loss weight", text
        )
        assert re.search(r"kind_weighted_accuracy \w+ targets and predictions, with\b", text)


@pytest.mark.long
def test_every_log_of_a_fit_is_in_the_table_of_metrics():
    for name in ("dict_losses", "random_labels", "masked_sequences", "nested_outputs"):
        (scenario,) = find([name])
        model = scenario.build()
        found = loop.explain(model, **scenario.data())
        history = loop.fit(model, **scenario.data())
        for log in history.history:
            assert re.search(rf"^ +{log.removeprefix('val_')} ", str(found), re.M), log


@pytest.mark.long
def test_the_optimizer_is_given_with_its_settings(model):
    model.compile(keras.optimizers.Adam(0.002, clipnorm=1.0), "mse")
    text = words(loop.explain(model, X, Y))
    assert "Adam(learning_rate=0.002, clipnorm=1, beta_1=0.9, beta_2=0.999, epsilon=1e-07)" in text
    assert "193 weights in 4 variables" in text
    assert "a variable: a callback may set it" in text
    rate = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)
    model.compile(keras.optimizers.SGD(rate), "mse")
    assert "a schedule, computed in the graph" in words(loop.explain(model, X, Y))


class Listening(keras.callbacks.Callback):
    """Writes down the hooks that fit calls, with the names of their logs."""

    def __init__(self):
        super().__init__()
        self.heard = []

    def on_train_begin(self, logs=None):
        self.heard.append(("on_train_begin", tuple(logs or ())))

    def on_train_end(self, logs=None):
        self.heard.append(("on_train_end", tuple(logs or ())))

    def on_epoch_begin(self, epoch, logs=None):
        self.heard.append((f"on_epoch_begin({epoch})", tuple(logs or ())))

    def on_epoch_end(self, epoch, logs=None):
        self.heard.append((f"on_epoch_end({epoch})", tuple(logs or ())))

    def on_train_batch_begin(self, batch, logs=None):
        self.heard.append((f"on_train_batch_begin({batch})", tuple(logs or ())))

    def on_train_batch_end(self, batch, logs=None):
        self.heard.append((f"on_train_batch_end({batch})", tuple(logs or ())))

    def on_test_begin(self, logs=None):
        self.heard.append(("on_test_begin", tuple(logs or ())))

    def on_test_batch_begin(self, batch, logs=None):
        self.heard.append((f"on_test_batch_begin({batch})", tuple(logs or ())))

    def on_test_batch_end(self, batch, logs=None):
        self.heard.append((f"on_test_batch_end({batch})", tuple(logs or ())))

    def on_test_end(self, logs=None):
        self.heard.append(("on_test_end", tuple(logs or ())))


@pytest.mark.sampled
@pytest.mark.parametrize("plan", ["auto", "step"])
@pytest.mark.parametrize("steps_per_execution", [1, 2])
def test_the_timeline_is_what_a_callback_hears(model, plan, steps_per_execution):
    model.steps_per_execution = steps_per_execution
    arguments = {"validation_data": (X[:40], Y[:40]), "verbose": 0, "plan": plan}
    callback = Listening()
    found = loop.explain(model, X, Y, **arguments, callbacks=[callback])
    assert callback.heard == []
    events = [
        (event.name, event.logs) for event in found.timeline.events if "Listening" in event.who
    ]
    loop.fit(model, X, Y, **arguments, callbacks=[callback])
    assert events == callback.heard


def test_the_calls_of_the_timeline_run_all_steps(model):
    silent = loop.explain(model, X, Y, epochs=3, verbose=0)
    (call,) = [event for event in silent.timeline.events if event.kind == "call"]
    assert call.name == "call: up to 3 epochs"
    every_second = logs_only(Listening())
    read = loop.explain(model, X, Y, verbose=0, callbacks=[every_second])
    (call,) = [event for event in read.timeline.events if event.kind == "call"]
    assert call.name == "call: steps 0 to 2"
    assert "logs of each step are kept" in call.about


class EveryOther(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        pass


register_cadence(EveryOther, lambda callback, batch: batch | 1)


def test_a_cadence_divides_the_steps_and_long_epochs_are_shortened(model):
    found = loop.explain(model, X, Y, batch_size=10, verbose=0, callbacks=[EveryOther()])
    calls = [event.name for event in found.timeline.events if event.kind == "call"]
    assert calls == ["call: steps 0 to 1", "call: steps 2 to 3", "call: steps 4 to 5"]
    assert "... and so on up to step 6" in [event.name for event in found.timeline.events]


def test_callbacks_come_in_the_order_of_their_calls_with_what_they_watch(model):
    found = loop.explain(
        model, X, Y, callbacks=[EveryOther(), keras.callbacks.EarlyStopping()], epochs=2
    )
    text = str(found)
    assert re.search(r"1 +EveryOther +you +train_batch_end +looks at some batches", text)
    assert re.search(r"2 +EarlyStopping +you", text)
    assert re.search(r"3 +History +fit", text)
    assert re.search(r"4 +ProgressBar +fit", text)


def test_what_cannot_be_known_before_the_first_batch_is_said():
    unbuilt = keras.Sequential([layers.Dense(1)])
    unbuilt.compile("sgd", "mse", metrics=["mae"])
    found = loop.explain(unbuilt, X, Y, validation_split=0.2, verbose=0)
    events = {event.name: event.logs for event in found.timeline.events}
    assert events["on_test_begin"] == events["on_epoch_end(0)"] == (), "some logs are unknown"
    text = words(loop.explain(unbuilt, X, Y))
    assert "Losses and metrics are resolved at the first predictions." in text
    assert "3 batches an epoch" in text

    def endless():
        while True:
            yield X[:10], Y[:10]

    text = words(loop.explain(perceptron(), endless(), steps_per_epoch=5, shuffle=False))
    assert "Known once the first batch is drawn." in text
    assert "decided once the first batch is drawn" in str(
        loop.explain(perceptron(), endless(), steps_per_epoch=5, shuffle=False).timeline
    )


@pytest.mark.parametrize("name", ["own_train_step", "own_loss_and_metrics", "add_loss_only"])
def test_what_is_a_models_own_is_said_to_be(name):
    (scenario,) = find([name])
    text = words(loop.explain(scenario.build(), **scenario.data()))
    said = {
        "own_train_step": "The model has its own train_step",
        "own_loss_and_metrics": "The model has its own compute_loss",
        "add_loss_only": "No loss is compiled: the layers add all of the objective.",
    }
    assert said[name] in text


@pytest.mark.sampled
@pytest.mark.parametrize(
    "name", ["random_labels", "dict_losses", "early_stopping", "nested_outputs"]
)
def test_no_line_below_the_plan_is_wider_than_80_columns(name):
    (scenario,) = find([name])
    found = loop.explain(scenario.build(), **scenario.data(), step=True)
    below = str(found).split("\n\nDATA\n")[1]
    assert max(len(line) for line in below.splitlines()) <= 80
    assert "…" not in below


@pytest.mark.long
def test_rich_prints_the_same_words(model):
    from rich.console import Console

    found = loop.explain(model, X, Y, step=True)
    console = Console(width=80, force_terminal=True, record=True, file=io.StringIO())
    console.print(found)
    assert console.export_text().split() == str(found).split()
    assert repr(found) == str(found), "in an interactive session, too"
