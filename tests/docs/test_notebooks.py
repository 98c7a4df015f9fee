"""Notebooks have the code of their sources, and run from beginning to end."""

import re

import pytest

pytestmark = pytest.mark.docs
pytest.importorskip("jupytext", reason="make docs installs it")
nbclient = pytest.importorskip("nbclient", reason="make docs installs it")

from notebooks import NOTEBOOKS, ROOT, notebook, sources  # noqa: E402

SOURCES = [str(path.relative_to(ROOT)) for path in sources()]
PAGES = [source for source in SOURCES if source.endswith(".md")]


@pytest.mark.parametrize("source", PAGES)
def test_a_notebook_has_the_code_of_its_page_in_order(source):
    code = re.findall(r"^```python\n(.*?)^```", (ROOT / source).read_text(), re.S | re.M)
    cells = [cell.source for cell in notebook(ROOT / source).cells if cell.cell_type == "code"]
    assert cells == [block.strip("\n") for block in code]


@pytest.mark.parametrize("source", SOURCES)
def test_links_of_a_notebook_lead_somewhere(source):
    texts = [cell.source for cell in notebook(ROOT / source).cells if cell.cell_type == "markdown"]
    links = re.findall(r"\]\((?!\w+:|#)([^)#\s]+)", "\n".join(texts))
    assert [link for link in links if not (NOTEBOOKS / link).resolve().exists()] == []


@pytest.mark.timeout(900)  # a long page trains hundreds of models
@pytest.mark.parametrize("source", SOURCES)
def test_a_notebook_runs_from_beginning_to_end(source, tmp_path):
    made = notebook(ROOT / source)
    client = nbclient.NotebookClient(
        made, timeout=280, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    ran = [cell for cell in made.cells if cell.cell_type == "code"]
    assert ran
    assert all(cell.execution_count for cell in ran if cell.source)
