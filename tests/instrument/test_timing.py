"""The measuring core: each column comes from one function, and no table is ever cut."""

import ast
import dataclasses
import importlib
import io
import json
import math
import os
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
import typer
from keras.callbacks import Callback
from rich.console import Console
from typer.testing import CliRunner

import bench.limits
import bench.peers.measure
import bench.plots
import bench.report
import loop
from bench import page
from bench.__main__ import main
from bench.callbacks import WITH_CALLBACKS
from bench.cold import COLD
from bench.engines import engines_for
from bench.methods import METHODS, each_batch
from bench.peers.measure import Result
from bench.peers.peers import ALL
from bench.peers.process import Settings
from bench.peers.report import print_report
from bench.sources import SOURCES, STEPS
from bench.workloads import WORKLOADS, Workload, mlp
from compare.cli.commands import app
from compare.errors import CandidateError, ScenarioError
from compare.execution import ladder
from compare.output.as_json import write_json
from compare.scenario import Scenario
from compare.timing import clock, costs, device, tables
from compare.timing import tuned as tuning
from compare.timing.closeness import State, class_of, state_of
from compare.timing.costs import Cost, Costs, median_and_lowest
from compare.timing.engines import (
    AGAIN,
    ARRAYS_ONLY,
    AUTO,
    BARE_STEP,
    EAGER,
    FASTEST,
    HAND_WRITTEN,
    LADDER,
    MODEL_FIT,
    STEP,
    Engine,
)
from compare.timing.growth import GROWS
from compare.timing.kernels import Kernels, covered, kernels, op_of
from compare.timing.measure import ThisProcess, measure, measure_cold
from compare.timing.split import PARTS, Event
from compare.timing.training import first_fits, new_training, seconds_of

ROOT = Path(__file__).parents[2]


def build():
    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((6,)), layers.Dense(8, "relu"), layers.Dense(1, "sigmoid")]
    )
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    return model


def data():
    x = np.random.default_rng(2).normal(size=(48, 6)).astype("float32")
    return {"x": x, "y": (x.sum(1) > 0).astype("float32"), "batch_size": 8, "epochs": 2}


SMALL = Scenario("small", "six steps an epoch", build, data)


PLANS = [AUTO.name, FASTEST.name]


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


# One formula for each column.


def test_bench_and_compare_compute_a_column_by_the_same_function():
    assert bench.report.Costs is tables.Costs is costs.Costs
    assert bench.plots.microseconds is bench.limits.microseconds is clock.microseconds
    assert bench.peers.measure.microseconds is costs.microseconds is clock.microseconds
    assert bench.peers.measure.ratio is costs.ratio is clock.ratio
    assert bench.report.print_costs is tables.print_costs


def test_bench_has_no_clock_and_no_statistics_of_its_own():
    for path in sorted((ROOT / "bench").glob("*.py")):
        used = {imported.split(".")[0] for imported in imports(path)}
        assert not used & {"time", "timeit", "statistics", "scipy", "resource", "subprocess"}, path


def test_the_core_uses_only_public_names_of_loop_and_nothing_that_stands_above_it():
    above = ("bench", "tests", "compare.execution", "compare.output", "compare.cli")
    for path in sorted((ROOT / "compare/timing").glob("*.py")):
        for imported in imports(path):
            assert not imported.startswith(("loop.", *above)), f"{path.name} imports {imported}"


def test_a_step_takes_the_median_of_whole_fits_divided_by_the_steps():
    found = Costs("any", 40, {MODEL_FIT.name: Cost(1.0, [3.0, 1.0, 2.0])})
    assert found.microseconds(MODEL_FIT.name) == clock.microseconds([3.0, 1.0, 2.0], 40) == 50_000


def test_what_is_over_the_bare_step_is_divided_by_it():
    engines = {AUTO.name: Cost(1.0, [1.0], per_step=3e-4), BARE_STEP.name: Cost(1.0, [1.0])}
    assert Costs("any", 1, engines).over_bare_step(AUTO.name) is None
    engines[BARE_STEP.name] = dataclasses.replace(engines[BARE_STEP.name], per_step=2e-4)
    assert Costs("any", 1, engines).over_bare_step(AUTO.name) == pytest.approx(1.5)


