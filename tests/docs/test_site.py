"""The site: pages without dead links, which a browser shows on a phone, in the dark, on paper."""

import html.parser
import re
import shutil
from pathlib import Path

import pytest
from conf import DOCS, NAVIGATION, ROOT, root_doc
from pictures import PICTURES, WIDTH

SITE = ROOT / "build/site"
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 900}


def test_every_page_of_the_docs_is_in_the_navigation_once():
    there = [path.relative_to(DOCS).with_suffix("") for path in DOCS.rglob("*.md")]
    listed = [page for pages in NAVIGATION.values() for page in pages]
    assert sorted(set(map(str, there)) - {root_doc}) == sorted(
        page for page in listed if (DOCS / f"{page}.md").exists()
    )
    assert len(listed) == len(set(listed))


class Page(html.parser.HTMLParser):
    """The addresses and the anchors of a page."""

    def __init__(self, path):
        super().__init__()
        self.links, self.loaded, self.anchors = [], [], {""}
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        of = dict(attributes)
        self.anchors |= {of.get("id"), of.get("name")}
        if tag == "a" and "href" in of:
            self.links.append(of["href"])
        elif tag == "link" and of.get("rel") not in ("search", "index", "next", "prev"):
            self.loaded.append(of["href"])
        elif "src" in of:
            self.loaded.append(of["src"])


@pytest.fixture(scope="module")
def pages():
    assert SITE.exists(), "run `make docs` before"
    return {path: Page(path) for path in sorted(SITE.rglob("*.html"))}


def target(path, address):
    """The file that an address on a page leads to, and the anchor in it."""
    file, _, anchor = address.partition("#")
    return (path.parent / file.partition("?")[0]).resolve() if file else path, anchor


@pytest.mark.docs
def test_no_link_is_dead(pages):
    dead = [
        (str(path.relative_to(SITE)), address)
        for path, page in pages.items()
        for address in page.links
        if not re.match(r"https?:", address)
        for file, anchor in [target(path, address)]
        if not file.exists() or (anchor and anchor not in pages[file].anchors)
    ]
    assert dead == []


@pytest.mark.docs
def test_nothing_that_a_page_loads_is_elsewhere(pages):
    loaded = [(path, address) for path, page in pages.items() for address in page.loaded]
    assert [address for path, address in loaded if not target(path, address)[0].exists()] == []
    styles = "".join(path.read_text() for path in SITE.rglob("*.css"))
    assert re.findall(r"""(?:url\(|@import)\s*["']?(?:https?:)?//[^)"']+""", styles) == []


@pytest.mark.docs
def test_links_to_code_lead_to_its_line(pages):
    learn = pages[SITE / "learn.html"]
    assert "source/loop/step.py.html" in learn.links
    step = SITE / "source/loop/step.py.html"
    line = (ROOT / "loop/step.py").read_text().splitlines().index(
        "def train_step(model: keras.Model, batch: Batch) -> Logs:"
    )  # fmt: skip
    assert f"../source/loop/step.py.html#L{line + 1}" in pages[SITE / "api/loop.html"].links
    assert f"L{line + 1}" in pages[step].anchors


@pytest.fixture(scope="module")
def browser():
    chromium = shutil.which("chromium")
    if not chromium:
        pytest.skip("there is no chromium here to open the site with")
    playwright = pytest.importorskip("playwright.sync_api", reason="make docs installs it")
    with playwright.sync_playwright() as run:
        opened = run.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def tab(request, browser):
    """A tab in a scheme of colors, with everything that goes wrong in it as `tab.wrong`."""
    context = browser.new_context(**request.param)
    opened = context.new_page()
    opened.wrong = []
    opened.on("console", lambda message: opened.wrong.append(message.text))
    opened.on("pageerror", lambda error: opened.wrong.append(str(error)))
    opened.on("requestfailed", lambda request: opened.wrong.append(request.url))
    opened.on("request", lambda request: elsewhere(opened, request.url))
    yield opened
    context.close()


def elsewhere(tab, address):
    if not address.startswith(("file:", "data:")):
        tab.wrong.append(address)


def tabs(**options):
    schemes = ("light", "dark")
    values = [{"viewport": PHONE, "color_scheme": scheme, **options} for scheme in schemes]
    return pytest.mark.parametrize("tab", values, ids=schemes, indirect=True)


SCROLLS = """[document.documentElement, ...document.querySelectorAll('.content')].some(
  part => part.scrollWidth > part.clientWidth)"""
"""Furo hides what is too wide for the page, and lets the content scroll instead."""


@pytest.mark.docs
@tabs()
def test_a_phone_shows_every_page_without_errors_and_without_scrolling_sideways(tab, pages):
    wide, broken = [], []
    for path in pages:
        tab.goto(path.as_uri())
        if tab.evaluate(SCROLLS):
            wide.append(path.name)
        if not tab.evaluate("[...document.images].every(image => image.naturalWidth > 0)"):
            broken.append(path.name)
    assert (tab.wrong, wide, broken) == ([], [], [])


BACKGROUND = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"


@pytest.mark.docs
@tabs()
def test_the_colors_are_those_that_the_reader_prefers(tab):
    tab.goto((SITE / "index.html").as_uri())
    dark = tab.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    assert (sum(tab.evaluate(BACKGROUND)[:3]) < 3 * 128) == dark


@pytest.mark.docs
@tabs(viewport=DESK)
def test_search_finds_a_page(tab):
    tab.goto((SITE / "search.html").as_uri() + "?q=regularization")
    tab.wait_for_selector("#search-results li a")
    found = tab.eval_on_selector_all("#search-results li a", "all => all.map(one => one.href)")
    assert any("reasons.html" in address for address in found)
    assert tab.wrong == []


@pytest.mark.docs
@tabs(viewport=DESK)
def test_paper_shows_the_page_and_nothing_around_it(tab):
    tab.goto((SITE / "questions.html").as_uri())
    around = ".sidebar-drawer, .toc-drawer, .mobile-header, .related-pages"
    shown = f"[...document.querySelectorAll('{around}')].filter(one => one.offsetParent).length"
    assert tab.evaluate(shown) > 0
    tab.emulate_media(media="print")
    assert tab.evaluate(shown) == 0
    assert tab.evaluate("document.querySelector('article').offsetHeight") > 1000


OVERLAPS = """() => {
  const boxes = [...document.querySelectorAll('text')].map(text => [text, text.getBBox()]);
  const apart = (a, b) => a.x + a.width <= b.x || b.x + b.width <= a.x
                       || a.y + a.height <= b.y + 1 || b.y + b.height <= a.y + 1;
  const found = [];
  boxes.forEach(([text, box], place) => {
    if (box.x < 8 || box.x + box.width > WIDTH - 8) found.push(text.textContent);
    const around = text.closest('g.box')?.querySelector('rect').getBBox();
    if (around && (box.x < around.x + 2 || box.x + box.width > around.x + around.width - 2))
      found.push(text.textContent);
    for (const [other, at] of boxes.slice(place + 1))
      if (!apart(box, at)) found.push(`${text.textContent} | ${other.textContent}`);
  });
  return found;
}"""


@pytest.mark.docs
@tabs()
@pytest.mark.parametrize("name", PICTURES)
def test_no_text_of_a_picture_leaves_its_box_or_covers_another(tab, name):
    tab.goto((Path(DOCS) / name).as_uri())
    assert tab.evaluate(OVERLAPS.replace("WIDTH", str(WIDTH))) == []
