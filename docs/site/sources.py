"""A Sphinx extension: pages that show the code, and links from the docs to their lines.

The docs link to code as GitHub needs it, `[step.py](../loop/step.py#L22)`. In the site the same
link leads to `source/loop/step.py.html#L22`, and a link to a folder leads to a list of its files.
"""

import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging

ROOT = Path(__file__).parents[2]
FOLDERS = ("loop", "compare", "bench", "examples", "tests", "docs")
"""The folders whose Python files have a page."""

LINK = re.compile(r"\]\((?!\w+:|#)([^)#\s]+)(#[^)\s]*)?\)")
logger = logging.getLogger(__name__)


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to Sphinx."""
    app.connect("source-read", mark_links)
    app.connect("html-collect-pages", pages)
    app.add_post_transform(ResolveSources)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def mark_links(app: Sphinx, docname: str, content: list[str]) -> None:
    """Write links of a page to code, and to all that is outside of docs/, as `source:path#line`."""
    docs = Path(app.srcdir)
    folder = (docs / docname).parent

    def marked(link: re.Match) -> str:
        path = (folder / link[1]).resolve()
        shown = path.is_relative_to(docs) and path.suffix != ".py"
        if shown or not path.is_relative_to(ROOT):
            return link[0]
        return f"](source:{path.relative_to(ROOT)}{link[2] or ''})"

    content[0] = LINK.sub(marked, content[0])


class ResolveSources(SphinxPostTransform):
    """Replace `source:path#line` by the address of the page of that file or folder."""

    default_priority = 500
    formats = ("html",)

    def run(self, **kwargs: Any) -> None:
        """Replace the address of every such link of a page."""
        for link in self.document.findall(nodes.reference):
            path, _, anchor = link.get("refuri", "").removeprefix("source:").partition("#")
            if link.get("refuri", "").startswith("source:"):
                if not page_of(path):
                    logger.warning("no page shows the source %s", path, location=link)
                    continue
                there = self.app.builder.get_relative_uri(self.env.docname, page_of(path))
                link["refuri"] = there + (f"#{anchor}" if anchor else "")


def page_of(path: str) -> str:
    """Return the name of the page that shows a file or a folder; empty if none does."""
    if Path(path).parts[:1] == () or Path(path).parts[0] not in FOLDERS:
        return ""
    there = ROOT / path
    if there.is_dir():
        return f"source/{path.rstrip('/')}/index"
    return f"source/{path}" if there.suffix == ".py" and there.exists() else ""


def pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yield a page for every Python file, and one for every folder with such files."""
    files = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    folders = {parent for path in files for parent in path.parents if parent.is_relative_to(ROOT)}
    for path in files:
        yield page(path, highlighted(path.read_text()))
    for folder in sorted(folders - {ROOT}):
        yield page(folder, listing([path for path in files if folder in path.parents], folder))


def page(path: Path, body: str) -> tuple[str, dict[str, Any], str]:
    """Return the name, the contents and the template of a page."""
    name = str(path.relative_to(ROOT))
    title = html.escape(name)
    context = {"title": title, "body": f"<h1>{title}</h1>\n{body}", "parents": []}
    return page_of(name), context, "page.html"


def highlighted(code: str) -> str:
    """Return code as HTML with an anchor for every line: `#L22`."""
    formatter = HtmlFormatter(lineanchors="L", linenos="inline", anchorlinenos=True)
    colored = highlight(code, PythonLexer(), formatter)
    colored = re.sub(r'(id|name)="L-(\d+)"', r'\1="L\2"', colored)
    return colored.replace('href="#L-', 'href="#L')


def listing(files: list[Path], folder: Path) -> str:
    """Return a list of links to files, with the first line of each file's docstring."""
    code = r"<code>\1</code>"
    rows = []
    for path in files:
        name = path.relative_to(folder).as_posix()
        about = re.match(r'"""(.*?)(?:"""|\n)', path.read_text())
        said = f": {re.sub(r'`(.*?)`', code, html.escape(about[1]))}" if about else ""
        rows.append(f'<li><a href="{name}.html"><code>{name}</code></a>{said}</li>')
    return f"<ul>{''.join(rows)}</ul>"
