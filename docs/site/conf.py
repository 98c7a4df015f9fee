"""The settings of the site: `make docs` runs Sphinx on docs/ with them."""

import inspect
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
DOCS, ROOT = HERE.parent, HERE.parents[1]
sys.path[:0] = [str(HERE), str(ROOT)]

NAVIGATION = {
    "Learn": ["learn", "tour", "pictures", "questions", "reasons", "errors", "map"],
    "Build": ["build", "research"],
    "Measure": ["compare", "costs", "proof"],
    "Reference": ["api/loop", "api/callbacks", "api/compare", "quirks", "limits"],
    "Project": ["decisions/fusion", "decisions/site", "contributing", "changelog"],
}
"""The pages in the order of the navigation; pages that do not exist are left out.

Sphinx warns of a page that is missing here, and a warning fails the build."""

# What is built.
project = "glassfit"
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.linkcode",
    "sphinx.ext.napoleon",
    "docstrings",
    "sources",
]
root_doc = "index"
exclude_patterns = ["site"]
nitpicky = False

# Markdown as GitHub reads it: the same anchors of headings. `source:` is ours: see sources.py.
myst_heading_anchors = 4
myst_url_schemes = ["http", "https", "source"]

# Docstrings.
default_role = "py:obj"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
python_use_unqualified_type_names = True
maximum_signature_line_length = 80
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True

# What it looks like. Fonts are those of the reader's system: the site needs no network.
html_theme = "furo"
html_title = "glassfit"
html_static_path = ["style.css"]
html_css_files = ["style.css"]
html_use_index = False
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
html_show_search_summary = False  # it would be fetched, which browsers refuse for files on disk
html_theme_options = {"top_of_page_buttons": []}


def setup(app: Any) -> None:
    """Add the navigation to the home page, which is plain Markdown."""
    app.connect("source-read", add_navigation)


def add_navigation(app: Any, docname: str, content: list[str]) -> None:
    """Append a hidden table of contents to the home page for each part of `NAVIGATION`."""
    if docname != root_doc:
        return
    for part, pages in NAVIGATION.items():
        there = [page for page in pages if (DOCS / f"{page}.md").exists()]
        content[0] += "\n".join(
            ["\n\n```{toctree}", ":hidden:", f":caption: {part}", "", *there, "```\n"]
        )


def linkcode_resolve(domain: str, info: dict[str, str]) -> str | None:
    """Return the link from a documented object to the line where it is defined."""
    value: Any = sys.modules.get(info["module"])
    for name in info["fullname"].split("."):
        value = getattr(value, name, None)
    if domain != "py" or not (inspect.isfunction(value) or inspect.isclass(value)):
        return None
    value = inspect.unwrap(value)
    path = Path(inspect.getsourcefile(value) or "")
    if not path.is_relative_to(ROOT):
        return None
    return f"source:{path.relative_to(ROOT)}#L{inspect.getsourcelines(value)[1]}"
