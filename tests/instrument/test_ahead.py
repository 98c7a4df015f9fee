"""The second process of `diagnose`: it makes half of the trainings, and none that another gives."""

import os
import pickle
import threading
import time
from functools import partial

import pytest
from test_diagnose import PLAIN, by_hand

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


def only_here():
    if os.getpid() != HERE:
        raise ValueError("not the process of the test")
    return "here"


@pytest.fixture(scope="module")
def ahead():
    """Starts TensorFlow once, and waits for it."""
    one = Ahead()
    slow = partial(process_after, 0.01)
    one.expect({"left": slow, "first": slow})
    while "first" in one._waiting or not one._begun["first"].done():
        time.sleep(0.1)
    yield one
    one.close()


def expected(ahead, calls):
    ahead.expect(calls)
    return {name: ahead.result(name, call) for name, call in calls.items()}


@pytest.mark.long
def test_calls_are_made_from_both_ends_each_of_them_once(ahead):
    calls = {at: partial(process_after, 0.3) for at in range(6)}
    found = expected(ahead, calls)
    assert found[0] == HERE != found[5]
    places = [process == HERE for process in found.values()]
    assert places == sorted(places, reverse=True)  # this process begins, the other one ends


@pytest.mark.long
def test_what_fails_or_cannot_be_passed_is_called_in_this_process(ahead):
    lock = threading.Lock()
    with pytest.raises(TypeError, match="lock"):
        pickle.dumps(lock)
    large = b"0" * (LARGEST + 1)
    calls = {
        "left": partial(process_after, 0.2),
        "lock": partial(process_after, 0.0, lock),
        "large": partial(process_after, 0.0, large),
        "fails": only_here,
    }
    assert expected(ahead, calls) == {"left": HERE, "lock": HERE, "large": HERE, "fails": "here"}


@pytest.mark.long
def test_calls_that_are_expected_no_more_are_forgotten(ahead):
    ahead.expect({at: partial(process_after, 0.2) for at in range(20)})
    ahead.expect({"left": process_after, "next": partial(process_after, 0.0)})
    begun = time.monotonic()
    while "next" in ahead._waiting:  # the call that was begun ends first
        time.sleep(0.01)
    assert ahead.result("next", process_after) != HERE
    assert time.monotonic() - begun < 2  # 4 with all that was expected before


@pytest.mark.long
def test_once_the_process_has_ended_all_calls_are_made_here():
    with second_process() as ahead:
        ahead.close()
        assert set(expected(ahead, dict.fromkeys(range(4), process_after)).values()) == {HERE}


def test_there_is_none_on_a_single_core(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    with second_process() as ahead:
        assert ahead is None


@pytest.mark.long
@pytest.mark.bits
def test_a_diagnosis_is_the_same_with_trainings_of_both_processes(ahead, monkeypatch):
    trainings = Trainings(PLAIN, partial(by_hand, rate=0.04))
    alone = diagnose_in(Retraining(TappedTrainings(trainings, capture_of)))
    assert [verdict.rule for verdict in alone] == ["optimizer_learning_rate"]
    elsewhere = []
    plain = ahead.result

    def result(name, call):
        elsewhere.append(name in ahead._begun)
        return plain(name, call)

    monkeypatch.setattr(ahead, "result", result)
    assert diagnose_in(Retraining(TappedTrainings(trainings, capture_of), ahead)) == alone
    assert {*elsewhere} == {True, False}
