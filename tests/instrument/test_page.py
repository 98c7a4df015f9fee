"""The page of results, as a browser shows it."""

import html.parser
import math
import re
import shutil
import subprocess

import numpy as np
import pytest

from compare import Difference, Scenario
from compare.diagnosis.answer import Diagnosis, Verdict
from compare.execution.runner import Row
from compare.execution.script import ComparedCall, ScriptCall, ScriptVerdict
from compare.location.divergence import Divergence
from compare.location.heat import Heat
from compare.output.page import Page, write_page
from compare.proof import Parity
from compare.timing.costs import Cost, Costs
from compare.timing.split import PARTS
from compare.timing.throughput import Throughput

EVIL = "<script>alert('x')</script>"


def row(name, values, found=()):
    scenario = Scenario(name, f"shows {EVIL}", None, None)
    histories = {"loss": [2.0, 1.0, 0.5], "val_loss": [2.5, 2.0, 1.5]}, {"loss": [2.0, 1.1, 0.7]}
    parity = Parity(name, "exact", values, list(found), [], histories)
    times = Throughput(name, 8, [90.0, 91.0, 92.0], [9.0, 9.1, 9.2], [90.1, 90.9, 92.3])
    return Row(scenario, parity, times)


def costs():
    shares = dict(zip(PARTS, (0.5, 0.2, 0.1, 0.1, 0.1), strict=True))
    engines = {
        "model.fit": Cost(2.0, [1.0, 1.1, 1.2], 0.1, 0.01, shares, 2**30, 2),
        "auto": Cost(1.0, [0.1, 0.11, 0.12], 0.01, 0.001, shares, None, 2),
        "step": Cost(1.0, [1.0, 1.15, 1.2], None, None, shares, 2**29, 2),
    }
    scaling = {"batch": {"model.fit": {1: 100.0, 4: 140.0}, "auto": {1: 10.0, 4: 40.0}}}
    failed = {"xla": f"ValueError: {EVIL}"}
    return Costs("busy", 40, engines, [1.01, 1.09, 1.21], failed, scaling)


def whole_page():
    different = Difference("history/loss/1", 1.0, 1.1)
    call = ScriptCall("fit", "train.py:3", 2.0, 8, {"returned": 1.0})
    return Page(
        title=f"Everything {EVIL}",
        verdict="1 of 3 differ",
        holds=False,
        command="glassfit parity",
        rows=[row("bravo", 20), row("alpha", 1000), row("charlie", 100, [different])],
        place=Divergence(0, 3, "loss", "loss/objective/0", 0, 0.25, math.nan, None),
        reasons=Diagnosis(
            (Verdict("shuffle", True, "permute(x)", "keras.Model.fit", "draws twice", 1.0),)
        ),
        heat=Heat(["dense/kernel", "dense/bias"], [0, 1, 2], np.array([[0, 1, 9], [0, 0, np.inf]])),
        costs=[costs()],
        script=ScriptVerdict("train.py", [ComparedCall(call, call, 9, [different])], (1, 1)),
    )


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "deep" / "page.html"
    write_page(path, whole_page())
    return path


class Tags(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.seen = []

    def handle_starttag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))


@pytest.mark.long
def test_it_needs_no_network_and_nothing_of_the_users_runs_in_it(page):
    text = page.read_text()
    tags = Tags()
    tags.feed(text)
    addresses = [of.get("src") or of.get("href") for _, of in tags.seen if {"src", "href"} & {*of}]
    assert addresses
    assert all(one.startswith("data:") for one in addresses)
    assert "@import" not in text
    assert EVIL not in text
    assert [tag for tag, _ in tags.seen].count("script") == 1


def test_every_picture_says_in_words_what_it_shows(page):
    tags = Tags()
    tags.feed(page.read_text())
    words = [of["alt"] for tag, of in tags.seen if tag == "img"]
    assert len(words) == 3 + 1 + 1 + 1  # histories, heat, split, scaling
    assert any("differ before step 1, in dense/kernel first" in one for one in words)
    assert any("loss ends at 0.5 in the reference, at 0.7 in the candidate" in one for one in words)


def test_a_ratio_within_the_noise_is_not_printed(page):
    (of_step,) = re.findall(r"<td>step</td>.*?</tr>", page.read_text(), re.S)
    assert "<td>noise</td>" in of_step
    (of_auto,) = re.findall(r"<td>auto</td>.*?</tr>", page.read_text(), re.S)
    assert "<td>10.0x</td>" in of_auto


chromium = pytest.mark.skipif(
    not shutil.which("chromium"), reason="there is no chromium here to open the page with"
)


def opened(page, script="", width=1000):
    """The page as chromium has it after a script of the test, and what went to the console."""
    path = page.with_name("opened.html")
    path.write_text(page.read_text().replace("</body>", f"<script>{script}</script></body>"))
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command += [f"--window-size={width},900", "--enable-logging=stderr", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.long
@chromium
def test_it_opens_without_errors_and_every_picture_is_drawn(page):
    drawn = "document.title = [...document.images].every(one => one.naturalWidth > 0)"
    told, console = opened(page, f"addEventListener('load', () => {{ {drawn} }})")
    assert console == []
    assert "<title>true</title>" in told


@pytest.mark.long
@chromium
def test_a_click_on_a_heading_sorts_by_it_and_another_turns_it_round(page):
    table = "[...document.querySelectorAll('table')].at(-2)"
    names = f"[...{table}.tBodies[0].rows].map(row => row.cells[0].textContent).join()"
    click = f"{table}.querySelectorAll('button')[{{}}].click();"
    for column, clicks, order in ((2, 1, "bravo,charlie,alpha"), (2, 2, "alpha,charlie,bravo")):
        told, _ = opened(page, click.format(column) * clicks + f"document.title = {names}")
        assert f"<title>{order}</title>" in told
    told, _ = opened(page, click.format(0) + f"document.title = {names}")
    assert "<title>alpha,bravo,charlie</title>" in told


@chromium
def test_a_phone_does_not_scroll_sideways(page):
    fits = "document.title = document.documentElement.scrollWidth <= innerWidth"
    assert "<title>true</title>" in opened(page, fits, width=500)[0]
