"""Where in a script something happens: the line, and the loop of Python around it."""

import ast
import os
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from compare.errors import UnreadableScriptError

LOOPS = (ast.For, ast.While, ast.ListComp, ast.GeneratorExp, ast.SetComp, ast.DictComp)


class Lines(NamedTuple):
    """The lines of a statement, from its first to its last."""

    first: int
    last: int

    def __contains__(self, line: object) -> bool:
        return isinstance(line, int) and self.first <= line <= self.last


class Place(NamedTuple):
    """Where a script is: the statements that lead there, from the outermost call inwards."""

    path: tuple[Lines, ...]

    @property
    def line(self) -> int:
        """The first line of the innermost statement; 0 outside of the script."""
        return self.path[-1].first if self.path else 0

    def has(self, line: int) -> bool:
        """Return whether one of the statements covers a line."""
        return any(line in lines for lines in self.path)


class ScriptLines:
    """The statements and the loops of a script.

    Args:
        script: The file.

    Raises:
        UnreadableScriptError: It does not exist, or is not valid Python.
    """

    def __init__(self, script: Path):
        self._file = os.path.realpath(script)
        nodes = list(ast.walk(parsed(script)))
        self._loops = [_lines(node) for node in nodes if isinstance(node, LOOPS)]
        simple = [
            node for node in nodes if isinstance(node, ast.stmt) and not hasattr(node, "body")
        ]
        self._statements = [_lines(node) for node in simple]

    def call(self, frame: FrameType | None) -> Place:
        """Return the statements that lead to a frame."""
        return Place(tuple(self._statement(line) for line, _ in self._script_frames(frame)))

    def loop(self, frame: FrameType | None) -> Place:
        """Return the statements that lead to the outermost loop around a frame, and the loop.

        Without a loop around it: the statements that lead to the frame.
        """
        path: list[Lines] = []
        for line, first in self._script_frames(frame):
            around = [loop for loop in self._loops if first <= loop.first and line in loop]
            if around:
                return Place((*path, min(around)))
            path.append(self._statement(line))
        return Place(tuple(path))

    def _statement(self, line: int) -> Lines:
        around = [statement for statement in self._statements if line in statement]
        return max(around, default=Lines(line, line))  # the innermost begins last

    def _script_frames(self, frame: FrameType | None) -> list[tuple[int, int]]:
        """Return the lines of the script's frames, outermost first, and where each code begins."""
        return list(reversed([*self._frames_inwards(frame)]))

    def _frames_inwards(self, frame: FrameType | None) -> Iterator[tuple[int, int]]:
        while frame:
            if os.path.realpath(frame.f_code.co_filename) == self._file:
                yield frame.f_lineno, frame.f_code.co_firstlineno
            frame = frame.f_back


def parsed(script: Path) -> ast.Module:
    """Return the syntax tree of a script; raises UnreadableScriptError."""
    try:
        return ast.parse(script.read_bytes(), str(script))
    except OSError as error:
        raise UnreadableScriptError(f"cannot read {script}: {error.strerror}") from None
    except (SyntaxError, ValueError) as error:
        raise UnreadableScriptError(f"cannot read {script} as Python: {error}") from None


def _lines(node: ast.AST) -> Lines:
    first, last = node.lineno, node.end_lineno  # type: ignore[attr-defined]
    return Lines(first, last or first)
