"""What a loop does to its batches and epochs is named by their samples and numbers."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest

from compare.diagnosis.batches import FOUND, found_in_batches
from compare.diagnosis.observed import Observed
from compare.diagnosis.rules import RULES
from compare.diagnosis.samples import Samples
from compare.diagnosis.stops import epoch_rules
from compare.location.capture import Forward

SAMPLES = 10
ORDER = np.arange(100, 100 + SAMPLES)  # fingerprints, in the order of the arrays
SHUFFLED = np.random.default_rng(0).permutation(ORDER)
OTHERWISE = np.random.default_rng(1).permutation(ORDER)


def training(*epochs, size=4, drops=False, accumulates=1):
    """Return what is observed of a training whose epochs have these samples, in batches."""
    batches = [
        [
            rows[start : start + size]
            for start in range(0, len(rows) - drops * (len(rows) % size), size)
        ]
        for rows in epochs
    ]
    every = [batch for epoch in batches for batch in epoch]
    return SimpleNamespace(epochs=batches, batches=every, accumulates=accumulates)


def names(reference, candidate, in_order=True):
    samples = Samples(None, ORDER, in_order, has_split=True)
    return [rule.rule for rule in found_in_batches(reference, candidate, samples)]


FIT = training(SHUFFLED, SHUFFLED)
IN_ORDER = training(ORDER, ORDER)
RESHUFFLED = training(SHUFFLED, OTHERWISE)


@pytest.mark.parametrize(
    ("expected", "fit", "loop"),
    [
        ([], FIT, training(SHUFFLED, SHUFFLED)),
        (["shuffle"], FIT, IN_ORDER),
        (["last_partial_batch"], IN_ORDER, training(ORDER, ORDER, drops=True)),
        (["last_partial_batch", "shuffle"], FIT, training(ORDER, ORDER, drops=True)),
        (["permutation"], FIT, training(OTHERWISE, OTHERWISE)),
        (["batch_size"], FIT, training(SHUFFLED, SHUFFLED, size=5)),
        (["full_batch"], IN_ORDER, training(ORDER, ORDER, size=SAMPLES)),
        (["same_batch"], FIT, training(np.tile(ORDER[:4], 3), np.tile(ORDER[:4], 3))),
        (["with_replacement"], FIT, training(ORDER[[0, 0, 1, 2, 5, 9, 9, 3]], ORDER)),
        (["several_passes"], IN_ORDER, training(np.tile(ORDER, 2), np.tile(ORDER, 2))),
        (["part_of_data"], IN_ORDER, training(ORDER[:4], ORDER[:4])),
        (["shuffles"], IN_ORDER, FIT),
        (["other_inputs"], IN_ORDER, training(ORDER + 1000, ORDER + 1000)),
        (["validation_tail"], training(ORDER[:8]), training(ORDER[[2, 3, 9, 8, 4, 5, 6, 7]])),
        (["trains_on_validation"], training(ORDER[:8]), training(ORDER)),
    ],
)
def test_what_a_loop_does_to_its_batches_is_named(expected, fit, loop):
    assert names(fit, loop) == expected


def test_a_short_batch_that_is_not_the_last_one_is_no_other_number_of_steps():
    whole, short_first = [ORDER[:4], ORDER[4:8], ORDER[8:]], [ORDER[:2], ORDER[2:6], ORDER[6:]]
    fit, loop = (
        SimpleNamespace(epochs=[cuts], batches=cuts, accumulates=1) for cuts in (whole, short_first)
    )
    assert names(fit, loop) == ["other_cuts"]
    two_steps = [ORDER[:4], ORDER[4:8]]
    loop = SimpleNamespace(epochs=[whole, two_steps], batches=whole, accumulates=1)
    fit = SimpleNamespace(epochs=[whole, whole], batches=whole * 2, accumulates=1)
    assert names(fit, loop) == ["other_steps"]


def test_samples_that_come_twice_are_drawn_with_replacement_only_if_others_never_come():
    passes = np.concatenate([ORDER, ORDER[:4]])
    assert names(IN_ORDER, training(passes, passes)) == ["several_passes"]


@pytest.mark.parametrize(
    ("expected", "loop"),
    [
        (["two_iterators"], training(SHUFFLED, ORDER, OTHERWISE)),
        (["shuffled_once"], training(ORDER, ORDER)),
    ],
)
def test_orders_of_datasets_are_told_apart(expected, loop):
    assert names(RESHUFFLED, loop, in_order=False) == expected


LONG = np.arange(100, 140)
PASSES = [np.random.default_rng(seed).permutation(LONG) for seed in range(3)]


def through_a_buffer(size, seed):
    """Return the samples in the order that a shuffle with a buffer gives them."""
    random, waiting, order = np.random.default_rng(seed), [*LONG[:size]], []
    for sample in [*LONG[size:], *[None] * size]:
        order.append(waiting.pop(random.integers(len(waiting))))
        waiting += [] if sample is None else [sample]
    return np.array(order)


@pytest.mark.parametrize(
    ("expected", "loop"),
    [
        (["shuffle_buffer"], training(through_a_buffer(5, 0), through_a_buffer(5, 1))),
        (["permutation"], training(through_a_buffer(40, 0), through_a_buffer(40, 1))),
        (["gradient_accumulation"], training(*PASSES[:2], size=8, accumulates=2)),
        (
            ["gradient_accumulation", "left_over_gradients"],
            training(*PASSES[:2], size=16, drops=True, accumulates=4),
        ),
        (["repeats_before_batching"], training(*np.split(np.concatenate(PASSES)[:88], 2))),
        (
            ["updates_over_epochs"],
            training(*np.split(np.concatenate(PASSES)[:88], 2), accumulates=2),
        ),
    ],
)
def test_what_a_pipeline_does_to_the_order_is_named(expected, loop):
    samples = Samples(None, LONG, in_order=True)
    found = found_in_batches(training(*PASSES[:2]), loop, samples)
    assert [rule.rule for rule in found] == expected
    if expected == ["shuffle_buffer"]:
        assert "a buffer of about 5 samples, where fit shuffles all 40" in found[0].mistake


def test_numbers_stand_in_the_sentence_and_in_the_line():
    (rule,) = found_in_batches(
        FIT, training(SHUFFLED, SHUFFLED, size=5), Samples(None, ORDER, in_order=True)
    )
    assert rule.mistake == "trains on batches of 5 samples, where fit takes 4"
    assert rule.line == "batch_size = 4"
    assert all(
        text.format(of_loop=1, of_fit=2, parts=3) for texts in FOUND.values() for text in texts
    )


def observed(steps, *forwards, like=None):
    """Return what is observed of forward passes, each a step, its samples, and its gradients."""
    captured = SimpleNamespace(
        forwards=lambda: [
            Forward(step, np.array(rows), bool(gradients), np.zeros(len(rows)))
            for step, rows, gradients in forwards
        ]
    )
    run = SimpleNamespace(taps=SimpleNamespace(steps=steps), ends=[steps])
    return Observed(run, captured, frozenset(), like=like)


def rows_of(batches):
    return [batch.tolist() for batch in batches]


def test_a_batch_is_all_that_a_step_adds_up_the_gradients_of():
    # The third part is left over at the end of an epoch; a pass without gradients validates.
    found = observed(
        2, (0, [1], 1), (0, [2], 1), (1, [9], 1), (1, [8], 0), (1, [3], 1), (1, [4], 1)
    )
    assert rows_of(found.batches) == [[1, 2], [3, 4]]
    assert found.accumulates == 2
    assert rows_of(found.tests[0]) == [[8]]


def test_epochs_of_a_loop_that_adds_up_over_their_ends_have_as_many_gradients_each():
    parts = [(step, [part], 1) for part, step in enumerate((0, 0, 1, 1, 2, 2))]
    found = observed(3, *parts)
    found.run.ends, found.run.trace = [], SimpleNamespace(history={"loss": [2.0, 1.0]})
    assert found.ends == [1, 3]


def test_a_second_pass_on_the_same_batch_adds_up_nothing():
    for found in (
        observed(1, (0, [1, 2], 1), (0, [1, 2], 1)),
        observed(1, (0, [1, 2], 1), (0, [1, 2], 0)),
    ):
        assert rows_of(found.batches) == [[1, 2]]
        assert found.accumulates == 1


def test_parts_of_replicas_that_fit_has_too_are_not_added_up_by_the_loop():
    fit = observed(1, (0, [1], 1), (0, [2], 1))
    assert observed(1, (0, [1], 1), (0, [2], 1), like=fit).accumulates == 1


@pytest.mark.parametrize(
    ("trained", "says"),
    [(3, "stops after 3 epochs by rules of its own"), (4, "trains all 4 epochs")],
)
def test_a_loop_that_stops_elsewhere_is_told_from_one_that_never_stops(trained, says):
    arguments = {"epochs": 4, "callbacks": [keras.callbacks.EarlyStopping()]}
    rule = next(epoch_rules(arguments, trained, 2, RULES))
    assert rule.mistake == f"{says}; EarlyStopping stops after 2"
