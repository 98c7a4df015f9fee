"""The update of one weight, redone with NumPy: SGD, SGD with momentum, Adam."""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np

from loop.explain.document import Heading, Note, Part, facts
from loop.explain.numbers import apart, exact


class Moved(NamedTuple):
    """A trainable variable in the first step.

    Attributes:
        path: Its path.
        before: Its values before the step.
        gradient: The gradient, not scaled; None without one, or if the step is not taken apart.
        after: Its values after the step.
    """

    path: str
    before: np.ndarray
    gradient: np.ndarray | None
    after: np.ndarray


class Settings(NamedTuple):
    """An optimizer before the step: itself, learning rate, number of the step, its variables."""

    optimizer: Any
    learning_rate: Any
    step: int
    variables: list[tuple[str, np.ndarray]]


def settings_of(optimizer: Any) -> Settings | None:
    """Return the settings of an optimizer of Keras; None for any other."""
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        return None
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    rate = getattr(optimizer, "learning_rate", None)  # a MultiOptimizer has none of its own
    rate = None if rate is None else keras.ops.convert_to_numpy(rate)
    variables = [(variable.name, np.array(variable)) for variable in optimizer.variables]
    return Settings(optimizer, rate, int(np.array(optimizer.iterations)) + 1, variables)


class Weight(NamedTuple):
    """One element of a variable in the first step.

    Attributes:
        name: The path of the variable and the place of the element.
        before: Its value before the step.
        gradient: The gradient of the objective, not scaled.
        after: Its value after the step.
        slots: Values of the optimizer that belong to it, before the step, by name.
    """

    name: str
    before: Any
    gradient: Any
    after: Any
    slots: dict[str, Any]


class Line(NamedTuple):
    """A line of the calculation: a name, a formula in numbers, its value."""

    name: str
    formula: str
    value: Any


class Update(NamedTuple):
    """The update of one weight.

    Attributes:
        weight: The weight: that with the largest gradient.
        learning_rate: The learning rate before the step; None if there is no single one.
        lines: The calculation; the value of the last line is the weight after the step. Empty if
            the optimizer is not written out.
        why_not: Why it is not written out; "" if it is.
    """

    weight: Weight
    learning_rate: Any
    lines: tuple[Line, ...]
    why_not: str = ""

    @property
    def by_hand(self) -> Any:
        """The weight after the step by these lines; None if there are none."""
        return self.lines[-1].value if self.lines else None


def largest_update(
    model: keras.Model, moved: list[Moved], settings: Settings | None
) -> Update | None:
    """Return the update of the weight with the largest gradient."""
    sizes = {
        place: np.nan_to_num(np.abs(variable.gradient))
        for place, variable in enumerate(moved)
        if variable.gradient is not None
    }
    if not sizes or settings is None:
        return None
    place = max(sizes, key=lambda place: sizes[place].max())
    index = np.unravel_index(sizes[place].argmax(), sizes[place].shape)
    one, gradient = moved[place], moved[place].gradient
    assert gradient is not None  # it has a size
    slots = {}
    for name in ("momentum", "velocity"):
        found = [value for known, value in settings.variables if known.endswith(f"_{name}")]
        if len(found) == len(moved) and found[place].shape == one.before.shape:
            slots[name] = found[place][index]
    name = f"{one.path}[{', '.join(map(str, index))}]" if index else one.path
    weight = Weight(name, one.before[index], gradient[index], one.after[index], slots)
    more = "a constraint" if model.trainable_weights[place].constraint is not None else ""
    return update_of(settings.optimizer, weight, settings.learning_rate, settings.step, more)


def update_of(optimizer: Any, weight: Weight, learning_rate: Any, step: int, more: str) -> Update:
    """Return the update of a weight.

    Args:
        optimizer: The optimizer, without the one that scales the loss.
        weight: The weight.
        learning_rate: Its value before the step; None if the optimizer has no single one.
        step: The number of the step in the life of the optimizer, counted from 1.
        more: What else changes the weight, as words; "" if nothing does.
    """
    rate = None if learning_rate is None else weight.before.dtype.type(learning_rate)
    more = ", ".join(filter(None, [_settings(optimizer), more]))
    written = _WRITTEN.get(type(optimizer))
    name = type(optimizer).__name__
    if written is None:
        return Update(weight, rate, (), f"not written out for {name}")
    if more:
        return Update(weight, rate, (), f"not written out for {name} with {more}")
    if not np.isfinite(weight.gradient):
        return Update(weight, rate, (), "the gradient is not finite")
    return Update(weight, rate, tuple(written(optimizer, weight, rate, step)))


