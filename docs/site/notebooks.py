"""Make notebooks of pages and examples: `python docs/site/notebooks.py` writes build/notebooks.

A page of the docs and its notebook have the same source: its Python code becomes code cells, and
everything else text.
"""

import re
from pathlib import Path

import jupytext
import nbformat
from nbformat import NotebookNode

ROOT = Path(__file__).parents[2]
NOTEBOOKS = ROOT / "build/notebooks"

SOURCES = (
    "docs/tour.md",
    "docs/questions.md",
    "docs/build.md",
    "docs/research.md",
    "examples/base.py",
    "examples/digits_convnet.py",
    "examples/timeseries_lstm.py",
    "examples/signed_step.py",
)
"""Pages and scripts with a notebook each; a pattern stands for all files that match it."""

LINK = re.compile(r"\]\((?!\w+:|#)([^)#\s]+)")


def sources() -> list[Path]:
    """Return the files of `SOURCES` that exist."""
    return [path for pattern in SOURCES for path in sorted(ROOT.glob(pattern))]


def notebook(path: Path) -> NotebookNode:
    """Return a page or a script as a notebook."""
    text = LINK.sub(lambda link: f"]({from_notebooks(path, link[1])}", path.read_text())
    made = jupytext.reads(text, fmt="md" if path.suffix == ".md" else "py:light")
    for cell in made.cells:
        if cell.cell_type == "code" and cell.source.startswith("%%"):  # jupytext's form of a shell
            shell, _, command = cell.source.removeprefix("%%").partition("\n")
            cell.update(nbformat.v4.new_markdown_cell(f"```{shell}\n{command}\n```"))
            del cell["outputs"], cell["execution_count"]
    made.metadata["kernelspec"] = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    return made


def from_notebooks(page: Path, target: str) -> str:
    """Return a link of a page as it is from the folder of the notebooks."""
    return f"../../{(page.parent / target).resolve().relative_to(ROOT)}"


def main() -> None:
    """Write a notebook for every source."""
    NOTEBOOKS.mkdir(parents=True, exist_ok=True)
    for path in sources():
        nbformat.write(notebook(path), NOTEBOOKS / f"{path.stem}.ipynb")


if __name__ == "__main__":
    main()
