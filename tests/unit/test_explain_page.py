"""`Explanation.html()`: a page that needs no other file, as a browser shows it."""

import html.parser
import re
import shutil
import subprocess

import keras
import pytest
from keras import layers

import loop
from compare.scenarios.first import uniform

X, Y = uniform(70)
EVIL = "<script>alert('x')</script>"


class Curious(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        pass


@pytest.fixture(scope="module")
def explanation():
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((10,)),
            layers.Dense(8, "relu", kernel_regularizer="l2"),
            layers.Dense(1, "sigmoid"),
        ]
    )
    kind = type(EVIL, (Curious,), {})
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    return loop.explain(
        model, X, Y, epochs=2, validation_split=0.2, class_weight={1: 9.0},
        callbacks=[kind()], verbose=0, step=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def page(explanation, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "fit.html"
    path.write_text(explanation.html(), encoding="utf-8")
    return path


class Tags(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.seen, self.words = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.words += data.split()


@pytest.mark.long
def test_it_needs_no_network_and_nothing_of_the_users_runs_in_it(page):
    text = page.read_text()
    tags = Tags(text).seen
    addresses = [of.get("src") or of.get("href") for _, of in tags if {"src", "href"} & {*of}]
    assert addresses == ["data:,"]
    assert "@import" not in text
    assert "url(" not in text
    assert EVIL not in text
    assert [tag for tag, _ in tags].count("script") == 1


def test_it_says_all_that_the_text_says(explanation):
    words = set(Tags(explanation.html()).words)
    said = set(str(explanation).split()) - {"-", "|"}
    capitals = {word for word in said if word.isupper()}
    missing = {word for word in said - capitals if word not in words}
    # The text marks hooks that nobody overrides with a dash, and breaks long words.
    assert len(missing) < 25, missing


def test_every_event_of_the_timeline_can_be_opened(explanation):
    fragment = explanation._repr_html_()
    summaries = re.findall(r"<summary>(.*?)<", fragment)
    assert summaries == [event.name for event in explanation.timeline.events]
    assert "<script" not in fragment, "a notebook does not run it"


chromium = pytest.mark.skipif(
    not shutil.which("chromium"), reason="there is no chromium here to open the page with"
)


def opened(page, script="", width=1000, options=()):
    """The page as chromium has it after a script of the test, and what went to the console."""
    path = page.with_name("opened.html")
    path.write_text(page.read_text().replace("</body>", f"<script>{script}</script></body>"))
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", *options]
    command += [f"--window-size={width},900", "--enable-logging=stderr", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.long
@chromium
def test_it_opens_without_errors_and_walks_through_the_events(page):
    next_button = "document.querySelectorAll('.walk button')[1]"
    script = f"{next_button}.click(); {next_button}.click();"
    script += "document.title = [...document.querySelectorAll('details')].map(one => +one.open)"
    shown, console = opened(page, script)
    assert console == []
    assert "<title>0,1,0," in shown
    assert re.search(r"<output>2 of \d+</output>", shown)


@pytest.mark.long
@chromium
def test_a_click_opens_an_event_and_another_closes_it(page):
    click = "document.querySelectorAll('summary')[3].click();"
    state = (
        "document.title = [...document.querySelectorAll('details')].filter(one => one.open).length"
    )
    assert "<title>1</title>" in opened(page, click + state)[0]
    assert "<title>0</title>" in opened(page, click * 2 + state)[0]


@pytest.mark.long
@chromium
def test_a_phone_does_not_scroll_sideways(page):
    frame = page.with_name("phone.html")
    frame.write_text(f'<iframe src="{page.name}" style="width: 390px; height: 800px"></iframe>')
    fits = (
        "addEventListener('load', () => { const inner = document.querySelector('iframe')"
        ".contentDocument.documentElement; document.title = inner.scrollWidth + '/' + "
        "inner.clientWidth })"
    )
    frame.write_text(frame.read_text() + "<body></body>")
    shown, _ = opened(frame, fits, options=["--allow-file-access-from-files"])
    inside, width = map(int, re.search(r"<title>(\d+)/(\d+)</title>", shown).groups())
    assert inside <= width <= 390


@pytest.mark.sampled
@chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_in_light_and_in_dark(page, scheme):
    colours = (
        "const style = getComputedStyle(document.body);"
        "document.title = [style.color, style.backgroundColor].join(';')"
    )
    options = ["--force-dark-mode", "--enable-features=WebUIDarkMode"] if scheme == "dark" else []
    shown, _ = opened(page, colours, options=options)
    ink, paper = (
        sum(map(int, numbers.split(","))) / 765
        for numbers in re.findall(r"rgb\(([\d, ]+)\)", re.search(r"<title>(.*?)</title>", shown)[1])
    )
    assert abs(ink - paper) > 0.6
    assert (paper < 0.5) == (scheme == "dark")
