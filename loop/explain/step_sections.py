"""The first step as sections: batch, prediction and losses, gradients and update, metrics."""

from collections.abc import Iterator

import keras
import numpy as np

from loop.explain.data import named_leaves
from loop.explain.document import Note, Part, Section, Table, facts
from loop.explain.first_step import FirstStep
from loop.explain.numbers import brief, exact, plural, shape
from loop.explain.objective import objective_parts
from loop.explain.terms import term_parts
from loop.explain.update import Moved, update_parts

TITLE = "First step"


def why_not_section(reason: str) -> Section:
    """Return the section that stands where the first step cannot be shown."""
    return Section(TITLE, (Note(reason),))


def step_sections(step: FirstStep) -> tuple[Section, ...]:
    """Return the sections of the first step in numbers."""
    sections = [
        Section(f"{TITLE}: the batch", tuple(_batch(step))),
        Section(f"{TITLE}: predictions and losses", tuple(_losses(step))),
        Section(f"{TITLE}: gradients and update", tuple(_update(step))),
        Section(f"{TITLE}: metrics", tuple(_metrics(step))),
    ]
    return tuple(section for section in sections if section.parts)


def _batch(step: FirstStep) -> Iterator[Part]:
    if step.own:
        yield Note(
            f"The step is {step.own}. It was run and its effects are shown; what it computes "
            "within is its own and is not taken apart."
        )
    rows = None
    if step.drawn.rows is not None:
        shown = ", ".join(map(str, step.drawn.rows[:12]))
        rows = f"{shown}{', ...' if len(step.drawn.rows) > 12 else ''}"
    leaves = [
        (name, f"{shape(leaf)}, first {brief(leaf[0])}")
        for name, leaf in named_leaves(step.drawn.batch)
        if isinstance(leaf, np.ndarray) and len(leaf)
    ]
    yield facts(("rows", rows), *leaves)


def _losses(step: FirstStep) -> Iterator[Part]:
    leaves = zip(step.output_names, keras.tree.flatten(step.y_pred), strict=True)
    outputs = [(name, leaf) for name, leaf in leaves if isinstance(leaf, np.ndarray)]
    if outputs:
        yield facts(*((name, f"{shape(leaf)}, first {brief(leaf[0])}") for name, leaf in outputs))
    for term in step.terms:
        yield from term_parts(term)
    if step.objective is not None:
        yield from objective_parts(step.terms, step.added, step.objective, step.owns_loss)
    if step.loss_scale is not None:
        yield facts(
            ("loss scale", f"{exact(step.loss_scale)}: gradients are of the objective times this,"
             " and are divided by it again before the update")
        )  # fmt: skip


def _update(step: FirstStep) -> Iterator[Part]:
    if not step.moved:
        yield Note("There are no trainable weights: nothing is updated.")
        return
    heads = ("variable", "shape", "|weights|", "|gradient|", "|update|")
    model, _, rest = step.moved[0].path.partition("/")
    common = f"{model}/" if rest and all(m.path.startswith(f"{model}/") for m in step.moved) else ""
    yield Table(heads, tuple(_row(moved, common) for moved in step.moved), heads[:2])
    yield Note("| | is the square root of the sum of squares.")
    overflow = [one for one in step.moved if one.gradient is not None and not _is_finite(one)]
    if overflow and step.loss_scale is not None:
        yield Note("A gradient is not finite: the optimizer leaves the step out, halves the scale.")
    if step.update is not None:
        yield from update_parts(step.update)


def _row(moved: Moved, common: str) -> tuple[str, ...]:
    gradient = "-" if moved.gradient is None else _norm(moved.gradient)
    sizes = "x".join(map(str, moved.before.shape)) or "1"
    change = moved.after.astype("float64") - moved.before.astype("float64")
    return moved.path.removeprefix(common), sizes, _norm(moved.before), gradient, _norm(change)


def _norm(values: np.ndarray) -> str:
    return brief(np.linalg.norm(values.astype("float64").ravel()))


def _is_finite(moved: Moved) -> bool:
    return moved.gradient is not None and bool(np.isfinite(moved.gradient).all())


def _metrics(step: FirstStep) -> Iterator[Part]:
    heads = ("metric", "its variable", "before", "after")
    rows = tuple(
        (state.metric, state.variable, _state(state.before), _state(state.after))
        for state in step.metrics
    )
    if rows:
        yield Table(heads, rows, heads[:2])
    if step.logs:
        yield Note("Logs of the step, the metrics so far:")
        yield facts(*((name, exact(value)) for name, value in sorted(step.logs.items())))


def _state(value: np.ndarray) -> str:
    """Return a scalar, or how many numbers there are and their sum."""
    if not np.ndim(value):
        return exact(value)
    return f"{plural(np.size(value), 'number')}, sum {brief(np.sum(value))}"
