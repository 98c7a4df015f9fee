"""The shapes that the pictures are drawn with: boxes, arrows and texts as SVG.

Colors are classes. In a dark surrounding (`prefers-color-scheme`) the same classes are dark.
A picture is 480 units wide, so its smallest text is still readable on a phone.
"""

from collections.abc import Iterable
from typing import NamedTuple
from xml.sax.saxutils import escape

WIDTH = 480
EDGE = 20
"""The margin to the left and to the right."""

STYLE = """
text { font-family: -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2933;
  font-size: 15px }
.title { font-size: 18px; font-weight: 700 }
.note { font-size: 13px; fill: #52606d }
.code { font-size: 12.5px; fill: #52606d;
  font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace }
.strong { fill: #1f2933; font-weight: 600 }
.page { fill: #ffffff; stroke: #d0d7de }
.grey { fill: #f3f4f6; stroke: #8896a5 }
.blue { fill: #dbeafe; stroke: #2563eb }
.green { fill: #dcfce7; stroke: #16a34a }
.orange { fill: #ffedd5; stroke: #ea580c }
.violet { fill: #ede9fe; stroke: #7c3aed }
path.zoom { stroke: none; opacity: 0.6 }
.line { fill: none; stroke: #8896a5; stroke-width: 1.5 }
.tip { fill: #8896a5 }
@media (prefers-color-scheme: dark) {
  text, .strong { fill: #e6edf3 }
  .note, .code { fill: #a9b6c3 }
  .page { fill: #14181d; stroke: #30363d }
  .grey { fill: #262c33; stroke: #6e7b88 }
  .blue { fill: #1c3556; stroke: #5b9bff }
  .green { fill: #153c26; stroke: #3fb968 }
  .orange { fill: #4d2c12; stroke: #f0883e }
  .violet { fill: #382b5f; stroke: #a78bfa }
  .line { stroke: #6e7b88 }
  .tip { fill: #6e7b88 }
}
"""


class Box(NamedTuple):
    """A rectangle.

    Attributes:
        x: Its left side.
        y: Its upper side.
        width: Its width.
        height: Its height.
    """

    x: float
    y: float
    width: float
    height: float

    @property
    def right(self) -> float:
        """The right side."""
        return self.x + self.width

    @property
    def bottom(self) -> float:
        """The lower side."""
        return self.y + self.height

    @property
    def center(self) -> float:
        """The middle between left and right."""
        return self.x + self.width / 2


def picture(title: str, height: float, parts: Iterable[str]) -> str:
    """Return a whole SVG file.

    Args:
        title: What the picture shows, in words, for those who cannot see it.
        height: The height in units; the width is `WIDTH`.
        parts: What is drawn, from back to front.
    """
    size = f'viewBox="0 0 {WIDTH} {height:g}" width="{WIDTH}" height="{height:g}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="title">'
    page = (
        f'<rect class="page" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1:g}" rx="10"/>'
    )
    named = f'<title id="title">{escape(title)}</title>'
    return "\n".join([head, named, f"<style>{STYLE}</style>", page, *parts, "</svg>", ""])


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    """Return a line of text.

    Args:
        x: Where it starts, or its middle or its end, as `anchor` says.
        y: The line that its letters stand on.
        words: The text.
        kind: The class, like "note" or "code".
        anchor: "start", "middle" or "end".
    """
    options = f' class="{kind}"' if kind else ""
    options += f' text-anchor="{anchor}"' if anchor != "start" else ""
    return f'<text x="{x:g}" y="{y:g}"{options}>{escape(words)}</text>'


def rectangle(box: Box, color: str) -> str:
    """Return an empty rectangle with round corners."""
    place = f'x="{box.x:g}" y="{box.y:g}" width="{box.width:g}" height="{box.height:g}"'
    return f'<rect class="{color}" {place} rx="{min(6, box.width / 2):g}"/>'


def label(box: Box, color: str, words: str, below: str = "", kind: str = "") -> str:
    """Return a rectangle with a text in its middle, and a smaller text below that."""
    middle = box.y + box.height / 2 + 5
    lines = [text(box.center, middle - 8 * bool(below), words, kind, "middle")]
    if below:
        lines.append(text(box.center, middle + 10, below, "code", "middle"))
    return f'<g class="box">{rectangle(box, color)}{"".join(lines)}</g>'


def arrow(*points: tuple[float, float]) -> str:
    """Return a line through points, with a tip at its end."""
    (*_, (before_x, before_y), (x, y)) = points
    path = " L".join(f"{a:g} {b:g}" for a, b in points)
    dx, dy = (x > before_x) - (x < before_x), (y > before_y) - (y < before_y)
    left, right = ((x - 7 * dx + 4 * side * dy, y - 7 * dy + 4 * side * dx) for side in (-1, 1))
    tip = f"M{left[0]:g} {left[1]:g} L{x:g} {y:g} L{right[0]:g} {right[1]:g} Z"
    return f'<path class="line" d="M{path}"/><path class="tip" d="{tip}"/>'


def zoom(box: Box, y: float, color: str) -> str:
    """Return the area that widens from the lower side of a box to the whole width at `y`."""
    right = WIDTH - EDGE
    path = f"M{box.x:g} {box.bottom:g} H{box.right:g} L{right:g} {y:g} H{EDGE} Z"
    return f'<path class="{color} zoom" d="{path}"/>'
