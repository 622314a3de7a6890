"""The page, in a real browser: it plays, it folds, it can be read in every way, and nothing in it runs or leaves."""

from __future__ import annotations

import importlib.util
import itertools
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_step import GRAPHS, neuron, shared

import chainrule as cr
from chainrule import visualize

pytestmark = pytest.mark.slow

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(
    CHROMIUM is None or importlib.util.find_spec("playwright") is None, reason="needs Chromium and playwright"
)
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)

HOSTILE = [
    "<script>document.title = 'run'</script>", "</script><script>document.title = 'run'</script>", '"]; evil', "<!--",
    "</title></style><img src=x onerror=\"document.title='run'\">", "🎉👩‍🚀", "שלום", "\u202edrawkcab", "x" * 10_000,
    r"a_{b}^\frac{1}{2}\right", "${title}$data", "\ud83d half", "\x00\n\t", "u1", "__proto__", "&amp;&#60;",
]  # fmt: skip


def hostile() -> Any:
    total = cr.Value(0.5, name=HOSTILE[0])
    for i, name in enumerate(HOSTILE[1:]):
        total = total * 0.5 + cr.Value(float(i), name=name)
    total.name = HOSTILE[1]
    return total


def large() -> Any:
    rng = np.random.default_rng(0)
    layer = [cr.Value(float(x), name=f"x{i}") for i, x in enumerate(rng.normal(size=8))]
    for k in range(2):
        weights = [
            [cr.Value(float(w), name=f"w{k}{i}{j}") for j, w in enumerate(rng.normal(size=len(layer)))]
            for i in range(6)
        ]
        layer = [cr.tanh(sum((w * x for w, x in zip(row, layer, strict=True)), cr.Value(0.1))) for row in weights]
    return sum(layer[1:], layer[0]) ** 2


def test_the_page_allows_its_own_style_and_script_alone() -> None:
    text = visualize.step(hostile(), title="</title><script>alert(1)</script>").html
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    assert policy[1].startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy[1]
    assert text.count("<script") == text.count("</script>") == 2
    assert text.count("<style") == text.count("</style>") == 1
    assert not re.search(
        r"\son\w+=|javascript:|<link[^>]*href=\"http|@import|<img|src=\"",
        text.split('<script type="application/json"')[0],
    )
    data = re.search(r'<script type="application/json" id="story">(.*?)</script>', text, re.DOTALL)
    assert data is not None
    assert "x" * 10_000 in [node.get("full") for node in json.loads(data[1])["nodes"]]


def test_300_nodes_take_less_than_a_megabyte() -> None:
    page = visualize.step(large())
    assert len(page.story.names) > 250
    assert len(page.html.encode()) < 400_000


def test_in_a_notebook() -> None:
    page = visualize.step(shared(), title='"><b>')
    assert page._repr_html_().startswith('<iframe title="&quot;&gt;&lt;b&gt;" sandbox="allow-scripts" ')
    assert str(page) == str(page.story)
    assert repr(page) == "StepPage('\"><b>', 7 steps)"


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text("before")
    with pytest.raises(ValueError, match="needs a seed"):
        visualize.step(cr.Tensor([1.0, 2.0]) * 2.0, path)
    assert path.read_text() == "before"
    assert visualize.step(shared(), str(path)) == path
    assert path.read_text(encoding="utf-8") == visualize.step(shared()).html
    assert list(tmp_path.iterdir()) == [path]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
        yield browser
        browser.close()


class Tab:
    """A page in the browser, and all that it complained of or asked for."""

    def __init__(self, browser: Any, root: Any, folder: Path, **options: Any) -> None:
        self.path = visualize.step(root, folder / "page.html")
        self.context = browser.new_context(
            **{"viewport": {"width": 1280, "height": 800}, "reduced_motion": "reduce", **options}
        )
        self.page = self.context.new_page()
        self.heard: list[str] = []
        self.page.on("console", lambda message: self.heard.append(message.text))
        self.page.on("pageerror", lambda error: self.heard.append(str(error)))
        self.page.on("request", lambda request: self.heard.append(request.url))
        self.page.on("dialog", lambda dialog: self.heard.append("dialog"))
        self.page.goto(self.path.as_uri())

    def __enter__(self) -> Tab:
        return self

    def __exit__(self, *exception: object) -> None:
        self.context.close()
        if exception[0] is None:
            assert self.heard == [self.path.as_uri()]

    def text(self, selector: str) -> str:
        return str(self.page.text_content(selector))

    @property
    def count(self) -> str:
        return self.text("#counter")

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def gradients(self) -> list[str]:
        return [text for text in self.page.locator(".node .grad").all_text_contents() if text]


