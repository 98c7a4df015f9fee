"""A Sphinx extension: docstrings as the house writes them, made into reStructuredText.

A docstring has an indented example below an unindented line, and a line `Mirrors: function`. That
of a value is the string below its assignment, in whichever module of the package that is.
"""

import ast
import importlib
import inspect
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

BEFORE_NAPOLEON, AFTER_NAPOLEON = 400, 600

SINGLE = ("attribute", "data", "property")
"""What Napoleon reads as `type: description`, while ours is a sentence that may have a colon."""


def setup(app: "Sphinx") -> dict[str, Any]:
    """Connect to autodoc."""
    app.connect("autodoc-process-docstring", rewrite, priority=BEFORE_NAPOLEON)
    app.connect("autodoc-process-docstring", keep_sentences, priority=AFTER_NAPOLEON)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def rewrite(
    app: "Sphinx", what: str, name: str, value: Any, options: Any, lines: list[str]
) -> None:
    """Mark examples as code, and the function of Keras that is mirrored."""
    lines[:] = with_mirrors(with_code(lines))


def keep_sentences(
    app: "Sphinx", what: str, name: str, value: Any, options: Any, lines: list[str]
) -> None:
    """Put back the docstring of what is documented by a sentence."""
    if what == "data":
        package, _, name = name.rpartition(".")
        said = below_assignment(importlib.import_module(package), name)
        lines[:] = [*with_code(said.splitlines()), ""]
    elif what in SINGLE:
        lines[:] = [*(inspect.getdoc(value) or "").splitlines(), ""]


def documentation(module: Any, name: str) -> str:
    """Return the docstring of a public name, unindented."""
    value = getattr(module, name)
    return (inspect.getdoc(value) or "") if callable(value) else below_assignment(module, name)


def below_assignment(module: Any, name: str) -> str:
    """Return the string below the assignment of a name, in a module or in one of its package."""
    file = Path(module.__file__)
    (found,) = (
        below.value.value
        for path in (file.parent.rglob("*.py") if file.name == "__init__.py" else [file])
        for line, below in itertools.pairwise(ast.parse(path.read_text()).body)
        if name in assigned(line) and isinstance(below, ast.Expr)
    )
    return inspect.cleandoc(found)


def assigned(line: ast.stmt) -> list[str]:
    """Return the names that a statement assigns to."""
    targets = [line.target] if isinstance(line, ast.AnnAssign) else getattr(line, "targets", [])
    return [target.id for target in targets if isinstance(target, ast.Name)]


def with_code(lines: list[str]) -> Iterator[str]:
    """Yield the lines, with a directive before each example."""
    for first, line in enumerate(lines):
        if starts_example(lines, first):
            language = "pycon" if line.lstrip().startswith(">>>") else "python"
            yield from (f".. code-block:: {language}", "")
        yield line


def starts_example(lines: list[str], place: int) -> bool:
    """Return whether a line is indented, below an empty line, below an unindented one."""
    if place < 2 or not lines[place].startswith("    ") or lines[place - 1].strip():
        return False
    above = [line for line in lines[:place] if line.strip()]
    return bool(above) and not above[-1].startswith(" ")


def with_mirrors(lines: Iterator[str]) -> Iterator[str]:
    """Yield the lines, with the name in `Mirrors: name` as code."""
    for line in lines:
        yield re.sub(r"^Mirrors: (\S+)$", r"*Mirrors* ``\1``", line)


def examples(docstring: str) -> list[str]:
    """Return the examples of a docstring, unindented."""
    lines = docstring.splitlines()
    found = []
    for first in range(len(lines)):
        if starts_example(lines, first):
            end = first
            while end < len(lines) and (lines[end].startswith("    ") or not lines[end].strip()):
                end += 1
            found.append("\n".join(line[4:] for line in lines[first:end]).rstrip() + "\n")
    return found
