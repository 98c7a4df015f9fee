"""The README is a program: its code runs, its commands exist, its tables are those of the code."""

import re
from pathlib import Path

import pytest

import loop
from compare import SCENARIOS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
CODE = re.findall(r"```python\n(.*?)```", README, re.S)


def test_the_code_of_the_readme_runs_in_the_order_of_the_page(capsys):
    names = {}
    for block in CODE:
        exec(compile(block, "README.md", "exec"), names)
    printed = capsys.readouterr().out.splitlines()
    printed = [line for line in printed if not line.startswith("Epoch ")]  # the progress of fit
    assert 0.4 < float(printed[0]) <= 1, "a validation accuracy"
    explained = re.search(r"```text\n(plan: .*?)\n```", README, re.S)[1].splitlines()
    assert printed[1 : 1 + len(explained)] == explained
    place = re.search(r"```text\n(epoch .*?: \S+) is [^`]*?\nrandom_labels", README)[1]
    assert printed[-2].startswith(f"{place} is "), printed[-2]
    shown = re.search(r"\n(\w+): (\d+) of ([\d,]+) values", README)
    assert printed[-1].startswith(f"{shown[1]}: "), printed[-1]
    assert f" of {shown[3]} values differ" in printed[-1]
    assert int(re.search(r"(\d+) of", printed[-1])[1]) > 0


def test_the_first_use_is_twelve_lines():
    assert len([line for line in CODE[0].splitlines() if line]) <= 12


def test_the_table_of_proof_lists_every_scenario_in_order():
    table = re.search(r"<!-- table -->\n(.*?)<!-- end of table -->", README, re.S)[1]
    rows = re.findall(r"^\| `(\w+)` \| ([\w-]+) \| [\d,]+ \| 0 \| (.+) \|$", table, re.M)
    assert rows == [(one.name, one.exactness, one.shows) for one in SCENARIOS]


PAGES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"]
PAGES += [str(page.relative_to(ROOT)) for page in sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / page).read_text()):
        assert (ROOT / page).parent.joinpath(target).exists(), target


def test_every_test_that_a_decision_names_exists():
    tests = "".join(path.read_text() for path in (ROOT / "tests").glob("test_*.py"))
    for page in (ROOT / "docs/decisions").glob("*.md"):
        named = re.findall(r"`(test_\w+)`", page.read_text())
        assert named
        for name in named:
            assert f"def {name}(" in tests, name


def test_every_reason_to_differ_has_its_scenario():
    rows = (ROOT / "docs/rules.md").read_text().splitlines()
    numbered = [row for row in rows if re.match(r"\| \d", row)]
    assert len(numbered) == 30
    known = {scenario.name for scenario in SCENARIOS}
    for row in numbered:
        named = re.findall(r"`(\w+)`", row.split("|")[4])
        assert named, row
        assert set(named) <= known, row


def test_every_module_of_the_loop_is_in_the_reading_order():
    listed = set(re.findall(r"loop/(\w+)", README))
    there = {path.stem for path in (ROOT / "loop").iterdir() if path.name[0] not in "_."}
    assert there - {"types", "checks", "py"} <= listed


def test_targets_of_make_in_the_docs_exist():
    makefile = (ROOT / "Makefile").read_text()
    for page in ("README.md", "CONTRIBUTING.md", ".ci/run"):
        for target in re.findall(r"^\s*make ([\w-]+)", (ROOT / page).read_text(), re.M):
            assert re.search(rf"^{target}:", makefile, re.M), target


def test_the_version_is_the_same_everywhere():
    project = (ROOT / "pyproject.toml").read_text()
    assert f'version = "{loop.__version__}"' in project
    assert f"## [{loop.__version__}]" in (ROOT / "CHANGELOG.md").read_text()