def test_the_class_is_that_of_the_variables_of_the_models_that_were_timed():
    def state(*values, steps=3, dtype=np.float32):
        return State([np.array(values, dtype)], steps)

    reference = state(3.0, 4.0)
    assert class_of(state(3.0, 4.0), reference) == "exact"
    assert class_of(state(3.0, 4.0), reference, exact="exact-xla") == "exact-xla"
    assert class_of(state(3.0, 4.5), reference, under_xla=state(3.0, 4.5)) == "exact-xla"
    assert class_of(state(3.0, 4.5), reference, under_xla=state(3.0, 4.6)) == "close, 1e-01"
    assert class_of(state(3.0, math.nan), reference) == "close, nan"
    assert class_of(state(3.0, 4.0, steps=4), reference) == "-"
    assert class_of(state(3.0), reference) == "-"
    assert class_of(state(3.0, 4.0, dtype=np.float64), reference) == "-"


def test_what_was_returned_is_compared_where_the_reference_returned_numbers():
    model = build()
    fitted = state_of(model, keras.callbacks.History())
    predicted, another = state_of(model, [1.0, 2.0]), state_of(model, [1.0, 3.0])
    assert fitted.returned == state_of(model).returned == state_of(model, [object()]).returned == []
    assert class_of(predicted, fitted) == class_of(predicted, predicted) == "exact"
    assert class_of(another, predicted).startswith("close, ")
    assert class_of(fitted, predicted) == "-"


# What is timed.


def fails(model, **_):
    raise RuntimeError("no such engine")


@pytest.mark.long
def test_engines_are_measured_side_by_side_and_a_failure_of_one_spares_the_others():
    engines = [MODEL_FIT, EAGER, AUTO, BARE_STEP, Engine("broken", fails), AGAIN]
    found = measure(SMALL, engines, ThisProcess(), rounds=3, seconds=1.0)
    assert list(found.engines) == [MODEL_FIT.name, EAGER.name, AUTO.name, BARE_STEP.name]
    assert found.failed == {"broken": "RuntimeError: no such engine"}
    assert found.steps == 12
    assert found.noise.rounds == len(found.again) == len(found.engines[AUTO.name].seconds) == 3
    exactness = {name: cost.exactness for name, cost in found.engines.items()}
    assert exactness[MODEL_FIT.name] == exactness[AUTO.name] == "exact"
    assert exactness[BARE_STEP.name] == "-", "it trains on one batch"
    assert found.engines[EAGER.name].traces == 24, "once a step"
    assert found.engines[AUTO.name].traces <= 3


@pytest.mark.parametrize(("steps", "fits"), [(0, 0), (30, 3), (10**6, 10)])
def test_every_engine_trains_so_many_steps_before_the_rounds_in_ten_fits_at_most(steps, fits):
    calls = []

    def fit(model, **_):
        calls.append(model)
        model.optimizer.iterations.assign_add(12)

    engine = dataclasses.replace(MODEL_FIT, fit=fit)
    measure(SMALL, [engine], ThisProcess(), rounds=1, seconds=1.0, warm_up=steps)
    assert len(calls) == 2 + fits + 1


def test_without_the_reference_there_is_nothing_to_measure():
    broken = dataclasses.replace(SMALL, data=lambda: data() | {"y": np.ones(3)})
    with pytest.raises(ScenarioError, match=r"small: model\.fit raised ValueError"):
        measure(broken, [MODEL_FIT, AUTO], ThisProcess(), rounds=3, seconds=1.0)


@pytest.mark.long
def test_a_model_fit_that_does_not_repeat_itself_is_not_called_exact():
    def build_at_random():
        model = build()
        model.layers[0].bias.assign(tf.random.normal([8], seed=next(seeds)))
        return model

    seeds = iter(range(10))
    scenario = dataclasses.replace(SMALL, build=build_at_random)
    found = measure(scenario, [MODEL_FIT, AGAIN], ThisProcess(), rounds=3, seconds=1.0)
    assert found.engines[MODEL_FIT.name].exactness.startswith("close, ")


