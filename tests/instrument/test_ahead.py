"""The second process of `diagnose`: it makes part of the trainings, and gives the same results."""

import contextlib
import dataclasses
import multiprocessing
import os
import threading
import time
from concurrent import futures
from functools import partial

import pytest
import tensorflow as tf
from test_diagnose import PLAIN, build, by_hand

from compare.cli import answers
from compare.diagnosis.diagnose import diagnose_in
from compare.diagnosis.layout import capture_of
from compare.diagnosis.retrain import Retraining
from compare.execution.ahead import LARGEST, Ahead, second_process
from compare.location.tapped import TappedTrainings
from compare.recording.trials import Trainings

HERE = os.getpid()


def process_after(seconds=0.0, *_):
    time.sleep(seconds)
    return os.getpid()


def is_elsewhere():
    return multiprocessing.parent_process() is not None


def only_here():
    if is_elsewhere():
        raise ValueError("not the process of the test")
    return "here"


class Waiting(Ahead):
    """Waits until it is known whether the second process is right; notes what is begun there."""

    def __init__(self):
        super().__init__()
        self.begun = []
        begin = self._worker.begin
        self._worker.begin = lambda call: self.begun.append(begin(call)) or self.begun[-1]

    def trust_if(self, call, is_right):
        super().trust_if(call, is_right)
        futures.wait(self.begun)
        time.sleep(0.1)  # until the result is judged, too
        self.begun.clear()


@pytest.fixture(scope="module")
def process():
    """Starts TensorFlow once."""
    one = Waiting()
    yield one
    one.close()


@pytest.fixture
def ahead(process):
    process.trust_if(is_elsewhere, bool)
    return process


def results(ahead, calls):
    ahead.expect(calls)
    return {name: ahead.result(name, call) for name, call in calls.items()}


@pytest.mark.long
def test_calls_are_made_from_both_ends_each_of_them_once(ahead):
    found = results(ahead, {at: partial(process_after, 0.3) for at in range(6)})
    assert found[0] == found[1] == HERE not in (found[4], found[5])
    places = [process == HERE for process in found.values()]
    assert places == sorted(places, reverse=True)  # this process begins, the other one ends
    assert len(ahead.begun) == places.count(False)


@pytest.mark.long
def test_what_fails_or_cannot_be_passed_is_called_in_this_process(ahead):
    calls = {
        "left": partial(process_after, 0.5),
        "lock": partial(process_after, 0.0, threading.Lock()),
        "large": partial(process_after, 0.0, b"0" * (LARGEST + 1)),
        "fails": only_here,
    }
    found = results(ahead, calls)
    assert found == {"left": HERE, "lock": HERE, "large": HERE, "fails": "here"}
    assert [str(one.exception()) for one in ahead.begun] == ["not the process of the test"]


@pytest.mark.long
def test_calls_that_are_expected_no_more_are_forgotten(ahead):
    ahead.expect({at: partial(process_after, 0.2) for at in range(20)})
    ahead.expect({"left": process_after, "next": process_after})
    while "next" in ahead._waiting:  # the call that was begun ends first
        time.sleep(0.01)
    assert ahead.result("next", process_after) != HERE
    assert len(ahead.begun) == 2


@pytest.mark.long
@pytest.mark.parametrize("call", [only_here, process_after])
def test_a_process_whose_result_is_wrong_or_that_fails_is_not_used(process, call, caplog):
    process.trust_if(call, lambda result: result == HERE)
    found = results(process, {at: partial(process_after, 0.1) for at in range(4)})
    assert {*found.values()} == {HERE}
    assert not caplog.records  # of an exception in a thread


@pytest.mark.long
def test_the_process_ends_at_once_and_then_all_calls_are_made_here():
    others = {*multiprocessing.active_children()}
    with second_process() as ahead:
        ahead.trust_if(partial(process_after, 60), bool)
        begun = time.monotonic()
        ahead.close()
        assert time.monotonic() - begun < 30
        assert {*multiprocessing.active_children()} == others
        ahead._is_trusted = True
        assert {*results(ahead, dict.fromkeys(range(4), process_after)).values()} == {HERE}
        ahead.trust_if(process_after, bool)


@pytest.mark.parametrize(
    ("is_wanted", "cores", "gpus"), [(False, 8, []), (True, 1, []), (True, 8, ["a GPU"])]
)
def test_there_is_none_on_a_single_core_or_beside_a_gpu(monkeypatch, is_wanted, cores, gpus):
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: gpus)
    monkeypatch.setattr("compare.execution.ahead.Ahead", None)
    with second_process(is_wanted) as ahead:
        assert ahead is None


@pytest.mark.parametrize(
    ("folder", "reasons", "is_begun"),
    [(None, True, True), (None, False, False), ("", True, False)],
)
def test_only_diagnose_begins_it_and_not_for_scripts(monkeypatch, folder, reasons, is_begun):
    begun = []

    @contextlib.contextmanager
    def noted(is_wanted):
        begun.append(is_wanted)
        yield None

    monkeypatch.setattr(answers, "second_process", noted)
    monkeypatch.setattr(answers, "locate_in", lambda *_, **__: None)
    scenario = dataclasses.replace(PLAIN, folder=folder)
    with pytest.raises(answers.typer.Exit):
        answers.show_divergence(scenario, by_hand, by_hand, None, None, reasons=reasons)
    assert begun == [is_begun]


def build_otherwise_elsewhere():
    return build(momentum=0.5 if is_elsewhere() else 0.0)


@pytest.mark.long
@pytest.mark.bits
@pytest.mark.parametrize(
    ("scenario", "helps"),
    [(PLAIN, True), (dataclasses.replace(PLAIN, build=build_otherwise_elsewhere), False)],
    ids=["same", "otherwise"],
)
def test_a_diagnosis_is_the_same_with_a_second_process(process, scenario, helps):
    trainings = Trainings(scenario, partial(by_hand, rate=0.04))
    alone = diagnose_in(Retraining(TappedTrainings(trainings, capture_of)))
    assert [verdict.rule for verdict in alone] == ["optimizer_learning_rate"]
    assert diagnose_in(Retraining(TappedTrainings(trainings, capture_of), process)) == alone
    assert bool(process.begun) == helps
