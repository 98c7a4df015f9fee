"""The objective of the first step: losses under their weights, and what the layers add."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import keras
import numpy as np

from loop.explain.document import Heading, Part, Table, facts
from loop.explain.numbers import apart, exact
from loop.explain.terms import Term


class Added(NamedTuple):
    """A loss that a layer adds.

    Attributes:
        name: What adds it.
        value: Its value in the step.
        formula: How it is computed, in numbers; "" if that is the layer's own.
        by_hand: Its value by the formula; None without one.
    """

    name: str
    value: Any
    formula: str = ""
    by_hand: Any = None


def added_by(model: keras.Model, values: list[Any], weights: dict[int, np.ndarray]) -> list[Added]:
    """Return the losses that layers add, with the layer or the weight that each is for.

    Args:
        model: The model, after a step.
        values: The values of these losses, as in `loop.objective.added_losses`.
        weights: The values of the trainable weights in the step, by the `id` of the variable.
    """
    regularized = [v for v in model.trainable_weights if v.regularizer is not None]
    own = len(values) - len(regularized)  # Keras lists the losses of weights last
    tensors = model.losses[:own]
    layers = [
        Added(_name(model, tensor), value)
        for tensor, value in zip(tensors, values[:own], strict=True)
    ]
    return layers + [
        _regularization(variable, value, weights[id(variable)])
        for variable, value in zip(regularized, values[own:], strict=True)
    ]


def _name(model: keras.Model, tensor: Any) -> str:
    """Return what adds a loss: `add_loss` or the activity regularizer of a layer."""
    layer: Any = model
    while inner := next(
        (part for part in getattr(layer, "layers", ()) if _adds(part, tensor)), None
    ):
        layer = inner
    if layer.activity_regularizer is None:
        return f"add_loss in {layer.name}"
    if len(layer.losses) - sum(v.regularizer is not None for v in layer.trainable_weights) == 1:
        return f"activity regularizer of {layer.name}"
    return f"activity regularizer or add_loss of {layer.name}"


def _adds(layer: Any, tensor: Any) -> bool:
    return any(loss is tensor for loss in layer.losses)


def _regularization(variable: Any, value: Any, weight: np.ndarray) -> Added:
    """Return the loss that a regularizer adds for a weight, by hand for L1, L2 and L1L2."""
    regularizer, name = variable.regularizer, f"{type(variable.regularizer).__name__}"
    name = f"{name} of {variable.path}"
    kinds = (keras.regularizers.L1, keras.regularizers.L2, keras.regularizers.L1L2)
    if type(regularizer) not in kinds:
        return Added(name, value)
    number, terms, total = weight.dtype.type, [], weight.dtype.type(0)
    for attribute, what, of in (("l1", "sum of |w|", np.abs), ("l2", "sum of w^2", np.square)):
        if factor := number(getattr(regularizer, attribute, 0)):
            summed = of(weight).sum(dtype=weight.dtype)
            terms.append(f"{exact(factor)} x {exact(summed)} ({what})")
            total += factor * summed
    return Added(name, value, " + ".join(terms), total)


def objective_by_hand(terms: tuple[Term, ...], added: tuple[Added, ...]) -> Any:
    """Return the sum of all losses under their weights, from what Keras's loss objects returned."""
    floatx = keras.config.floatx()
    losses = [_weighted(term, floatx) for term in terms]
    on_data = [sum(losses[1:], losses[0])] if losses else []
    parts = [*on_data, *(np.asarray(one.value, floatx) for one in added)]
    return parts[0] if len(parts) == 1 else np.sum(parts, dtype=floatx)


def _weighted(term: Term, floatx: str) -> Any:
    value = np.asarray(term.observed.result, floatx)[()]
    return value if term.loss_weight is None else value * value.dtype.type(term.loss_weight)


def objective_parts(
    terms: tuple[Term, ...], added: tuple[Added, ...], objective: Any, is_own: bool
) -> list[Part]:
    """Return the table of all parts of the objective, and its sum."""
    if is_own:
        return [
            Heading("objective"),
            facts(("objective", f"{exact(objective)}, by its own compute_loss")),
        ]
    rows = list(_rows(terms, added))
    formulas = [(one.name, _formula(one)) for one in added if one.formula]
    by_hand = objective_by_hand(terms, added)
    heads = ("part", "value", "x weight", "adds")
    return [
        Heading("objective"),
        Table(heads, tuple(rows), heads[:1]),
        facts(
            *formulas,
            ("sum by hand", exact(by_hand)),
            ("objective", f"{exact(objective)}, {apart(by_hand, objective)}"),
        ),
    ]


def _formula(added: Added) -> str:
    return f"{added.formula} = {exact(added.by_hand)}, {apart(added.by_hand, added.value)}"


def _rows(terms: tuple[Term, ...], added: tuple[Added, ...]) -> Iterator[tuple[str, ...]]:
    floatx = keras.config.floatx()
    for term in terms:
        weight = "1" if term.loss_weight is None else f"{term.loss_weight:g}"
        result = exact(_weighted(term, floatx))
        yield f"{term.output}: {term.loss}", exact(term.observed.result), weight, result
    for one in added:
        yield one.name, exact(one.value), "1", exact(one.value)
