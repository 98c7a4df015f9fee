"""What the code of a step reads from Python: a graph keeps the values of its trace."""

import contextlib
import dis
import inspect
from collections.abc import Callable, Iterator
from functools import partial
from types import CodeType, FunctionType, MethodType
from typing import Any

LIBRARIES = ("keras", "loop", "tensorflow")
"""Packages whose functions are not searched."""

_UNKNOWN = object()

Reads = dict[str, Callable[[], Any]]
"""For each name in code a function that returns its present value."""


def read_by(step: Any, *arguments: object) -> Reads:
    """Return what the code of a step reads from outside, by the names in the code.

        read_by(my_step, model)  # of the names "beta", "model.gamma", "tracker.update_state", ...

    These are closure variables, globals, defaults and attributes, also of functions that the step
    calls, if they are of the same package. What the code itself assigns is left out.

    Args:
        step: A function, a method, or an object that can be called.
        *arguments: The first arguments that it is called with.
    """
    found: Reads = {}
    with contextlib.suppress(TypeError, ValueError):  # a callable that has no code or signature
        _follow(step, arguments, found, set())
    return found


def _follow(step: Any, arguments: tuple[object, ...], found: Reads, met: set[CodeType]) -> None:
    """Add what a function reads, and what the functions that it calls read."""
    step = getattr(step, "python_function", step)  # of a tf.function
    named: dict[str, Any] = {}
    if isinstance(step, partial):
        step, arguments, named = step.func, (*step.args, *arguments), step.keywords
    if not isinstance(step, FunctionType | MethodType):
        step = step.__call__
    if isinstance(step, MethodType):
        step, arguments = step.__func__, (step.__self__, *arguments)
    if not isinstance(step, FunctionType) or step.__code__ in met or _package(step) in LIBRARIES:
        return
    met.add(step.__code__)
    given = inspect.signature(step, follow_wrapped=False).bind_partial(*arguments, **named)
    given.apply_defaults()
    values = given.arguments
    names: Reads = {
        name: partial((named if name in named else values).get, name) for name in values
    }
    for name, cell in zip(step.__code__.co_freevars, step.__closure__ or (), strict=True):
        names[name] = partial(getattr, cell, "cell_contents", _UNKNOWN)
    for name, read in _reads(step.__code__, names, step.__globals__):
        found[name], value = read, read()
        if isinstance(value, FunctionType | MethodType) and _package(value) == _package(step):
            _follow(value, (), found, met)


def _package(function: Any) -> str:
    return str(function.__module__).partition(".")[0]


def _reads(
    code: CodeType, names: Reads, module: dict[str, Any]
) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield the name and the value of each read in code, and in the functions within it."""
    operations = list(dis.get_instructions(code))
    assigned = {one.argval for one in operations if one.opname in _ASSIGNMENTS}
    path, read = "", _unknown
    for operation in operations:
        kind, name = operation.opname, operation.argval
        if kind in ("LOAD_ATTR", "LOAD_METHOD"):
            path, read = f"{path}.{name}", partial(_attribute, read, name)
        elif kind == "LOAD_GLOBAL":
            path, read = name, partial(module.get, name, _UNKNOWN)
        elif "LOAD_FAST" in kind or kind == "LOAD_DEREF":
            path = name[-1] if isinstance(name, tuple) else name  # two in one, from Python 3.13 on
            read = names.get(path, _unknown)
        else:
            read = _unknown
        if path.rpartition(".")[2] not in assigned and read() is not _UNKNOWN:
            yield path, read
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            around = {name: names[name] for name in inner.co_freevars if name in names}
            yield from _reads(inner, around, module)


_ASSIGNMENTS = ("STORE_ATTR", "STORE_DEREF", "STORE_GLOBAL")


def _unknown() -> object:
    return _UNKNOWN


def _attribute(owner: Callable[[], Any], name: str) -> Any:
    """Return an attribute without running code for it; a function of a class as a method."""
    value = inspect.getattr_static(owner(), name, _UNKNOWN)
    is_method = isinstance(value, FunctionType) and name not in getattr(owner(), "__dict__", {})
    return MethodType(value, owner()) if is_method else value
