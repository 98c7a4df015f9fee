"""Callbacks: told of everything in Keras's order, heard at once, and never silenced."""

import io
import re
import sys
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
import tqdm

import loop
from compare import Recorder
from loop.callbacks.terminal import layout

X = np.random.default_rng(0).uniform(size=(64, 4)).astype("float32")
Y = (X.sum(axis=1) > 2).astype("float32")
HOOKS = [
    *("on_train_begin", "on_epoch_begin", "on_train_batch_begin", "on_train_batch_end"),
    *("on_test_begin", "on_test_batch_begin", "on_test_batch_end", "on_test_end"),
    *("on_epoch_end", "on_train_end"),
]
COMPILED = ("on_train_batch_end", "on_test_batch_begin", "on_epoch_end")
"""Hooks that are tried with compiled steps; the others run eagerly, which is faster."""

ENGINES = {"model.fit": keras.Model.fit, "loop.fit": loop.fit}


def model(run_eagerly=False):
    keras.backend.clear_session()
    keras.utils.set_random_seed(1)
    built = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, "sigmoid")])
    metrics = ["accuracy"]
    built.compile("sgd", "binary_crossentropy", metrics=metrics, run_eagerly=run_eagerly)
    return built


def reacting(hook, reaction):
    """A callback that reacts to the second call of one hook (the first, where there is one)."""
    calls = []

    def react(self, *arguments, **named):
        calls.append(hook)
        if len(calls) == (1 if hook in ("on_train_begin", "on_train_end") else 2):
            reaction(self.model)

    return type("Reacting", (keras.callbacks.Callback,), {hook: react})()


def trained(engine, callback, run_eagerly=False):
    built, recorder = model(run_eagerly), Recorder()
    raised = None
    arguments = {"batch_size": 16, "epochs": 3, "validation_split": 0.5, "verbose": 0}
    try:
        ENGINES[engine](built, X, Y, callbacks=[callback, recorder], **arguments)
    except Exception as error:
        raised = error
    return (
        recorder.events,
        [keras.ops.convert_to_numpy(v).tobytes() for v in built.variables],
        repr(raised),
    )


@pytest.mark.sampled
@pytest.mark.parametrize("hook", HOOKS)
def test_stop_training_is_heard_wherever_it_is_set(hook):
    def stop(model):
        model.stop_training = True

    run_eagerly = hook not in COMPILED
    ours = trained("loop.fit", reacting(hook, stop), run_eagerly)
    assert ours == trained("model.fit", reacting(hook, stop), run_eagerly)


@pytest.mark.sampled
@pytest.mark.parametrize("hook", HOOKS)
def test_exceptions_rise_raw_and_nothing_is_called_after(hook):
    def fail(model):
        raise RuntimeError(f"from {hook}")

    run_eagerly = hook not in COMPILED
    ours = trained("loop.fit", reacting(hook, fail), run_eagerly)
    assert ours == trained("model.fit", reacting(hook, fail), run_eagerly)
    assert ours[-1] == repr(RuntimeError(f"from {hook}"))


@pytest.mark.long
def test_a_callback_may_give_the_model_another_step():
    def another_step(data):
        return {"z": tf.reduce_sum(data[0])}

    def give(model):
        model.train_step = another_step
        model.make_train_function(force=True)

    ours = trained("loop.fit", reacting("on_train_batch_end", give))
    assert ours == trained("model.fit", reacting("on_train_batch_end", give))


def test_a_keyboard_interrupt_rises_too():
    def interrupt(model):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained("loop.fit", reacting("on_train_batch_end", interrupt))


@pytest.mark.sampled
@pytest.mark.parametrize("engine", ENGINES)
def test_an_own_history_is_returned_and_keeps_its_place(engine):
    own, built = keras.callbacks.History(), model()
    returned = ENGINES[engine](built, X, Y, callbacks=[own], verbose=0)
    assert returned is own
    assert built.history is own


def test_a_ready_callback_list_is_taken_as_it_is():
    built, recorder = model(), Recorder()
    history = keras.callbacks.History()
    ready = keras.callbacks.CallbackList([recorder, history], model=built, epochs=1, steps=8)
    assert loop.fit(built, X, Y, batch_size=8, callbacks=ready, verbose=0) is history
    assert [event.hook for event in recorder.events].count("on_train_batch_end") == 8


def test_callbacks_may_be_nested_or_alone():
    for callbacks in (Recorder(), [[Recorder()], [Recorder()]], (), None):
        history = loop.fit(model(), X, Y, callbacks=callbacks, verbose=0)
        assert list(history.history) == ["accuracy", "loss"]