@needs_browser
def test_stepping(browser: Any, tmp_path: Path) -> None:
    from playwright.sync_api import expect

    with Tab(browser, neuron(), tmp_path) as tab:
        assert tab.count == "1 of 13"
        assert tab.page.locator(".node.pending").count() == 5
        tab.press("ArrowRight")
        assert "Compute u1" in tab.text("#panel h2").replace("\n", "")
        assert tab.page.locator(".node.now").get_attribute("aria-label") == "u1, mul: value −6"
        assert tab.page.locator(".edge.lit.forward").count() == 2
        tab.press("End")
        assert tab.count == "13 of 13"
        assert tab.page.locator(".node.finished").count() == 10
        assert "−1.5" in tab.text("#panel")
        tab.press("Home", "ArrowRight", "ArrowRight", "ArrowLeft")
        assert tab.count == "2 of 13"
        tab.page.locator("#slider").fill("7")
        assert tab.count == "8 of 13"
        assert "1 · (1 − 0.707107²)" in tab.text("#spoken")
        tab.page.click("#next")
        assert "∂o/∂u3 += ∂o/∂u4 · 1 = 0.5 · 1 = 0.5" in tab.text("#spoken")
        assert tab.page.locator(".edge.lit.backward").count() == 2
        tab.page.select_option("#speed", "10")
        tab.page.locator("#graph").focus()
        tab.press("Home")
        tab.page.click("#play")
        expect(tab.page.locator("#play")).to_have_attribute("aria-label", "Pause")
        expect(tab.page.locator("#counter")).to_have_text("13 of 13")
        expect(tab.page.locator("#play")).to_have_attribute("aria-label", "Play")


@needs_browser
@pytest.mark.parametrize("name", GRAPHS)
def test_the_last_step_shows_the_gradients_of_the_story(browser: Any, tmp_path: Path, name: str) -> None:
    root = GRAPHS[name]()
    with Tab(browser, root, tmp_path) as tab:
        tab.press("End")
        story = visualize.story(root)
        assert len(tab.gradients()) == sum(gradient is not None for gradient in story.gradients)
        assert tab.page.locator("#rows tr").count() == len(story)


@needs_browser
def test_contributions_add_up(browser: Any, tmp_path: Path) -> None:
    with Tab(browser, shared(), tmp_path) as tab:
        tab.page.locator("#slider").fill("4")
        assert tab.page.locator(".node.partial").get_attribute("aria-label").endswith("gradient 1 so far")
        tab.press("ArrowRight")
        panel = re.sub(r"\s", "", tab.text("#panel"))
        assert "2contributionsof3sofar" in panel
        assert "all3contributions" in panel
        assert "=1+3+3=7" in panel


@needs_browser
def test_history_search_and_source(browser: Any, tmp_path: Path) -> None:
    with cr.record_lines():
        root = neuron()
    with Tab(browser, root, tmp_path) as tab:
        tab.press("End", "/")
        tab.page.keyboard.type("w1")
        assert tab.page.locator(".node.match").count() == 1
        tab.press("Enter")
        history = tab.text("#selected")
        assert "∂o/∂w1 += ∂o/∂u1 · x1 = 0.5 · 2 = 1" in history
        tab.page.locator("#selected .history button").last.click()
        assert tab.count == "12 of 13"
        tab.page.locator(".node.root").dispatch_event("click")
        assert "o = cr.tanh(x1 * w1 + x2 * w2 + b)" in tab.text("#selected")
        tab.press("Escape")
        assert tab.page.locator("#selected").count() == 0


@needs_browser
def test_keyboard_alone(browser: Any, tmp_path: Path) -> None:
    with Tab(browser, shared(), tmp_path) as tab:
        tab.press("ArrowDown", "ArrowDown", "Enter")
        assert tab.page.evaluate("document.activeElement.getAttribute('role')") == "button"
        assert tab.page.locator("#selected").count() == 1
        tab.press("?")
        assert tab.page.locator("dialog").is_visible()
        tab.press("Escape")
        tab.press("ArrowRight")
        assert tab.count == "2 of 7"


