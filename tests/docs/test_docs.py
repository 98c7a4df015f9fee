"""The documentation is a program: its code runs and prints what it shows, its tables are true."""

import doctest
import re
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
import typer

import loop
from compare import SCENARIOS
from compare.cli.commands import app
from compare.diagnosis.rules import RULES

ROOT = Path(__file__).parents[2]
DOCS = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))
PAGES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", *DOCS]
TEXT = {page: (ROOT / page).read_text() for page in PAGES}
README = TEXT["README.md"]
KNOWN = {scenario.name for scenario in SCENARIOS}
CODE = re.compile(r"```python\n(.*?)```(?:\n+```text\n(.*?)```)?", re.S)


def run_page(text, capsys, names=None):
    """Run the code of a page in its order; after each block compare what it printed and shows."""
    names = {} if names is None else names
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    for code, shown in CODE.findall(text):
        exec(compile(code, "page", "exec"), names)
        printed = capsys.readouterr().out
        if shown:
            assert doctest.OutputChecker().check_output(shown, printed, options), printed
    return names


def sections(text):
    """Each section of the second level, behind what stands above the first."""
    above, *below = re.split(r"^(?=## )", text, flags=re.M)
    return {part.splitlines()[0][3:]: above + part for part in below}


def test_the_use_of_the_readme_trains_in_at_most_twelve_lines():
    ((code, _),) = CODE.findall(README)
    assert len([line for line in code.splitlines() if line]) <= 12
    assert "keras.utils.set_random_seed(0)" in code
    names: dict = {}
    exec(compile(code, "README.md", "exec"), names)
    assert 0.4 < names["history"].history["val_accuracy"][-1] <= 1


@pytest.mark.sampled
@pytest.mark.parametrize(
    "page", [f"docs/{name}.md" for name in ("learn", "build", "research", "compare")]
)
def test_the_code_of_a_page_runs_and_prints_what_it_shows(page, capsys):
    run_page(TEXT[page], capsys)


COMPILED_ONLY = ("The step", "Data", "The engine", "Several outputs: why is")
"""Sections, and a question, that print something else without graphs, or gain nothing."""


def run_section(section, capsys, eagerly):
    """Run the code of a section of docs/questions.md, with or without graphs."""
    text = sections(TEXT["docs/questions.md"])[section]
    above, *questions = re.split(r"^(?=### )", text, flags=re.M)
    names = run_page(above, capsys)
    for question in questions:
        name = re.match(r"### \d+\. (.+)", question)[1]
        graphs = not eagerly or section in COMPILED_ONLY or name.startswith(COMPILED_ONLY)
        tf.config.run_functions_eagerly(not graphs)
        try:
            run_page(question, capsys, names)
        finally:
            tf.config.run_functions_eagerly(False)


@pytest.mark.sampled
@pytest.mark.filterwarnings("ignore:Even though the `tf.config")
@pytest.mark.parametrize("section", sections(TEXT["docs/questions.md"]))
def test_each_answer_about_fit_is_what_keras_and_loop_print(section, capsys):
    run_section(section, capsys, eagerly=True)  # most of the time of these fits is tracing


@pytest.mark.slow
@pytest.mark.parametrize(
    "section", sorted({*sections(TEXT["docs/questions.md"])} - {*COMPILED_ONLY})
)
def test_each_answer_that_is_run_without_graphs_is_what_compiled_fits_print(section, capsys):
    run_section(section, capsys, eagerly=False)


def test_the_sections_and_questions_that_are_always_compiled_are_there():
    for name in COMPILED_ONLY:
        assert re.search(rf"^##(#? \d+\.)? {name}", TEXT["docs/questions.md"], re.M), name


def small_model(policy="float32", frozen=False, unused=False):
    keras.utils.set_random_seed(0)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.Dense(1)])
        if unused:
            model.unused = keras.layers.Dense(2)
            model.unused.build((None, 4))
        model.trainable = not frozen
        model.compile("adam", "mse")
    finally:
        keras.config.set_dtype_policy(before)
    return model


