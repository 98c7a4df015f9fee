"""`make map`: write docs/map.md, and the lines that links in docs/questions.md lead to.

docs/map.md lists every function of `loop` that re-does one of Keras (`Mirrors:` in its docstring),
with links to both. In docs/questions.md a link to a function, whose text is the name of the
function and whose target is the file, gets the line where the function begins:

    [`track_loss`](../loop/metrics.py)  ->  [`track_loss`](../loop/metrics.py#L21)
"""

import ast
import inspect
import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import loop
from compare.release.mirrors import reference_release, resolve

ROOT = Path(loop.__file__).parents[1]
DOCS = ROOT / "docs"
MAP, QUESTIONS, LEARN = DOCS / "map.md", DOCS / "questions.md", DOCS / "learn.md"

OURS = "../"
KERAS = f"https://github.com/keras-team/keras/blob/v{reference_release()}/"
"""What stands in a link before a path of ours, and before one of Keras."""

EITHER = f"{re.escape(OURS)}|{re.escape(KERAS)}"
LINK = re.compile(rf"\[`([\w.]+)`\]\(({EITHER})([\w/]+\.py)(?:#L\d+)?\)")
"""A link to a function or class: its name, whose it is, its file."""

HEAD = f"""# The map: our functions and Keras's

Each function of `loop/` that re-does a function of Keras {reference_release()}, as its docstring
says (`Mirrors:`), with links to the lines where the two begin, so that you can read them side by
side. Files come in [the order for reading](learn.md#the-reading-order). Which of them decides what:
[questions about fit](questions.md). `make map` writes this page.
"""


class Place(NamedTuple):
    """Where a function or class is defined.

    Attributes:
        path: Its file, from the folder that holds its package: `loop/step.py`.
        name: Its name in that file: `train_step`, `Schedule.segments`.
        line: The line of its `def` or `class`, counted from 1.
    """

    path: str
    name: str
    line: int


def main() -> None:
    """Write both pages."""
    MAP.write_text(page())
    QUESTIONS.write_text(with_lines(QUESTIONS.read_text()))
    print(f"{MAP.relative_to(ROOT)} and the links of {QUESTIONS.relative_to(ROOT)} are written")


def page() -> str:
    """Return docs/map.md: a table for each file of `loop` that mirrors anything."""
    rows = [(place(ours), keras_name, place(keras_name)) for ours, keras_name in mirrors()]
    sections = [HEAD]
    for path, group in groupby(rows, key=lambda row: row[0].path):
        table = [f"## [{path}]({OURS}{path})", "", "| here | in Keras | where |", "|---|---|---|"]
        for ours, keras_name, theirs in group:
            here = f"[`{ours.name}`]({OURS}{path}#L{ours.line})"
            where = f"[{theirs.path}, line {theirs.line}]({KERAS}{theirs.path}#L{theirs.line})"
            table.append(f"| {here} | `{keras_name}` | {where} |")
        sections.append("\n".join([*table, ""]))
    return "\n".join(sections)


def mirrors() -> list[tuple[str, str]]:
    """Return the dotted names of our functions, and of the Keras function that each mirrors.

    The files are in the order in which docs/learn.md lists them, or the folder that they are in.
    """
    listed = re.findall(r"\]\(\.\./(loop/[\w/.]+)\)", LEARN.read_text())

    def order(path: Path) -> tuple[int, Path]:
        name = str(path.relative_to(ROOT))
        places = (n for n, one in enumerate(listed) if name == one or name.startswith(f"{one}/"))
        return next(places, len(listed)), path

    return [
        (f"{module_of(str(path.relative_to(ROOT)))}.{name}", keras_name)
        for path in sorted((ROOT / "loop").rglob("*.py"), key=order)
        for name, docstring in _documented(path)
        for keras_name in re.findall(r"Mirrors: (\S+)", docstring)
    ]


def with_lines(text: str) -> str:
    """Return a page whose links to functions and classes lead to the line where each begins.

    Raises:
        ValueError: A file does not define what a link to it names.
    """

    def renewed(link: re.Match[str]) -> str:
        name, whose, path = link.groups()
        found = place(f"{module_of(path)}.{name}")
        if found[:2] != (path, name):
            raise ValueError(
                f"expected {name} in {path}, got {found.name} in {found.path}: link to the latter"
            )
        return f"[`{name}`]({whose}{path}#L{found.line})"

    return LINK.sub(renewed, text)


def place(dotted: str) -> Place:
    """Return where the function or class of a dotted name is defined, decorators left out."""
    found = inspect.unwrap(resolve(dotted))
    path = Path(inspect.getsourcefile(found) or "")
    depth = found.__module__.count(".") + (2 if path.name == "__init__.py" else 1)
    lines, first = inspect.getsourcelines(found)
    decorators = next(n for n, line in enumerate(lines) if re.match(r"\s*(def|class) ", line))
    return Place("/".join(path.parts[-depth:]), found.__qualname__, first + decorators)


def module_of(path: str) -> str:
    """Return the dotted name of the module in a file."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _documented(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the name in the file and the docstring of each function, class and method."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name, ast.get_docstring(node) or ""
        if isinstance(node, ast.ClassDef):
            for method in node.body:
                if isinstance(method, ast.FunctionDef):
                    yield f"{node.name}.{method.name}", ast.get_docstring(method) or ""


if __name__ == "__main__":
    main()
