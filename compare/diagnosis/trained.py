"""Which weights are trained, and by which optimizer: rules read off what optimizers are given."""

from __future__ import annotations

from collections.abc import Iterator

import keras

from compare.diagnosis.broken import BrokenRule, FitCall
from compare.diagnosis.observed import Observed


def trained_rules(base: Observed, candidate: Observed) -> list[BrokenRule]:
    """Return a rule if a candidate trains other variables than fit.

    Args:
        base: Our engine with the causes found so far.
        candidate: The candidate.
    """
    theirs, ours = base.trained, candidate.trained
    if not theirs or not ours or theirs == ours:
        return []
    more, less = ours - theirs, theirs - ours

    def breaks(call: FitCall) -> None:
        variables = call.model.variables
        wanted = {id(variables[place]) for place in ours}
        for layer in _layers_in(call.model):
            if wanted & {*map(id, layer.variables)}:
                layer.trainable = True
        for variable in variables:
            if variable.trainable and id(variable) not in wanted:
                variable.trainable = False

    what = f"trains {_named(more, base)} too, which fit leaves as they are: they are frozen"
    if less:
        what = f"trains {_named(more, base)}, which is frozen in fit, and not {_named(less, base)}"
    line = "weights = model.trainable_weights  # after all layer.trainable = False"
    if not more:
        what = f"does not train {_named(less, base)}"
        line = "gradients = tape.gradient(loss, model.trainable_weights)  # all of them"
    return [
        BrokenRule("trained_weights", what, line, "keras.Model.train_step", breaks, "gradients")
    ]


def _layers_in(layer: keras.Layer) -> Iterator[keras.Layer]:
    """Yield a layer or model, and all layers in it."""
    yield layer
    for part in getattr(layer, "layers", []):
        yield from _layers_in(part)


def _named(places: frozenset[int], run: Observed) -> str:
    names = run.names
    found = [names[place] for place in sorted(places) if place in names]
    return ", ".join(found if len(found) <= 4 else [*found[:3], f"{len(found) - 3} more weights"])


def are_several(candidate: Observed) -> bool:
    """Return whether a candidate trains parts of a model with optimizers of their own.

    One that is made anew for each epoch trains the same weights each time.
    """
    return len({*map(frozenset, candidate.run.taps.trained)}) > 1


def several_optimizers(base: Observed, candidate: Observed) -> BrokenRule:
    """Return the rule that parts of a model are trained with optimizers of their own.

    Args:
        base: Our engine with the causes found so far.
        candidate: The candidate.
    """
    optimizers, trained = candidate.run.taps.optimizers, candidate.run.taps.trained
    each = [
        f"{type(optimizer).__name__} for {_layers_of(places, candidate)}"
        for optimizer, places in zip(optimizers, trained, strict=True)
    ]
    kind = type(base.optimizer).__name__

    def breaks(call: FitCall) -> None:
        anew = [type(optimizer).from_config(optimizer.get_config()) for optimizer in optimizers]
        by_variable = {
            id(call.model.variables[place]): optimizer
            for optimizer, places in zip(anew, trained, strict=True)
            for place in places
        }
        call.model.optimizer = keras.optimizers.MultiOptimizer(
            lambda variable: by_variable[id(variable)]
        )

    return BrokenRule(
        "several_optimizers",
        f"trains with {len(each)} optimizers ({', '.join(each)}), where fit has one {kind} for all",
        "model.optimizer.apply_gradients(zip(gradients, model.trainable_weights))",
        "keras.optimizers.Optimizer.apply",
        breaks,
        "update",
    )


def _layers_of(places: set[int], run: Observed) -> str:
    """Return the names of the layers whose variables are at these places."""
    paths = [run.names[place] for place in sorted(places)]
    names = [path.rpartition("/")[0] or path for path in paths]
    names = [*dict.fromkeys(names)]
    return ", ".join(names if len(names) <= 3 else [*names[:2], f"{len(names) - 2} more layers"])