@pytest.mark.long
@pytest.mark.parametrize(
    "kind", [{"policy": "mixed_float16"}, {"frozen": True}, {"unused": True}], ids=str
)
def test_the_step_to_copy_survives_half_precision_frozen_and_unused_weights(kind):
    names: dict = {}
    exec(compile(CODE.findall(TEXT["docs/build.md"])[0][0], "docs/build.md", "exec"), names)
    x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
    model = small_model(**kind)
    before = [weight.numpy() for weight in model.layers[0].weights]
    arguments = {"epochs": 3, "verbose": 0, "train_step": names["centered_step"]}
    history = loop.fit(model, x, x[:, :1], **arguments)
    assert np.isfinite(history.history["loss"]).all()
    moved = [
        bool((weight.numpy() != old).any())
        for weight, old in zip(model.layers[0].weights, before, strict=True)
    ]
    assert moved == [not kind.get("frozen", False)] * 2
    if "policy" in kind:
        assert int(model.optimizer.iterations) > 0, "every step overflowed"


def test_the_readme_has_at_most_150_lines():
    assert len(README.splitlines()) <= 150


def test_the_table_of_proof_lists_every_scenario_in_order():
    table = re.search(r"<!-- table -->\n(.*?)<!-- end of table -->", TEXT["docs/proof.md"], re.S)[1]
    rows = re.findall(r"^\| `(\w+)` \| ([\w-]+) \| [\d,]+ \| 0 \| (.+) \|$", table, re.M)
    assert rows == [(scenario.name, scenario.exactness, scenario.shows) for scenario in SCENARIOS]


@pytest.mark.parametrize("page", [page for page in PAGES if page != "CHANGELOG.md"])
def test_the_number_of_scenarios_is_theirs(page):
    counts = re.findall(r"(\d+) (?:of (\d+) )?scenarios", TEXT[page])
    assert all(int(count) == len(KNOWN) for counted in counts for count in counted if count)


def anchors(path):
    """The anchors that GitHub gives to the headings of a page, or to the lines of code."""
    text = path.read_text()
    if path.suffix == ".py":
        return {f"L{number}" for number, _ in enumerate(text.splitlines(), 1)}
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", TEXT[page]):
        path = (ROOT / page).parent.joinpath(target) if target else ROOT / page
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), f"{target}#{anchor}"


def test_every_test_that_a_decision_names_exists():
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    for page in (ROOT / "docs/decisions").glob("*.md"):
        named = re.findall(r"`(test_\w+)`", page.read_text())
        assert named
        for name in named:
            assert f"def {name}(" in tests, name


def cells_of(row):
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_every_reason_to_differ_has_its_scenario():
    rows = [cells_of(row) for row in TEXT["docs/reasons.md"].splitlines()]
    reasons = [row for row in rows if row[0].isdigit()]
    assert [int(row[0]) for row in reasons] == list(range(1, len(reasons) + 1))
    for row in reasons:
        named = set(re.findall(r"`(\w+)`", row[3]))
        assert named, row
        assert named <= KNOWN, row


def test_every_rule_that_diagnose_names_stands_once_beside_a_reason():
    rows = [cells_of(row) for row in TEXT["docs/reasons.md"].splitlines()]
    beside = [row[4] for row in rows if row[0].isdigit()]
    alone = [row[0] for row in rows if re.fullmatch(r"`\w+`", row[0])]
    named = re.findall(r"`(\w+)`", " ".join(beside + alone))
    assert sorted(named) == sorted(rule.rule for rule in RULES)


QUESTIONS = re.split(r"^(?=### )", TEXT["docs/questions.md"], flags=re.M)[1:]


def test_each_question_is_answered_in_two_lines_and_then_in_numbers():
    assert len(QUESTIONS) >= 44
    for question in QUESTIONS:
        _, answer, rest = question.split("\n\n", 2)
        lines = re.sub(r"\]\([^)]*\)", "]", answer).splitlines()
        assert len(lines) <= 2, question
        assert max(map(len, lines)) <= 100, question
        assert rest.startswith("```python\n"), question
        assert CODE.match(rest)[2], f"prints nothing: {question}"


