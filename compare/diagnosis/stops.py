"""Rules read off what was observed: when a loop ends, and what it validates on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from compare.diagnosis.broken import Break, BrokenRule, FitCall
from compare.diagnosis.observed import Batch, Observed
from compare.diagnosis.samples import (
    Samples,
    dataset_of,
    places,
    prints_of,
    resolve_split,
    taken,
)
from compare.recording.recorder import variables_of
from compare.scenario import FitArguments


def epoch_rules(
    arguments: FitArguments, wanted: int, theirs: int, rules: Sequence[BrokenRule]
) -> Iterator[BrokenRule]:
    """Yield the rules that may explain why a candidate trains another number of epochs.

    Args:
        arguments: The arguments of fit.
        wanted: The epochs of the candidate.
        theirs: The epochs of fit.
        rules: All rules.
    """
    known = {rule.rule: rule for rule in rules}
    first = arguments.get("initial_epoch", 0)
    if first and "initial_epoch" in known and wanted == arguments.get("epochs", 1):
        yield known["initial_epoch"]
    callbacks = arguments.get("callbacks") or []
    stops = [call for call in callbacks if isinstance(call, keras.callbacks.EarlyStopping)]
    if stops:
        mistake = f"stops after {wanted} epochs by rules of its own"
        if first + wanted == arguments.get("epochs", 1):
            mistake = f"trains all {wanted} epochs"
        yield BrokenRule(
            "early_stopping",
            f"{mistake}; EarlyStopping stops after {theirs}",
            "if monitored < best - min_delta: best, wait = monitored, 0  # best is inf at first\n"
            "    else: wait += 1; stop = wait >= patience",
            "keras.callbacks.EarlyStopping.on_epoch_end",
            _ends_after(first + wanted),
            "epochs",
        )
    elif callbacks and "callbacks" in known:
        yield known["callbacks"]
    yield BrokenRule(
        "epochs",
        f"trains {wanted} epochs, where fit trains {theirs}",
        f"for epoch in range({first}, {first + theirs}):",
        "keras.Model.fit",
        _ends_after(first + wanted),
        "epochs",
    )


def _ends_after(epochs: int) -> Break:
    def breaks(call: FitCall) -> None:
        callbacks = call.arguments.get("callbacks") or []
        kept = [it for it in callbacks if not isinstance(it, keras.callbacks.EarlyStopping)]
        call.arguments.update(callbacks=kept, epochs=epochs)

    return breaks


def weights_of_epochs() -> tuple[BrokenRule, list[dict[str, np.ndarray]]]:
    """Return a rule that changes nothing, and the weights at the end of each epoch it has seen."""
    kept: list[dict[str, np.ndarray]] = []

    def breaks(call: FitCall) -> None:
        see = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda *_: kept.append(variables_of(call.model))
        )
        kept.clear()
        call.add_callback(see)

    return BrokenRule("weights_of_epochs", "", "", "", breaks, "rest"), kept


def former_weights(epoch: int, epochs: int) -> BrokenRule:
    """Return the rule that a loop ends with the weights of an earlier epoch.

    Args:
        epoch: The epoch, from 0.
        epochs: How many epochs are trained.
    """

    def breaks(call: FitCall) -> None:
        kept: list[list[np.ndarray]] = []
        see = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda *_: kept.append(call.model.get_weights()),
            on_train_end=lambda *_: call.model.set_weights(kept[epoch]),
        )
        call.add_callback(see)

    return BrokenRule(
        "former_weights",
        f"puts back the weights of epoch {epoch + 1} of {epochs} when it ends, the best ones "
        "perhaps, where fit keeps those of the last epoch",
        "keras.callbacks.EarlyStopping(..., restore_best_weights=True)  # in fit, or keep the last "
        "weights in the loop",
        "keras.callbacks.EarlyStopping",
        breaks,
        "rest",
    )


def validation_rules(
    base: Observed,
    candidate: Observed,
    rules: Sequence[BrokenRule],
    samples: Samples | None = None,
) -> list[BrokenRule]:
    """Return rules for what a candidate validates on, and the rules of logs for its validation.

    Args:
        base: Our engine with the causes found so far.
        candidate: The candidate.
        rules: All rules.
        samples: The samples that fit trains on.
    """
    found = [_in_validation(rule) for rule in rules if rule.layer == "logs"]
    theirs, ours = (_samples_of_tests(run) for run in (base, candidate))
    if ours and theirs and not _same(theirs, ours):
        found.append(_validates_on(theirs, ours, candidate, samples))
    return found


def _in_validation(rule: BrokenRule) -> BrokenRule:
    """Return a rule of the training step for the test step."""

    def breaks(call: FitCall) -> None:
        call.train, call.test = call.test, call.train
        rule.breaks(call)
        call.train, call.test = call.test, call.train

    name, mistake = f"validation_{rule.rule}", f"{rule.mistake}, in validation"
    return replace(rule, rule=name, mistake=mistake, breaks=breaks, layer="validation")


def _samples_of_tests(run: Observed) -> list[np.ndarray]:
    return [np.concatenate(batches) for batches in run.tests if batches]


def _same(first: list[np.ndarray], second: list[np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=False))


def _validates_on(
    theirs: list[np.ndarray],
    ours: list[np.ndarray],
    candidate: Observed,
    samples: Samples | None,
) -> BrokenRule:
    counts = [len({*epochs[0].tolist()}) for epochs in (ours, theirs)]
    part = f"validates on {counts[0]} of the {counts[1]} validation samples"
    if counts[0] < len(ours[0]):
        part += ", and on some of these more than once"
    elif counts[0] >= counts[1]:
        part = "validates on the validation samples in another order, or on some of them twice"
    is_known = {*ours[0].tolist()} <= {*theirs[0].tolist()}
    trained_on = samples if samples and samples.places_of(ours[0]) is not None else None
    mistake = part if is_known else "validates on other samples than fit"
    line = (
        "for x, y in validation_batches: ...  # all of them, and weigh their means by their sizes"
    )
    if trained_on and not is_known:
        mistake = "validates on the samples that it trains on"
        line = "for x, y in validation_data: ...  # not the training data"
    return BrokenRule(
        "validation_samples",
        mistake,
        line,
        "keras.Model.evaluate",
        _validated_on(candidate, None if is_known else trained_on),
        "validation",
    )


def _validated_on(candidate: Observed, samples: Samples | None) -> Break:
    def breaks(call: FitCall) -> None:
        resolve_split(call.arguments)
        given = call.arguments.get("validation_data")
        if samples is not None:
            given = tuple(part for part in samples.arrays if part is not None)
        if not isinstance(given, tuple):
            raise ValueError("only arrays can be validated on in another order")
        call.arguments["validation_data"] = _in_turn(given, candidate)

    return breaks


def _in_turn(given: Any, candidate: Observed) -> tf.data.Dataset:
    """Return a dataset that gives, pass after pass, the samples the candidate validated on.

    Raises:
        KeyError: The candidate validated on samples that were not given.
    """
    arrays = keras.tree.map_structure(lambda leaf: tf.convert_to_tensor(leaf).numpy(), given)
    rows = places(prints_of(arrays[0]))
    passes = iter([[_order(batch, rows) for batch in test] for test in candidate.tests])
    return dataset_of(lambda: (taken(arrays, order) for order in next(passes, [])), arrays)


def _order(batch: Batch, rows: dict[int, int]) -> np.ndarray:
    return np.array([rows[int(row)] for row in batch], np.int64)
