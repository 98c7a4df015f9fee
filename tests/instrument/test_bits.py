"""Equality fails closed: whatever is not the same bits in the same place is a difference."""

from fractions import Fraction

import numpy as np
import pytest
import tensorflow as tf

from compare import Event, Trace, differences


def where(a, b):
    return [one.where for one in differences(a, b)[1]]


def test_equal_traces_have_no_difference_and_count_their_values():
    trace = Trace(history={"loss": [1.0, 2.0]}, variables={"w": np.zeros((2, 3), "float32")})
    compared, found = differences(trace, trace)
    assert found == []
    assert compared == 2 + 6


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (0.0, -0.0),
        (1.0, 1),
        (1, True),
        (1.0, np.float64(1.0)),
        (1.0, np.nextafter(1.0, 2.0)),
        (1.0, None),
        ("1.0", 1.0),
    ],
)
def test_values_that_are_equal_but_not_the_same_differ(a, b):
    assert where(Trace(history={"loss": [a]}), Trace(history={"loss": [b]})) == ["history/loss/0"]


def test_a_missing_key_is_not_the_text_that_stands_for_it():
    assert where(Trace(history={"a": "(absent)"}), Trace()) == ["history/a"]


def test_what_has_an_equality_of_its_own_is_refused():
    logs = Trace(history={"loss": [Fraction(1, 2)]})
    with pytest.raises(TypeError, match="Cannot compare the bits"):
        differences(logs, logs)


def test_the_same_nan_is_the_same_and_another_nan_is_not():
    nan, other = np.array([0x7FC00000, 0x7FC00001], "uint32").view("float32")
    same = {"w": np.array([nan])}
    assert where(Trace(variables=same), Trace(variables={"w": np.array([nan])})) == []
    assert where(Trace(variables=same), Trace(variables={"w": np.array([other])})) == [
        "variables/w[0]"
    ]


def test_missing_and_surplus_keys_and_another_order_differ():
    ab = Trace(history={"a": [1.0], "b": [2.0]})
    assert where(ab, Trace(history={"a": [1.0]})) == ["history/b"]
    assert where(Trace(history={"a": [1.0]}), ab) == ["history/b"]
    assert where(ab, Trace(history={"b": [2.0], "a": [1.0]})) == ["history/(order of keys)"]


def test_another_dtype_or_shape_differs_even_where_the_bytes_are_the_same():
    zeros = Trace(variables={"w": np.zeros((2, 2), "float32")})
    assert where(zeros, Trace(variables={"w": np.zeros((2, 2), "int32")})) == ["variables/w"]
    assert where(zeros, Trace(variables={"w": np.zeros(4, "float32")})) == ["variables/w"]


def test_a_longer_record_differs():
    one, two = Trace(history={"loss": [1.0]}), Trace(history={"loss": [1.0, 2.0]})
    assert where(one, two) == ["history/loss/(length)"]


def test_another_hook_index_or_log_differs():
    trace = Trace(events=[Event("on_epoch_end", 0, {"loss": 1.0})])
    for other in (
        Event("on_epoch_begin", 0, {"loss": 1.0}),
        Event("on_epoch_end", 1, {"loss": 1.0}),
        Event("on_epoch_end", 0, {"loss": 2.0}),
        Event("on_epoch_end", 0, {}),
    ):
        assert len(where(trace, Trace(events=[other]))) == 1


def test_files_and_warnings_are_compared():
    assert where(Trace(files={"a": b"1"}), Trace(files={"a": b"2"})) == ["files/a"]
    assert where(Trace(warnings=[("UserWarning", "x")]), Trace()) == ["warnings/(length)"]


def test_tensors_compare_by_their_bits():
    logs = [Trace(history={"loss": [tf.constant(one, tf.bfloat16)]}) for one in (1.0, 1.0078125)]
    assert differences(logs[0], logs[0]) == (1, [])
    assert len(differences(*logs)[1]) == 1
