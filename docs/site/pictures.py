"""Draw the pictures of the docs: `python docs/site/pictures.py` writes docs/*.svg.

What they show is in the tables below. tests/docs/test_pictures.py compares it with real trainings.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from drawing import EDGE, WIDTH, Box, arrow, label, picture, rectangle, text, zoom

DOCS = Path(__file__).parents[1]
RIGHT = WIDTH - EDGE


def heading(y: float, words: str, file: str, before: str, after: str) -> Iterator[str]:
    """Yield the title of a loop level, its file, and what is called before and after it."""
    yield text(EDGE, y, words, "title")
    yield text(RIGHT, y, file, "code", "end")
    yield text(EDGE, y + 25, before, "code")
    yield text(RIGHT, y + 25, after, "code", "end")


def fit() -> str:
    """Draw fit > epochs > steps, each level below the box that it is inside of."""
    epochs = [Box(EDGE + 106 * place, 70, 98, 42) for place in range(3)]
    step = Box(104, 228, 76, 42)
    parts = [zoom(epochs[1], 158, "blue"), zoom(step, 316, "green")]
    parts += heading(34, "fit", "loop/fit.py", "on_train_begin", "on_train_end(logs)")
    parts += [label(box, "blue", f"epoch {place}") for place, box in enumerate(epochs)]
    parts += [text(347, 96, "…", "", "middle"), arrow((358, 91), (374, 91))]
    parts.append(label(Box(380, 70, 80, 42), "grey", "History"))
    parts += heading(
        192, "epoch", "loop/fit.py", "reset metrics, on_epoch_begin", "on_epoch_end(logs)"
    )
    parts += [label(step._replace(x=EDGE), "green", "step 0"), label(step, "green", "step 1")]
    parts += [text(194, 254, "…", "", "middle")]
    parts.append(label(Box(208, 228, 100, 42), "green", "last step", "may be short"))
    parts += [arrow((309, 249), (321, 249))]
    parts.append(label(Box(326, 228, 134, 42), "violet", "validation", "loop/evaluate.py"))
    parts += heading(
        350, "step", "loop/step.py", "on_train_batch_begin", "on_train_batch_end(logs)"
    )
    parts += step_boxes(386)
    return picture(
        "fit runs epochs; an epoch runs steps, then validation; a step is one batch: forward, "
        "objective, gradients, update, metrics",
        516,
        parts,
    )


PARTS_OF_A_STEP = (
    ("batch", "data/"),
    ("forward", "training=True"),
    ("objective", "objective.py"),
    ("gradients", "GradientTape"),
    ("update", "optimizer"),
    ("metrics", "metrics.py"),
)


def step_boxes(y: float) -> Iterator[str]:
    """Yield the parts of a step in two rows of three, with arrows between them."""
    boxes = [
        Box(EDGE + 154 * (place % 3), y + 66 * (place // 3), 132, 44)
        for place in range(len(PARTS_OF_A_STEP))
    ]
    for place, (box, (name, below)) in enumerate(zip(boxes, PARTS_OF_A_STEP, strict=True)):
        yield label(box, "orange" if place else "grey", name, below)
        if place % 3 < 2:
            middle = box.y + box.height / 2
            yield arrow((box.right + 2, middle), (box.right + 19, middle))
    last, first = boxes[2], boxes[3]
    turn = (last.bottom + first.y) / 2
    yield arrow(
        (last.center, last.bottom + 2), (last.center, turn), (first.center, turn),
        (first.center, first.y - 3),
    )  # fmt: skip


class Stage(NamedTuple):
    """A stage in the life of a batch: its name and file, what happens, and what is there then."""

    color: str
    name: str
    file: str
    what: str
    values: str


STAGES = {
    "Once in a fit": [
        Stage("grey", "arrays", "data/", "x and y become tensors", "x [1000, 10], y [1000]"),
    ],
    "In every epoch": [
        Stage("blue", "order", "data/order.py", "numbers of the samples, shuffled", "[1000]"),
    ],
    "In every step": [
        Stage("blue", "rows", "data/arrays.py", "the next 32 of them", "order[32:64], so [32]"),
        Stage("blue", "batch", "data/arrays.py", "these rows of x and of y", "x [32, 10], y [32]"),
        Stage("orange", "forward", "step.py", "predicts, with training=True", "y_pred [32, 1]"),
        Stage("orange", "objective", "objective.py", "mean of the losses + regularizers", "loss []"),
        Stage("orange", "gradients", "step.py", "of the loss, for each weight", "kernel [10, 1]"),
        Stage("orange", "update", "optimizer", "moves each weight", "kernel [10, 1]"),
        Stage("green", "metrics", "metrics.py", "count y_pred, from before the update", "total [], count []"),
        Stage("green", "logs", "callbacks/logs.py", "means of the epoch so far, as floats", '{"loss": 0.693}'),
    ],
}  # fmt: skip


def life_of_a_batch() -> str:
    """Draw what happens to a batch, from the arrays to the logs, top to bottom."""
    parts: list[str] = []
    y, above = 16.0, 0.0
    for when, stages in STAGES.items():
        parts.append(text(EDGE, y + 18, when, "note strong"))
        y += 30
        for stage in stages:
            box = Box(EDGE, y, 136, 44)
            if above:
                parts.append(arrow((box.right - 12, above + 2), (box.right - 12, y - 3)))
            parts.append(label(box, stage.color, stage.name, stage.file))
            parts.append(text(box.right + 18, y + 18, stage.what))
            parts.append(text(box.right + 18, y + 37, stage.values, "code"))
            y, above = y + 62, box.bottom
    title = "The life of a batch: " + ", ".join(
        stage.name for stages in STAGES.values() for stage in stages
    )
    return picture(title, y, parts)


class Hook(NamedTuple):
    """A hook that fit calls: how deep it is nested, its name, its index, and its logs by name."""

    depth: int
    name: str
    index: int | None = None
    logs: tuple[str, ...] = ()


HOOKS = (
    Hook(0, "on_train_begin"),
    Hook(1, "on_epoch_begin", 0),
    Hook(2, "on_train_batch_begin", 0),
    Hook(2, "on_train_batch_end", 0, ("loss",)),
    Hook(2, "on_train_batch_begin", 1),
    Hook(2, "on_train_batch_end", 1, ("loss",)),
    Hook(2, "on_test_begin"),
    Hook(3, "on_test_batch_begin", 0),
    Hook(3, "on_test_batch_end", 0, ("loss",)),
    Hook(2, "on_test_end", None, ("loss",)),
    Hook(1, "on_epoch_end", 0, ("loss", "val_loss")),
    Hook(0, "on_train_end", None, ("loss", "val_loss")),
)
"""The hooks of a fit of one epoch with two batches and one batch of validation data."""

COLORS = {"train": "blue", "epoch": "green", "train_batch": "orange", "test": "violet"}
COLORS["test_batch"] = "orange"


def hooks() -> str:
    """Draw the hooks of a fit from top to bottom; a bar reaches from each begin to its end."""
    top, pitch = 92, 31
    parts = [
        text(EDGE, 34, "Who is called, when, with which logs", "title"),
        text(EDGE, 58, "1 epoch, 2 batches, 1 batch of validation data", "note"),
    ]
    opened: dict[str, float] = {}
    for place, hook in enumerate(HOOKS):
        y = top + pitch * place
        event, _, end = hook.name.removeprefix("on_").rpartition("_")
        if end == "begin":
            opened[event] = y
        else:
            bar = Box(EDGE + 16 * hook.depth, opened[event], 9, y - opened[event] + 18)
            parts.append(rectangle(bar, COLORS[event]))
        called = hook.name if hook.index is None else f"{hook.name}({hook.index})"
        parts.append(text(96, y + 14, called, "code strong"))
        parts.append(text(RIGHT, y + 14, ", ".join(hook.logs) or "{}", "code", "end"))
    y = top + pitch * len(HOOKS) + 12
    for line in (
        "Each is called on your callbacks in their order, then on History",
        "and on the progress bar, all with the same dict of logs.",
        "loss: the mean over the epoch, or the validation, so far.",
    ):
        parts.append(text(EDGE, y + 8, line, "note"))
        y += 20
    return picture(
        "The hooks of a fit in order, with their logs: " + ", ".join(hook.name for hook in HOOKS),
        y + 10,
        parts,
    )


BATCH_SIZE = 32
SHAPES = {96: "[32, 10]", 100: "[None, 10]"}
"""The shape of x in the trace of a step, by the number of samples; batches have 32."""

MEANS = {
    96: ("All batches have 32 samples.", "The batch axis is static."),
    100: ("The last batch has 4 samples.", "The batch axis is dynamic."),
}


def batches_of(samples: int) -> list[int]:
    """Return the sizes of the batches that an epoch has."""
    full, short = divmod(samples, BATCH_SIZE)
    return [BATCH_SIZE] * full + [short] * bool(short)


def shapes() -> str:
    """Draw epochs with and without a short last batch, and the shape that each step has."""
    parts = []
    y = 34.0
    for samples, shape in SHAPES.items():
        parts.append(text(EDGE, y, f"{samples} samples in batches of {BATCH_SIZE}", "title"))
        x = float(EDGE)
        for size in batches_of(samples):
            box = Box(x, y + 16, max(3.9 * size, 30), 38)
            parts.append(label(box, "green" if size == BATCH_SIZE else "violet", f"{size}"))
            parts.append(arrow((box.center, box.bottom + 2), (box.center, y + 80)))
            x = box.right + 8
        trace = Box(EDGE, y + 84, x - 8 - EDGE, 46)
        parts.append(label(trace, "orange", "one trace of the step", f"x {shape}"))
        parts += [text(EDGE, y + 152 + 20 * at, line) for at, line in enumerate(MEANS[samples])]
        y += 218
    for kind, line in (
        ("note strong", "Traced again for:"),
        ("note", "a shape that no trace serves, another dtype or structure,"),
        ("note", "another step function, and after model.compile"),
        ("note strong", "Not traced again for:"),
        ("note", "more full batches or epochs, another learning rate"),
    ):
        parts.append(text(EDGE, y - 8, line, kind))
        y += 20
    return picture("Static and dynamic shapes: which batches one trace of a step serves", y, parts)


PICTURES: dict[str, Callable[[], str]] = {
    "fit.svg": fit,
    "life_of_a_batch.svg": life_of_a_batch,
    "hooks.svg": hooks,
    "shapes.svg": shapes,
}


def main() -> None:
    """Write every picture."""
    for name, draw in PICTURES.items():
        (DOCS / name).write_text(draw())


if __name__ == "__main__":
    main()
