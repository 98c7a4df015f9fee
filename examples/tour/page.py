"""Writes docs/tour.md from the rungs and the scoreboard: `python -m examples.tour.page`."""

import contextlib
import difflib
import io
import json
import re
from pathlib import Path

import jinja2

from compare import SCENARIOS
from examples.tour.scoreboard import FILE, LEFT_OUT
from examples.tour.show import RUNGS, module_of, show

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs/tour.md"

BASE = (
    "Data of every kind",
    """fit takes more than arrays of numbers: structures of them by name or by place, tensors,
pandas, None for an input that is missing, and datasets, which bring their own batches and
order. Floats become `keras.config.floatx()`, integers stay integers, lists become tuples, a
series becomes a column. This rung is [`examples/base.py`](../examples/base.py): the loop to
copy.""",
    "keras.src.trainers.data_adapters.get_data_adapter",
)
"""What the page says of the last rung, whose docstring does not know of a tour."""

SHOWN = {
    "r08_objective": "dict_losses",
    "r11_callbacks": "stop_in_mid_epoch",
    "r12_held_out": "validation_split",
    "r13_scaled_loss": "mixed_float16",
    "r14_averages": "averages",
    "base": "dict_of_inputs",
}
"""The scenario that shows what a rung adds, where it is not the example of the tour."""


def source_of(rung):
    """Return the text of a rung."""
    return Path(module_of(rung).__file__).read_text()


def code_of(rung):
    """Return the lines of a rung below its docstring."""
    return source_of(rung).split('"""\n', 1)[1].lstrip("\n").splitlines()


def difference(rung):
    """Return the difference between a rung and the one before, as lines of a unified diff."""
    before = RUNGS[RUNGS.index(rung) - 1]
    return list(difflib.unified_diff(code_of(before), code_of(rung), n=1, lineterm=""))[2:]


def call_of(rung):
    """Return the line that shows a rung."""
    return f"show({', '.join(map(repr, filter(None, [rung, SHOWN.get(rung)])))})".replace("'", '"')


def printed_by(call):
    """Return what a line prints."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(call, {"show": show})
    return printed.getvalue().rstrip()


def section(number, rung, scores, printed):
    """Return what the page says of a rung; `printed` returns what a line of code prints."""
    title, text, keras_name = described(rung)
    before = scores[RUNGS[number - 1]] if number else []
    call = call_of(rung)
    return {
        "title": title,
        "text": text,
        "keras": keras_name,
        "path": Path(module_of(rung).__file__).relative_to(HERE.parents[1]).as_posix(),
        "code": code_of(rung) if number == 0 else difference(rung),
        "call": call,
        "printed": printed(call),
        "identical": scores[rung],
        "more": [name for name in scores[rung] if name not in before],
    }


def described(rung):
    """Return the title of a rung, its text, and the function of Keras that has its rule."""
    if rung == "base":
        return BASE
    title, text = module_of(rung).__doc__.split("\n\n", 1)
    text, keras_name = re.split(r"\n+Keras: ", text.strip())
    return title.rstrip("."), text, keras_name


def render(printed):
    """Return the page; `printed` returns what a line of code prints."""
    scores = json.loads(FILE.read_text())
    rungs = [section(number, rung, scores, printed) for number, rung in enumerate(RUNGS)]
    loader = jinja2.FileSystemLoader(HERE)
    environment = jinja2.Environment(
        loader=loader, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    template = environment.get_template("tour.md.jinja")
    speed = (HERE / "speed.txt").read_text().rstrip()
    return template.render(rungs=rungs, scenarios=len(SCENARIOS), left_out=LEFT_OUT, speed=speed)


def main():
    """Write the page."""
    PAGE.write_text(render(printed_by))


if __name__ == "__main__":
    main()