@needs_browser
@pytest.mark.parametrize("size", [(1280, 800), (360, 740)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_hostile_names_are_shown_and_not_run(browser: Any, tmp_path: Path, size: tuple[int, int], scheme: str) -> None:
    view = {"width": size[0], "height": size[1]}
    with Tab(browser, hostile(), tmp_path, viewport=view, color_scheme=scheme) as tab:
        for _ in range(int(tab.count.split(" of ")[1]) - 1):
            tab.press("ArrowRight")
        assert tab.page.title().startswith("Backpropagation from </script>")
        assert tab.page.locator("img").count() == 0
        assert tab.page.evaluate("document.documentElement.scrollWidth") <= size[0]
        assert tab.page.evaluate("document.documentElement.dataset.theme") == scheme
        tab.page.locator(".node", has_text="xxxx").dispatch_event("click")
        assert tab.page.locator("#selected .full").inner_text() == "x" * 10_000


@needs_browser
def test_print_shows_the_end_and_every_step(browser: Any, tmp_path: Path) -> None:
    with Tab(browser, neuron(), tmp_path, color_scheme="dark") as tab:
        tab.press("ArrowRight")
        tab.page.emulate_media(media="print")
        tab.page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert tab.page.locator("#all").is_visible()
        assert not tab.page.locator("footer").is_visible()
        assert len(tab.gradients()) == 10
        tab.page.evaluate("dispatchEvent(new Event('afterprint'))")
        tab.page.emulate_media(media="screen")
        assert tab.count == "2 of 13"


@needs_browser
def test_boxes_do_not_overlap(browser: Any, tmp_path: Path) -> None:
    with Tab(browser, large(), tmp_path) as tab:
        boxes = tab.page.evaluate(
            "[...document.querySelectorAll('.node > .card:not(.outline)')].map(e => e.getBoundingClientRect()).map(r => [r.left, r.top, r.right, r.bottom])"
        )
        corners = np.array(boxes)
        lower, upper = corners[:, None, :2], corners[:, None, 2:]
        apart = np.any((upper <= np.swapaxes(lower, 0, 1)) | (np.swapaxes(upper, 0, 1) <= lower), axis=-1)
        assert apart.sum() == len(boxes) * (len(boxes) - 1)


CAMERA = """() => {
  const seen = [], rect = element => element.getBoundingClientRect();
  while (!document.querySelector("#next").disabled) {
    document.querySelector("#next").click();
    const stage = rect(document.querySelector("#stage")), node = document.querySelector(".node.now");
    const [scale] = /scale.*/.exec(document.querySelector("#canvas").style.transform), r = node ? rect(node) : stage;
    seen.push([scale, r.left >= stage.left && r.right <= stage.right && r.top >= stage.top && r.bottom <= stage.bottom]);
  }
  return seen;
}"""


@needs_browser
def test_the_camera_follows_calmly(browser: Any, tmp_path: Path) -> None:
    """The node of the step is in sight, at a scale that hardly ever changes: each new one has to be painted anew."""
    with Tab(browser, large(), tmp_path, viewport={"width": 390, "height": 844}) as tab:
        seen = tab.page.evaluate(CAMERA)
        assert len(seen) > 300
        assert [step for step, (_, inside) in enumerate(seen, start=2) if not inside] == []
        assert sum(before != after for (before, _), (after, _) in itertools.pairwise(seen)) <= 8


@needs_browser
def test_modules_fold_and_unfold(browser: Any, tmp_path: Path) -> None:
    model = cr.nn.scalar.MLP(2, [3, 1], activation="tanh", rng=0, fused=False)
    with Tab(browser, (model([0.5, -1.0]) - 1.0) ** 2, tmp_path) as tab:
        nodes, steps = tab.page.locator(".node").count(), tab.count
        tab.press("F")
        folded = tab.page.locator(".node").count()
        assert folded < nodes
        tab.press("End")
        labels = [group.get_attribute("aria-label") for group in tab.page.locator(".node.group").all()]
        assert "Neuron layers.0.neurons.0, folded, 2 operations, 2 computed, 2 passed back" in labels
        tab.page.locator(".node.group").first.click()
        assert tab.page.locator(".node").count() > folded
        tab.page.click("#fold")
        assert tab.page.locator(".node").count() == nodes
        tab.press("Home")
        assert tab.count == steps
        tab.page.locator(".node", has_text="layers.0.neurons.1.b").dispatch_event("click")
        assert "Neuron layers.0.neurons.1" in tab.text("#selected")
        tab.press("f")
        assert tab.page.locator(".node.group").count() == 1


@needs_browser
def test_the_keyboard_keeps_its_place(browser: Any, tmp_path: Path) -> None:
    """What is drawn anew has the focus that the old one had, and Tab leads to the graph still."""
    model = cr.nn.scalar.MLP(2, [3, 1], activation="tanh", rng=0, fused=False)
    with Tab(browser, (model([0.5, -1.0]) - 1.0) ** 2, tmp_path) as tab:
        focused = "document.activeElement.id || document.activeElement.getAttribute('class')"
        tab.press("ArrowDown", "Enter")
        assert "node" in tab.page.evaluate(focused)
        tab.page.focus("#selected .history button")
        tab.press("Enter")
        assert tab.page.evaluate(focused) == "panel"
        tab.press("F")
        assert tab.page.locator(".node[tabindex='0']").count() == 1
        tab.page.focus(".node.group")
        tab.press("Enter")
        assert "node" in tab.page.evaluate(focused)
        assert tab.page.locator(".node[tabindex='0']").count() == 1


@needs_browser
def test_a_large_graph_is_folded_at_first(browser: Any, tmp_path: Path) -> None:
    model = cr.nn.scalar.MLP(2, [8, 8, 1], activation="tanh", rng=0, fused=False)
    with Tab(browser, model([0.5, -1.0]) ** 2, tmp_path) as tab:
        assert tab.page.locator(".node").count() <= 60
        tab.press("End")
        assert tab.page.locator("#rows tr").count() > int(tab.count.split(" of ")[1])