def _settings(optimizer: Any) -> str:
    """Return the settings that add something to the formula of an optimizer."""
    names = (
        "weight_decay", "clipnorm", "clipvalue", "global_clipnorm", "ema_overwrite_frequency",
        "gradient_accumulation_steps", "amsgrad",
    )  # fmt: skip
    return ", ".join(name for name in names if getattr(optimizer, name, None))


def _sgd(optimizer: Any, weight: Weight, rate: Any, _: int) -> list[Line]:
    """Return `w - rate * g`, or with momentum `m = momentum * m - rate * g; w + m`."""
    before, gradient = weight.before, weight.gradient
    pull = gradient * rate
    step = f"{exact(rate)} x {_term(gradient)}"
    if not optimizer.momentum:
        return [Line("after", f"{exact(before)} - {step}", before - pull)]
    kept = before.dtype.type(optimizer.momentum)
    former = weight.slots["momentum"]
    velocity = former * kept - pull
    lines = [Line("momentum", f"{exact(former)} x {exact(kept)} - {step}", velocity)]
    if not optimizer.nesterov:
        return [*lines, Line("after", f"{exact(before)} + momentum", before + velocity)]
    formula = f"{exact(before)} + (momentum x {exact(kept)} - {step})"
    return [*lines, Line("after", formula, before + (velocity * kept - pull))]


def _adam(optimizer: Any, weight: Weight, rate: Any, step: int) -> list[Line]:
    """Return means of gradient and square, the corrected rate, and the weight after the step.

    Matches Keras, which corrects the learning rate, not the means.
    """
    number = weight.before.dtype.type
    before, gradient = weight.before, weight.gradient
    m, v = weight.slots["momentum"], weight.slots["velocity"]
    beta_1, beta_2 = number(optimizer.beta_1), number(optimizer.beta_2)
    rest_1, rest_2 = number(1 - optimizer.beta_1), number(1 - optimizer.beta_2)
    one, power, epsilon = number(1), number(step), number(optimizer.epsilon)
    mean = m + (gradient - m) * rest_1
    square = v + (gradient * gradient - v) * rest_2
    alpha = rate * np.sqrt(one - beta_2**power) / (one - beta_1**power)
    after = before - (mean * alpha) / (np.sqrt(square) + epsilon)
    g, corrected = (
        _term(gradient),
        f"sqrt(1 - {exact(beta_2)}^{step}) / (1 - {exact(beta_1)}^{step})",
    )
    last = f"{exact(before)} - mean x rate / (sqrt(square) + {exact(epsilon)})"
    return [
        Line("mean", f"{exact(m)} + ({g} - {_term(m)}) x {exact(rest_1)}", mean),
        Line("square", f"{exact(v)} + ({g}^2 - {exact(v)}) x {exact(rest_2)}", square),
        Line("rate", f"{exact(rate)} x {corrected}", alpha),
        Line("after", last, after),
    ]


def _term(number: Any) -> str:
    """Return a number as it stands behind a sign: in parentheses if it is negative."""
    return f"({exact(number)})" if number < 0 else exact(number)


_WRITTEN: dict[type, Callable[[Any, Weight, Any, int], list[Line]]] = {
    keras.optimizers.SGD: _sgd,
    keras.optimizers.Adam: _adam,
}


def update_parts(update: Update) -> list[Part]:
    """Return the calculation of the update of one weight."""
    weight = update.weight
    rows: list[tuple[str, str | None]] = [
        ("before", exact(weight.before)),
        ("gradient", None if weight.gradient is None else exact(weight.gradient)),
        ("learning rate", None if update.learning_rate is None else exact(update.learning_rate)),
    ]
    rows += [(line.name, f"{line.formula} = {exact(line.value)}") for line in update.lines]
    comparison = f", {apart(update.by_hand, weight.after)}" if update.lines else ""
    rows.append(("optimizer", f"{exact(weight.after)}{comparison}"))
    title = f"One weight by hand, that with the largest gradient: {weight.name}"
    return [Heading(title), facts(*rows), *([Note(f"{update.why_not}.")] if update.why_not else [])]
