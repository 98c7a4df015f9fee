"""Which functions of Keras ours re-do (`Mirrors:`), and whether they are what they were."""

import ast
import hashlib
import importlib
import inspect
import json
import re
import textwrap
from pathlib import Path
from typing import Any

import loop

RECORDED = Path(__file__).parent / "fingerprints.json"
"""Fingerprints of the functions of the release that we mirror."""


def mirrored() -> list[str]:
    """The dotted names of all functions of Keras that ours re-do."""
    sources = Path(loop.__file__).parent.rglob("*.py")
    return sorted(
        {name for one in sources for name in re.findall(r"Mirrors: (\S+)", one.read_text())}
    )


def resolve(dotted: str) -> Any:
    """The object behind a dotted name: the longest importable module, then attributes.

    Raises:
        ModuleNotFoundError, AttributeError: There is no such thing.
    """
    parts = dotted.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            found = getattr(found, part)
        return found
    raise ModuleNotFoundError(dotted)


def fingerprint(dotted: str) -> str:
    """A hash of a function's or a class's code, blind to layout, comments and docstrings."""
    try:
        source = inspect.getsource(resolve(dotted))
    except (AttributeError, ModuleNotFoundError):
        return "gone"
    tree = ast.parse(textwrap.dedent(source))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node):
            node.body = node.body[1:] or [ast.Pass()]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:16]


def reference_release() -> str:
    """The release of Keras that we mirror."""
    return str(json.loads(RECORDED.read_text())["keras"])


def changed() -> list[str]:
    """The mirrored functions that are not what they were when they were recorded."""
    recorded: dict[str, str] = json.loads(RECORDED.read_text())["functions"]
    return [name for name in mirrored() if recorded.get(name) != fingerprint(name)]