def test_all_callbacks_of_an_event_share_one_dict():
    class Adds(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["added"] = 7.0

    assert loop.fit(model(), X, Y, callbacks=[Adds()], verbose=0).history["added"] == [7.0]


@pytest.fixture
def terminal(monkeypatch):
    """Standard output as a terminal: `terminal(columns)` makes it one, `.screen()` is its text."""

    class Terminal(io.StringIO):
        encoding = "utf-8"  # else tqdm draws with "#"

        def __call__(self, columns, lines=24):
            monkeypatch.setenv("COLUMNS", str(columns))
            monkeypatch.setenv("LINES", str(lines))
            monkeypatch.setattr(sys, "stdout", self)

        def isatty(self):
            return True

        def screen(self):
            """The lines on the screen, after carriage returns and moves up."""
            lines, row, column = [""], 0, 0
            for part in re.findall(r"\x1b\[A|[\r\n]|[^\x1b\r\n]+", self.getvalue()):
                if part == "\x1b[A":
                    row -= 1
                elif part == "\r":
                    column = 0
                elif part == "\n":
                    row, column = row + 1, 0
                    lines += [""] * (row + 1 - len(lines))
                else:
                    line = lines[row].ljust(column)
                    lines[row] = line[:column] + part + line[column + len(part) :]
                    column += len(part)
            return [line.rstrip() for line in lines]

    return Terminal()


FOUR = ("accuracy=", " loss=", "val_accuracy=", "val_loss=")


@pytest.mark.parametrize("verbose", [1, "auto"])
@pytest.mark.parametrize("columns", [40, 80, 100, 200])
def test_a_bar_for_each_epoch_shows_every_metric_in_a_terminal(terminal, columns, verbose):
    terminal(columns)
    loop.fit(model(), X, Y, batch_size=8, epochs=2, validation_split=0.5, verbose=verbose)
    lines = terminal.screen()
    assert max(map(len, lines)) <= columns
    second = next(place for place, line in enumerate(lines) if line.startswith("Epoch 2/2 "))
    for epoch in (lines[:second], lines[second:]):
        assert epoch[0].startswith("Epoch ")
        for metric in FOUR:
            assert re.search(rf"{metric}\d\.\d\d\d", "\n ".join(epoch)), metric
    assert (second == 1) == (columns >= 80), "one line an epoch from 80 columns on"
    if columns in (80, 200):
        assert ("4/4" in lines[0]) == ("█" in lines[0]) == (columns == 200)


def many_outputs(count=10):
    inputs = keras.Input((4,))
    outputs = [keras.layers.Dense(1, name=f"output_{place}")(inputs) for place in range(count)]
    built = keras.Model(inputs, outputs)
    built.compile("sgd", "mse", metrics=[["mae"]] * count)
    return built


@pytest.mark.long
def test_the_metrics_of_ten_outputs_stand_on_lines_of_their_own(terminal):
    terminal(80)
    arguments = {"epochs": 2, "validation_split": 0.5}
    history = loop.fit(many_outputs(), X, [Y] * 10, **arguments).history
    lines = terminal.screen()
    assert max(map(len, lines)) <= 80
    starts = [place for place, line in enumerate(lines) if line.startswith("Epoch ")]
    assert len(starts) == 2
    for first, last in ((0, starts[1]), (starts[1], len(lines))):
        shown = re.findall(r"(\w+)=", " ".join(lines[first:last]))
        assert shown == list(history)
        assert "█" in lines[first]


def test_running_metrics_are_drawn_while_an_epoch_runs(terminal):
    class Slow(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            time.sleep(0.06)

        def on_train_batch_end(self, batch, logs=None):
            seen.append(terminal.screen()[-2:])

    seen = []
    terminal(80)
    loop.fit(model(), X, Y, batch_size=8, callbacks=[Slow()])
    assert any(
        re.search(r"Epoch 1/1 .*[1-7]/8 .*accuracy=0\.\d+ loss=0\.\d+$", s[-1]) for s in seen
    )


def test_an_exception_closes_the_bar_and_ends_its_line(terminal):
    class Interrupts(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise KeyboardInterrupt

    terminal(80)
    with pytest.raises(KeyboardInterrupt) as caught:  # holds the bar, as a traceback does
        loop.fit(model(), X, Y, batch_size=8, callbacks=[Interrupts()])
    print("interrupted", file=terminal)
    assert caught.traceback
    loop.fit(model(), X, Y, batch_size=8)
    first, second, third = (line for line in terminal.screen() if line)
    assert first.startswith("Epoch 1/1 ")
    assert second == "interrupted"
    assert third.startswith("Epoch 1/1 ")


@pytest.mark.long
def test_a_bar_inside_the_bar_of_a_user_leaves_both_whole(terminal):
    terminal(80)
    for _ in tqdm.tqdm(range(2), desc="mine", file=sys.stdout):
        loop.fit(many_outputs(2), X, [Y] * 2, epochs=2, validation_split=0.5)
    lines = terminal.screen()
    assert [line[:9] for line in lines if line[:1] not in ("", " ")] == [
        *["Epoch 1/2", "Epoch 2/2"] * 2,
        "mine: 100",
    ]
    metrics = [line for line in lines if line.startswith("  ")]
    assert len(re.findall(r"\w+=", "".join(metrics))) == 4 * 10
    assert all(re.fullmatch(r"(  ?\w+=[\d.]+)+", line) for line in metrics), metrics


@pytest.mark.parametrize("verbose", [1, 2, "auto"])
def test_one_line_an_epoch_on_standard_output_where_it_is_no_terminal(capsys, verbose):
    built = model()
    loop.fit(built, X, Y, epochs=2, validation_split=0.5, verbose=verbose)
    loop.evaluate(built, X, Y, verbose=verbose)
    loop.predict(built, X, verbose=verbose)
    out, err = capsys.readouterr()
    assert err == ""
    assert "\r" not in out
    assert "\b" not in out
    lines = out.splitlines()
    titles = [line.split(" - ")[0] for line in lines]
    assert titles == ["Epoch 1/2", "Epoch 2/2", "Evaluate", "Predict"]
    for metric in ("accuracy: ", "loss: ", "val_accuracy: ", "val_loss: "):
        assert metric in lines[1]


def test_where_interactive_logging_is_off_lines_go_to_the_log(terminal, monkeypatch, caplog):
    terminal(80)
    monkeypatch.setattr(keras.config, "is_interactive_logging_enabled", lambda: False)
    with caplog.at_level("INFO", logger="absl"):
        loop.fit(model(), X, Y, epochs=2)
    assert terminal.getvalue() == ""
    titles = [record.getMessage()[:9] for record in caplog.records if record.name == "absl"]
    assert titles == ["Epoch 1/2", "Epoch 2/2"]


def test_silence(capsys):
    built = model()
    loop.fit(built, X, Y, validation_split=0.5, verbose=0)
    loop.evaluate(built, X, Y, verbose=0)
    loop.predict(built, X, verbose=0)
    assert capsys.readouterr() == ("", "")


def test_a_bar_of_an_unknown_length_counts_on_and_knows_it_afterwards(terminal):
    batches = tf.data.Dataset.from_tensor_slices((X, Y)).batch(8).filter(lambda x, y: True)
    terminal(100)
    with pytest.warns(UserWarning, match="ran out of data"):
        loop.fit(model(), batches, epochs=2, shuffle=False)
    first, second, *_ = terminal.screen()
    assert first.startswith("Epoch 1/2 8 steps ")
    assert re.match("Epoch 2/2 █+ 8/8 ", second)


def test_evaluate_and_predict_have_bars_of_their_own(terminal):
    built = model()
    terminal(80)
    loop.evaluate(built, X, Y, batch_size=8)
    loop.predict(built, X, batch_size=8)
    evaluated, predicted, *_ = terminal.screen()
    assert re.fullmatch(r"Evaluate █+ 8/8 .* accuracy=0\.\d+ loss=0\.\d+", evaluated)
    assert re.fullmatch(r"Predict █+ 8/8 .*step", predicted)


@pytest.mark.long
def test_a_notebook_has_one_line_that_wraps_by_itself(monkeypatch, terminal):
    terminal(80)
    monkeypatch.setattr(type(terminal), "isatty", lambda self: False)
    monkeypatch.setattr(type(terminal), "__module__", "ipykernel.iostream")
    loop.fit(many_outputs(), X, [Y] * 10, validation_split=0.5)
    line, *rest = terminal.screen()
    assert not any(rest)
    assert "\x1b" not in terminal.getvalue()
    assert len(re.findall(r"\w+=", line)) == 42


@pytest.mark.parametrize("columns", [1, 10, 20, 33, 40, 66, 80])
def test_no_line_is_wider_than_the_terminal_and_no_metric_is_lost(columns):
    heads = ["10/20 00:01<00:02  12ms/step", "10/20 00:01<00:02", "10/20"]
    metrics = ["a_metric_with_a_long_name=0.1234", "{braces}=1.000", "loss=12.35"]
    lines = [line.format(bar="#####") for line in layout("Epoch 1/2", heads, metrics, columns)]
    assert re.sub(r"\s", "", "".join(lines)).endswith("".join(metrics))
    if columns >= 20:
        assert max(map(len, lines)) <= columns


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.53, "0.5300"), (12.345678, "12.35"), (1234.5, "1234"), (1e-5, "1.000e-05"), ("x", "x")],
)
def test_numbers_have_four_digits(terminal, value, shown):
    class Adds(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["added"] = value

    terminal(80)
    loop.fit(model(), X, Y, callbacks=[Adds()])
    assert f" added={shown}" in terminal.getvalue()
