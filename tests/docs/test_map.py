"""docs/map.md is what docstrings say, and links to code lead to the line where it begins."""

import re
from pathlib import Path

import keras
import pytest

from compare.release.map import KERAS, OURS, page, place, with_lines

ROOT = Path(__file__).parents[2]
MAP, QUESTIONS = (ROOT / "docs" / f"{name}.md" for name in ("map", "questions"))
FOLDERS = {OURS: ROOT, KERAS: Path(keras.__file__).parents[1]}
TO_CODE = re.compile(rf"\[([^]]+)\]\(({'|'.join(map(re.escape, FOLDERS))})([\w/]+\.py)#L(\d+)\)")


def defined_at(whose, path, line):
    """The function or class that begins at a line."""
    code = (FOLDERS[whose] / path).read_text().splitlines()[int(line) - 1]
    found = re.match(r"\s*(?:def|class) (\w+)", code)
    assert found, f"{path}, line {line}: {code}"
    return found[1]


@pytest.mark.long
def test_both_pages_are_as_they_are_generated():
    assert MAP.read_text() == page(), "run `make map`"
    assert QUESTIONS.read_text() == with_lines(QUESTIONS.read_text()), "run `make map`"


def test_the_map_has_a_row_for_every_function_that_mirrors_one():
    sources = [path.read_text() for path in (ROOT / "loop").rglob("*.py")]
    said = [name for source in sources for name in re.findall(r"Mirrors: (\S+)", source)]
    rows = re.findall(r"^\| \[.+?\| `(.+?)` \|", MAP.read_text(), re.M)
    assert len(rows) > 50
    assert sorted(rows) == sorted(said)


def test_the_rows_of_the_map_lead_to_the_lines_where_both_functions_begin():
    for row in re.findall(r"^\| \[.+", MAP.read_text(), re.M):
        here, name, where = row.strip("| ").split(" | ")
        ((label, *ours),), ((_, *theirs),) = TO_CODE.findall(here), TO_CODE.findall(where)
        assert defined_at(*ours) == label.strip("`").split(".")[-1], row
        assert defined_at(*theirs) == name.strip("`").split(".")[-1], row


def test_the_links_of_the_questions_lead_to_the_line_where_the_function_begins():
    links = TO_CODE.findall(QUESTIONS.read_text())
    assert len(links) > 88  # a function of loop and one of Keras for each question
    for label, *target in links:
        assert defined_at(*target) == label.strip("`").split(".")[-1], target


def test_lines_are_renewed_and_names_that_a_file_does_not_define_are_refused():
    for line in ("", "#L1"):
        text = f"before [`track_loss`]({OURS}loop/metrics.py{line}) after"
        expected = place("loop.metrics.track_loss").line
        assert with_lines(text) == f"before [`track_loss`]({OURS}loop/metrics.py#L{expected}) after"
    with pytest.raises(ValueError, match=r"expected loss_tracker in loop/metrics.py, got .*_keras"):
        with_lines(f"[`loss_tracker`]({OURS}loop/metrics.py)")
    with pytest.raises(AttributeError):
        with_lines(f"[`no_such_function`]({OURS}loop/metrics.py)")