@pytest.mark.long
def test_cold_fits_train_a_new_model_every_round_and_trace_it_on_the_clock():
    built = []

    def build_and_count():
        built.append(build())
        return built[-1]

    scenario = dataclasses.replace(SMALL, build=build_and_count)
    found = measure_cold(scenario, [MODEL_FIT, AUTO], ThisProcess(), rounds=3)
    assert len(built) == 6
    assert found.steps == 12
    assert found.engines[AUTO.name].exactness == "exact"
    assert found.engines[AUTO.name].first in found.engines[AUTO.name].seconds


class Recording(ThisProcess):
    """Writes down what it is asked for."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def begin(self, scenario, engine):
        self.asked.append(("begin", engine.name))
        assert not self.trainings, "nothing else is held while a first fit is timed"
        return super().begin(scenario, engine)

    def end(self, engine):
        self.asked.append(("end", engine))
        super().end(engine)


def test_a_cold_fit_begins_when_the_one_before_it_is_let_go_and_the_order_alternates():
    place = Recording()
    idle = [
        dataclasses.replace(engine, fit=lambda model, **_: None) for engine in (MODEL_FIT, AUTO)
    ]
    measure_cold(SMALL, idle, place, rounds=2)
    names = [MODEL_FIT.name, AUTO.name, AUTO.name, MODEL_FIT.name]
    assert place.asked == [(what, name) for name in names for what in ("begin", "end")]


@pytest.mark.long
def test_an_engine_begins_in_a_process_that_has_trained_nothing():
    with ladder.OwnProcesses(1) as place:
        first = place.begin(SMALL, AUTO)
        assert first.steps == 12
        assert place.call(AUTO.name, lambda training: os.getpid()) != os.getpid()
        place.end(AUTO.name)


def test_a_cold_engine_that_fails_is_named():
    with pytest.raises(CandidateError, match="small: broken raised RuntimeError: no such engine"):
        measure_cold(SMALL, [Engine("broken", fails), MODEL_FIT], ThisProcess(), rounds=1)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_every_source_trains_the_same_number_of_steps():
    model = mlp()
    for workload in SOURCES:
        before = int(model.optimizer.iterations)
        seconds_of(keras.Model.fit, model, workload.scenario.data())
        counted = int(model.optimizer.iterations) - before
        assert counted in (STEPS, STEPS + 1), workload.name  # one more where the size is unknown


def test_a_method_is_called_on_every_batch_in_turn_and_keeps_what_it_returned():
    x, y = np.arange(7), np.arange(7) * 10
    called = each_batch(lambda model, *batch: batch, None, x, y, batch_size=3)
    assert [[array.tolist() for array in batch] for batch in called] == [
        [[0, 1, 2], [0, 10, 20]],
        [[3, 4, 5], [30, 40, 50]],
        [[6], [60]],
    ]
    assert [len(batch) for batch in each_batch(lambda model, *batch: batch, None, x)] == [1]


def test_a_method_is_timed_under_keras_and_under_ours():
    for workload in METHODS:
        engines = engines_for(workload, quick=True)
        assert [engine.name for engine in engines] == [MODEL_FIT.name, AUTO.name]
        assert engines == engines_for(workload, quick=False)
        assert (engines[0].fit, engines[1].fit) == workload.methods


@pytest.mark.long
def test_the_class_of_a_method_is_that_of_what_it_returned():
    def predict_a_little_more(model, x, verbose):
        return model.predict(x, verbose=verbose) + 1e-3

    scenario = dataclasses.replace(SMALL, data=lambda: {"x": data()["x"]})
    engines = [
        dataclasses.replace(MODEL_FIT, fit=keras.Model.predict),
        Engine("same", keras.Model.predict),
        Engine("more", predict_a_little_more),
    ]
    found = measure(scenario, engines, ThisProcess(), rounds=3, seconds=1.0)
    assert found.engines["same"].exactness == "exact"
    assert found.engines["more"].exactness.startswith("close, ")


def test_the_lowest_row_of_a_table_is_that_of_the_lowest_median():
    rows = [
        Costs(name, 1, {MODEL_FIT.name: Cost(1.0, [4.0]), AUTO.name: Cost(1.0, [seconds])})
        for name, seconds in (("a", 2.0), ("b", 8.0), ("c", 1.0))
    ]
    assert median_and_lowest(rows, AUTO.name) == (2.0, rows[1])


def test_kernels_are_ops_with_a_type_that_run_no_other_ops():
    assert op_of("while/body/dense_1/MatMul:_MklMatMul") == "_MklMatMul"
    for name in ("loop/while:While", "call:StatefulPartitionedCall", "EagerLocalExecute: Add"):
        assert op_of(name) is None
    assert op_of("ThreadpoolListener::Record") is None
    events = [Event(0, 10, "a"), Event(5, 12, "b"), Event(20, 21, "c"), Event(20, 20, "d")]
    assert covered(events[::-1]) == 13


@pytest.mark.long
def test_kernels_take_part_of_a_fit_and_have_no_time_beyond_their_threads():
    training = new_training(SMALL, STEP)
    first_fits(training)
    found = kernels(training)
    assert (found.engine, found.steps) == ("step", 12)
    assert 0 < found.busy < found.profiled
    assert 0 < found.outside < 1
    assert sum(found.ops.values()) == pytest.approx(found.at_once * found.busy)
    assert any("MatMul" in op for op in found.ops)


# Devices.


def test_the_cpu_is_named_without_tf32():
    assert device.is_here("cpu")
    assert device.described("cpu") == {"device": "cpu", "name": None, "tf32": False}
    assert device.in_words("cpu") == "device: CPU"


def test_a_gpu_is_named_and_its_tf32_stated(monkeypatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["a GPU"])
    details = {"device_name": "NVIDIA H100"}
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu: details)
    tf32 = tf.config.experimental.tensor_float_32_execution_enabled()
    assert device.described("gpu") == {"device": "gpu", "name": "NVIDIA H100", "tf32": tf32}
    assert device.in_words("gpu") == f"device: GPU, NVIDIA H100, TF32 {'on' if tf32 else 'off'}"


@pytest.mark.parametrize("wanted", ["gpu", "tpu"])
def test_without_a_device_nothing_is_measured_and_the_status_says_so(monkeypatch, wanted):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda *kind: [])
    bench_app = typer.Typer()
    bench_app.command()(main)
    for command, arguments in (
        (bench_app, []),
        (bench_app, ["--quick"]),
        (bench_app, ["--cold"]),
        (app, ["throughput", "random_labels"]),
        (app, ["throughput", "random_labels", "--detail"]),
    ):
        result = CliRunner().invoke(command, [*arguments, "--device", wanted])
        assert result.exit_code == 2, result.output
        assert ("sees no GPU here" if wanted == "gpu" else "'tpu'") in result.output


@pytest.mark.long
@pytest.mark.parametrize("engine", ARRAYS_ONLY, ids=lambda engine: engine.name)
def test_loops_without_a_fit_take_the_steps_of_a_fit_and_trace_the_model_once_or_twice(engine):
    training = new_training(SMALL, engine)
    for fits in (1, 2):
        training.seconds()
        assert int(training.model.optimizer.iterations) == 12 * fits
    assert first_fits(new_training(SMALL, engine)).traces <= 3


@pytest.mark.long
def test_the_bare_step_trains_as_loop_fit_does_on_the_first_batch():
    first_batch = {"x": data()["x"][:8], "y": data()["y"][:8], "batch_size": 8, "epochs": 5}
    scenario = dataclasses.replace(SMALL, data=lambda: first_batch)
    bare, fitted = (new_training(scenario, engine) for engine in (BARE_STEP, AUTO))
    before = bare.model.get_weights()[0]
    for training in (bare, fitted):
        training.seconds()
    assert np.abs(bare.model.get_weights()[0] - before).max() > 1e-3
    for ours, theirs in zip(bare.model.get_weights(), fitted.model.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.long
def test_a_tuned_model_is_new_and_has_the_settings_of_the_quickest_third_fit(monkeypatch):
    tried = []

    def third(scenario, together, jit):
        tried.append((together, jit))
        return timed(scenario, together, jit) if (together, jit) == (6, False) else math.inf

    timed = tuning._third
    monkeypatch.setattr(tuning, "_third", third)
    model = tuning.tuned(SMALL)
    assert set(tried) == {(1, False), (1, True), (6, False), (6, True)}
    assert (model.steps_per_execution, model.jit_compile) == (6, False)
    assert int(model.optimizer.iterations) == 0


@pytest.mark.long
def test_a_fit_with_a_progress_bar_is_timed_without_a_terminal(capfd):
    training = new_training(SMALL, AUTO)
    for fit in (MODEL_FIT.fit, AUTO.fit):
        assert seconds_of(fit, training.model, data() | {"verbose": "auto"}) > 0
    assert capfd.readouterr().out == ""


def test_seconds_are_those_of_the_fit_without_making_its_data():
    def slow_data():
        time.sleep(0.5)
        return data()

    scenario = dataclasses.replace(SMALL, data=slow_data)
    training = new_training(scenario, Engine("idle", lambda model, **_: None))
    assert training.seconds() < 0.4


def test_quick_times_plans_with_goals_and_plain_workloads_meet_every_engine():
    by_name = {workload.name: workload for workload in WORKLOADS}
    names = {name: [engine.name for engine in engines_for(by_name[name], True)] for name in by_name}
    assert names["mlp"] == [MODEL_FIT.name, AUTO.name, FASTEST.name, BARE_STEP.name]
    assert names["tf_data"] == [MODEL_FIT.name, AUTO.name]
    for name in ("cnn", "watched"):
        everything = engines_for(by_name[name], False)
        assert (HAND_WRITTEN in everything) is (BARE_STEP in everything) is (name == "cnn")


@pytest.mark.slow
def test_every_rung_of_the_ladder_is_measured_in_a_process_of_its_own():
    found = ladder.costs(SMALL, Engine("broken", fails))
    assert list(found.engines) == [engine.name for engine in LADDER]
    assert found.failed == {"broken": "RuntimeError: no such engine"}
    assert found.engines[AUTO.name].exactness == "exact"
    for cost in found.engines.values():
        assert sum(cost.shares.values()) == pytest.approx(1)
        assert cost.peak > 2**27
    for by_engine in found.scaling.values():
        assert list(by_engine) == [engine.name for engine in (MODEL_FIT, *LADDER[2:])]
        assert all(list(of_factor) == [1, 4, 16] for of_factor in by_engine.values())


# Tables.


def rendered(show, width=80):
    written = io.StringIO()
    show(Console(file=written, width=width))
    text = written.getvalue()
    assert "…" not in text, text
    assert max(map(len, text.splitlines())) <= width, text
    return text


LONGEST = Cost(123.4, [12.3, 13.5, 14.9], 0.1234, 0.0987654, dict.fromkeys(PARTS, 1.0), 2**35, 1234)
LONGEST = dataclasses.replace(LONGEST, exactness="close, 3e-07")


def longest_costs():
    names = ("model.fit, eager", "model.fit, tuned", MODEL_FIT.name, "hand-written", BARE_STEP.name)
    engines = dict.fromkeys(names, LONGEST)
    growth = {what: {MODEL_FIT.name: {1: 123456.0, 4: 1e6, 16: 1e7}} for what in GROWS}
    again = [12.4, 13.4, 14.7]
    return Costs(
        "metrics_of_all_kinds", 123, engines, again, {"xla": "Error: " + "a " * 99}, growth
    )


def test_tables_of_costs_are_whole_at_80_columns():
    found = longest_costs()
    text = rendered(lambda console: tables.print_costs(console, found))
    for head in ("first s", "us/step", "95%", "traces", "MiB", "epoch ms", "x bare", *PARTS):
        assert f" {head}" in text
    whole, apart, shares = [
        line for line in text.splitlines() if line.startswith("model.fit, eager")
    ]
    assert whole.split()[2:] == ["123.4", "109,756", "noise", "0.99-1.01", "close,", "3e-07"]
    assert apart.split()[2:] == ["123.4", "98,765", "1.00x", "1234", "32,768"]
    assert shares.split()[2:] == ["100%"] * len(PARTS)


def test_tables_of_bench_are_whole_at_80_columns():
    engines = {MODEL_FIT.name: LONGEST, AUTO.name: LONGEST, FASTEST.name: LONGEST}
    engines[BARE_STEP.name] = LONGEST
    found = Costs("tiny_validation", 123, engines, [], {"xla": "ValueError: no"})
    workload = Workload(dataclasses.replace(SMALL, name="tiny_validation"), {AUTO.name: 1.25})
    text = rendered(
        lambda console: bench.report.print_speeds(console, [(workload, found)], "fits", PLANS)
    )
    assert "109,756" in text
    assert " 1.25 " in text
    assert "tiny_validation under xla failed: ValueError: no" in text
    grown = bench.limits.Limits({100: 197.0, 100_000: 244.0}, {"model.fit": 2**30}, 2**27)
    told = rendered(lambda console: bench.report.print_limits(console, grown, [(workload, found)]))
    assert "100: 197, 100,000: 244" in told
    assert "auto takes 1.00x" in told
    assert text.count("tiny_validation ") == 3
    usual = dataclasses.replace(LONGEST, seconds=[1.23, 1.35, 1.49])
    found = Costs("tiny_validation", 123, dict.fromkeys(engines, usual))
    page = [(workload, "0", found), (workload, "auto", found)]
    text = rendered(lambda console: bench.report.print_front_page(console, page))
    assert (
        text.strip()
        .splitlines()[-1]
        .replace(" ", "")
        .startswith("|`tiny_validation`|auto|10,976|10,976|")
    )


def test_tables_of_first_fits_and_of_kernels_are_whole_at_80_columns():
    found = Costs("transformer_10", 10, dict.fromkeys((MODEL_FIT.name, STEP.name), LONGEST))
    workload = Workload(dataclasses.replace(SMALL, name="transformer_10"), {}, cold=True)
    measured = [(workload, found)]
    text = rendered(
        lambda console: bench.report.print_speeds(console, measured, "cold", ["step"], cold=True)
    )
    assert text.splitlines()[-1].split()[:6] == (
        ["transformer_10", "step", "13,500", "13,500", "1.00x", "1.00-1.00"]
    )
    text = rendered(lambda console: bench.report.print_summary(console, measured, ["step"]))
    assert text.strip() == (
        "step: median of the table 1.00x, lowest transformer_10 1.00x (1.00-1.00)"
    )
    ops = {"_MklNativeConv2DBackpropFilterWithBias": 12.0}
    of = [Kernels(name, 8, 8.0, 16.0, 12.0, ops) for name in (MODEL_FIT.name, "step", "auto")]
    text = rendered(lambda console: bench.report.print_kernels(console, {"resnet": of}))
    assert "auto       1,000,000  2,000,000  1,500,000      25%     1.00" in text


def test_the_table_of_callbacks_is_whole_at_80_columns_and_says_how_much_slower_a_fit_is():
    fast = dataclasses.replace(LONGEST, seconds=[6.15, 6.75, 7.45])
    fast = dataclasses.replace(fast, per_step=LONGEST.per_step - 12e-6, per_epoch=0.0617)
    found = Costs("any", 1000, {MODEL_FIT.name: fast, AUTO.name: LONGEST})
    name = "LearningRateFinder"
    workload = Workload(dataclasses.replace(SMALL, name=name), {})
    text = rendered(lambda console: bench.report.print_callbacks(console, [(workload, found)]))
    assert text.splitlines()[-1].split() == (
        [name, "6,750", "12", "62", "2.00x", "2.00-2.00", "close,", "3e-07"]
    )


def test_the_table_of_peers_is_whole_at_80_columns():
    versions = {"keras": "3.15.1", "tf-models-official": "2.19.1", "pytorch-lightning": "2.5.5"}
    results = [
        Result(peer, None, versions, 12.3, 45.6, [1.0, 2.0, 3.3], [0.6931] * 3, 2**31)
        for peer in ALL
    ]
    for result in results:
        result.versions = dict.fromkeys(result.peer.packages, "12.13.14+cpu")
    results[-1].failed = "WorkerError: " + "no answer " * 20
    settings = Settings(32_000, 2, 32, 128)
    text = rendered(lambda console: print_report(console, results, settings))
    for head in ("us/step", "speed", "95%", "import s", "first s", "MB", "loss"):
        assert head in text
    for result in results:
        assert result.peer.title in text
    assert "12.13.14" in text
    assert "0.6931" in text


# docs/costs.md


def test_every_column_is_explained_with_the_function_that_computes_it():
    page = (ROOT / "docs/costs.md").read_text()
    explained = page.split("## How each column is computed")[1].split("\n## ")[0]
    rows = [row.strip("|").split("|") for row in explained.splitlines() if row.startswith("| `")]
    named = {cell.strip(" `") for row in rows for cell in row[0].replace("...", ",").split(",")}
    found = longest_costs()
    shown = [tables._whole_fits(found), tables._epochs_and_steps(found), tables._shares(found)]
    heads = {str(column.header) for table in shown for column in table.columns} - {"engine"}
    assert heads - named <= set(PARTS[1:-1]), "all but those between data and dispatch"
    for row in rows:
        module, name = row[3].strip(" `").split(".")
        assert hasattr(importlib.import_module(f"compare.timing.{module}"), name), row


def results(tmp_path, workloads, **more):
    engines = dict.fromkeys((MODEL_FIT.name, STEP.name, AUTO.name), LONGEST)
    found = {workload.name: Costs(workload.name, 10, engines) for workload in workloads}
    about = device.described("cpu")
    write_json(tmp_path / "r.json", date="2026-01-02", workloads=found, **about, **more)
    return json.loads((tmp_path / "r.json").read_text())


def test_pages_get_a_row_for_each_workload_from_the_json(tmp_path):
    grown = bench.limits.Limits({100: 197.0, 100_000: 244.0}, {"model.fit": 2**30}, 2**27)
    ways = (*SOURCES, *METHODS)
    quick = results(tmp_path, (*WORKLOADS, *ways), limits=grown)
    for table, workloads, read in (
        (page.fits, WORKLOADS, quick),
        (page.sources_and_methods, ways, quick),
        (page.first_fits, COLD, results(tmp_path, COLD)),
    ):
        text = table(read)
        rows = [line.split("`")[1] for line in text.splitlines() if line.startswith("| `")]
        assert rows == [workload.name for workload in workloads]
        assert "2026-01-02" in text
        assert "1.00x (1.00-1.00)" in text
    assert "1,024 for `model.fit`" in page.fits(quick)
    with pytest.raises(ValueError, match=r"expected every workload in the JSON, \['mlp_1'"):
        page.first_fits(quick)


def test_the_page_of_callbacks_has_a_row_for_each_of_the_seven(tmp_path):
    text = page.callbacks(results(tmp_path, WITH_CALLBACKS))
    rows = [line.split("`")[1] for line in text.splitlines() if line.startswith("| `")]
    public = [getattr(loop.callbacks, name) for name in loop.callbacks.__all__]
    classes = [kind for kind in public if isinstance(kind, type) and issubclass(kind, Callback)]
    assert {*rows, "ProgressBar"} == {kind.__name__ for kind in classes}


def test_a_page_is_filled_between_its_markers_and_nowhere_else():
    before = "a\n<!-- x -->\nold\n<!-- end of x -->\nb\n"
    assert page.filled(before, "x", r"n\1w") == before.replace("old", r"n\1w")
    with pytest.raises(ValueError, match="expected <!-- y -->"):
        page.filled(before, "y", "new")
    for _, path, marker, _ in page.TABLES:
        text = (ROOT / path).read_text()
        assert page.filled(text, marker, "new") != text


def test_older_figures_do_not_replace_newer_ones(tmp_path, monkeypatch, capsys):
    file = tmp_path / "page.md"
    file.write_text("of 2027-01-01\n<!-- x -->\nof 2026-01-02\n<!-- end of x -->\n")
    monkeypatch.setattr(page, "TABLES", (("r.json", file, "x", lambda results: "new"),))
    for date, said in (("2026-01-01", "keeps its x, which is newer"), ("2026-01-02", "written")):
        before = file.read_text()
        write_json(tmp_path / "r.json", date=date, device="cpu")
        page.main(tmp_path)
        assert said in capsys.readouterr().out
        assert (file.read_text() == before) == ("newer" in said)


def test_every_workload_has_its_row_of_figures():
    page = (ROOT / "docs/costs.md").read_text()
    figures = page.split("<!-- figures -->")[1].split("<!-- end of figures -->")[0]
    rows = [row.split("`")[1] for row in figures.splitlines() if row.startswith("| `")]
    assert rows == [workload.name for workload in WORKLOADS]
