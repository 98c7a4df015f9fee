"""The cache of Keras's trainings spares trainings; it neither hides a difference nor makes one."""

import dataclasses

import keras
import pytest
import references
from references import differences_from_keras, keras_trace, key

import loop
from compare import Trace, differences, find, record

(SCENARIO,) = find(["run_eagerly"])


@pytest.fixture(autouse=True)
def trainings(tmp_path, monkeypatch):
    """An empty cache; and every training of Keras that is not spared."""
    made = []

    def counting(scenario, fit, watched="batches"):
        made.append(scenario)
        return record(scenario, fit, watched)

    monkeypatch.setattr(references, "FOLDER", tmp_path)
    monkeypatch.setattr(references, "record", counting)
    references.key.cache_clear()
    yield made
    references.key.cache_clear()


@pytest.mark.long
def test_a_trace_from_the_cache_has_the_bits_of_the_training(trainings):
    first, again = keras_trace(SCENARIO), keras_trace(SCENARIO)
    assert len(trainings) == 1
    compared, found = differences(first, again)
    assert compared > 20
    assert not found
    assert not differences(record(SCENARIO, keras.Model.fit)[0], again)[1]


@pytest.mark.long
def test_a_scenario_that_is_not_in_the_table_is_never_cached(trainings, tmp_path):
    def data():
        return {**SCENARIO.data(), "epochs": 2}

    changed = dataclasses.replace(SCENARIO, data=data)
    keras_trace(SCENARIO)
    traces = [keras_trace(changed) for _ in range(2)]
    assert len(trainings) == 3
    assert all(len(trace.history["loss"]) == 2 for trace in traces)
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.long
def test_a_wrong_trace_in_the_cache_is_replaced_and_blames_nobody(trainings, monkeypatch):
    ours = record(SCENARIO, loop.fit)[0]
    with monkeypatch.context() as patch:
        patch.setattr(references, "record", lambda *_: (Trace(history={"loss": [0.0]}), None))
        assert keras_trace(SCENARIO).history == {"loss": [0.0]}
    assert differences_from_keras(SCENARIO, ours)[1] == []
    assert differences_from_keras(SCENARIO, ours)[1] == []
    assert len(trainings) == 1


@pytest.mark.long
def test_a_difference_is_still_one_after_keras_has_trained_again(trainings):
    ours = record(SCENARIO, loop.fit)[0]
    ours.history["loss"][0] += 1.0
    found = differences_from_keras(SCENARIO, ours)[1]
    assert [difference.where for difference in found] == ["history/loss/0"]
    assert len(trainings) == 2


def test_our_own_fit_is_never_kept_as_that_of_keras(tmp_path):
    with loop.installed(), pytest.raises(RuntimeError, match="expected Keras's own fit"):
        keras_trace(SCENARIO)
    assert not list(tmp_path.iterdir())


def test_flags_versions_and_sources_have_keys_of_their_own(monkeypatch):
    for name in ("TF_ENABLE_ONEDNN_OPTS", "ONEDNN_MAX_CPU_ISA"):  # may be set for this very test
        monkeypatch.delenv(name, raising=False)
    key.cache_clear()
    keys = [key(), key()]
    for name, value in (("TF_ENABLE_ONEDNN_OPTS", "0"), ("ONEDNN_MAX_CPU_ISA", "SSE41")):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            key.cache_clear()
            keys.append(key())
    with monkeypatch.context() as patch:
        patch.setattr(keras, "__version__", "3.15.2")
        key.cache_clear()
        keys.append(key())
    monkeypatch.setattr(references, "_sources", lambda: ["another scenario"])
    key.cache_clear()
    assert len({*keys, key()}) == 5
