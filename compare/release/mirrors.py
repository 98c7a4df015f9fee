"""The functions of Keras that `loop` implements anew (`Mirrors:`), and whether they changed."""

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
"""Fingerprints of these functions in the mirrored release."""


def mirrored() -> list[str]:
    """Return the dotted names of all functions that a docstring of `loop` mirrors."""
    sources = Path(loop.__file__).parent.rglob("*.py")
    return sorted(
        {name for path in sources for name in re.findall(r"Mirrors: (\S+)", path.read_text())}
    )


def resolve(dotted: str) -> Any:
    """Return the object of a dotted name: import the longest module, then take attributes.

    Raises:
        ModuleNotFoundError, AttributeError: No object has this name.
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
    """Return a hash of a function's or class's code, without layout, comments and docstrings."""
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
    """Return the version of the mirrored release."""
    return str(json.loads(RECORDED.read_text())["keras"])


def changed() -> list[str]:
    """Return the mirrored functions whose code differs from the recorded release."""
    recorded: dict[str, str] = json.loads(RECORDED.read_text())["functions"]
    return [name for name in mirrored() if recorded.get(name) != fingerprint(name)]