def test_every_answer_names_the_code_that_does_it_in_loop_and_in_keras_and_a_scenario():
    in_engine = TEXT["docs/questions.md"].split("\n## The engine\n")[1]
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    for question in QUESTIONS:
        below = re.search(r"^Code: .+?(?=\n\n|\Z)", question, re.M | re.S)[0]
        said = dict(
            re.findall(r"^(Code|Keras|Scenario|Test|Asked)s?: (.+?)\.$", below, re.M | re.S)
        )
        assert re.match(r"\[`[\w.]+`\]\(\.\./\w+/.+\.py#L\d+\)", said["Code"]), question
        assert re.match(r"\[`[\w.]+`\]\(https:.+/keras/src/.+\.py#L\d+\)", said["Keras"]), question
        scenarios = set(re.findall(r"`(\w+)`", said.get("Scenario", "")))
        assert scenarios <= KNOWN, question
        for name in re.findall(r"`(\w+)`", said.get("Test", "")):
            assert f"def {name}(" in tests, name
        assert scenarios or "Test" in said or question in in_engine, question


TRACKERS = {
    "keras": "https://github.com/keras-team/keras",
    "tf": "https://github.com/tensorflow/tensorflow",
    "tf-keras": "https://github.com/keras-team/tf-keras",
    "keras-cv": "https://github.com/keras-team/keras-cv",
    "keras-io": "https://github.com/keras-team/keras-io",
    "stats.stackexchange": "https://stats.stackexchange.com",
}


def test_the_name_of_a_thread_is_that_of_its_link():
    threads = re.findall(r"\[([\w./-]+)#(\d+)\]\((.+?)\)", TEXT["docs/questions.md"])
    assert len(threads) > 100
    for tracker, number, url in threads:
        site = re.escape(TRACKERS.get(tracker, f"https://github.com/{tracker}"))
        assert re.fullmatch(rf"{site}/(issues|pull|questions)/{number}", url), url


def test_the_questions_are_numbered_and_each_is_in_the_index():
    text = TEXT["docs/questions.md"]
    numbers = [int(number) for number in re.findall(r"^### (\d+)\. ", text, re.M)]
    assert numbers == list(range(1, len(numbers) + 1))
    index = text[: text.index("\n## ")]
    assert [int(number) for number in re.findall(r"\[(\d+) [^]]+\]\(#\1-", index)] == numbers


def test_every_module_of_the_loop_is_in_the_reading_order():
    listed = set(re.findall(r"\]\(\.\./(loop/[\w/.]+)\)", TEXT["docs/learn.md"]))
    for path in (ROOT / "loop").rglob("*.py"):
        if path.name != "__init__.py":
            names = {str(path.relative_to(ROOT)), str(path.parent.relative_to(ROOT))}
            assert names & listed, names


def commands(text):
    """The words of every `glassfit ...` in code."""
    code = re.findall(r"```sh\n(.*?)```", text, re.S) + re.findall(r"`(glassfit[^`]*)`", text)
    return [
        found.split()
        for block in code
        for found in re.findall(r"^(?:\.venv/bin/)?glassfit ([a-z-][^#\n]*)", block, re.M)
    ]


@pytest.mark.parametrize("page", [page for page in PAGES if page != "CHANGELOG.md"])
def test_every_command_in_the_docs_exists_with_its_options(page):
    group = typer.main.get_command(app)
    for words in commands(TEXT[page]):
        command = group.commands[words[0]] if words[0][0] != "-" else group
        known = {name for option in command.params for name in option.opts}
        known |= {"--install-completion"} if command is group else set()
        end = 2 if words[0] == "run" else len(words)  # what stands behind a script is its own
        assert {word for word in words[:end] if word.startswith("--")} <= known, words


def test_targets_of_make_in_the_docs_exist():
    makefile = (ROOT / "Makefile").read_text()
    pages = {**TEXT, ".ci/run": (ROOT / ".ci/run").read_text()}
    del pages["CHANGELOG.md"]  # it tells of targets that are gone, too
    for page, text in pages.items():
        for target in re.findall(r"(?:^\s*|`)make ([\w-]+)", text, re.M):
            assert re.search(rf"^{target}:", makefile, re.M), f"{page}: {target}"


def test_the_version_is_the_same_everywhere():
    project = (ROOT / "pyproject.toml").read_text()
    assert f'version = "{loop.__version__}"' in project
    assert f"## [{loop.__version__}]" in (ROOT / "CHANGELOG.md").read_text()
