"""The report in a real browser: no error, no request, no overflow, contrast, keyboard; also with hostile texts."""

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from stages.reporting.page import render
from stages.reporting.sources import read_sources
from tests.browser import watched
from tests.small_report import HOSTILE, make_hostile, make_run

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# The least ratio of each text's colour to what is painted behind it (WCAG 2.2, 1.4.3), and that text.
LEAST_CONTRAST = """() => {
  const parse = colour => {
    const [r, g, b, a = 1] = colour.match(/[\\d.]+/g).map(Number);
    return [r, g, b, a];
  };
  const over = (front, back) => back.map((value, i) => i < 3 ? front[i] * front[3] + value * (1 - front[3]) : 1);
  const behind = element => {
    const layers = [];
    for (let e = element; e; e = e.parentElement) layers.unshift(parse(getComputedStyle(e).backgroundColor));
    return layers.reduce((below, layer) => over(layer, below), [255, 255, 255, 1]);
  };
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  let least = [21, ""];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !element.getClientRects().length) continue;
    const style = getComputedStyle(element);
    const back = behind(element);
    const front = over(parse(element.closest("svg") ? style.fill : style.color), back);
    const [dark, bright] = [light(front), light(back)].sort((a, b) => a - b);
    const ratio = (bright + 0.05) / (dark + 0.05);
    if (ratio < least[0]) least = [ratio, walker.currentNode.textContent.trim()];
  }
  return least;
}"""
OPEN_ALL = "document.querySelectorAll('details').forEach(details => details.open = true)"
# Elements with text that stick out of the window, unless they are in something that scrolls.
STICKING_OUT = """() => [...document.querySelectorAll('body *')]
  .filter(e => !e.closest('.scroll, .text, .hidden, .skip'))
  .filter(e => { const box = e.getBoundingClientRect(); return box.right > innerWidth + 1 || box.left < -1; })
  .map(e => e.outerHTML.slice(0, 120))"""


@pytest.fixture
def report(workspace: Path) -> Path:
    """The report of a whole run."""
    make_run(workspace)
    return write(workspace)


def write(workspace: Path) -> Path:
    path = workspace / "report.html"
    path.write_text(render(read_sources()), encoding="utf-8")
    return path


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [360, 768, 1440])
def test_it_is_quiet_fits_and_can_be_read(width: int, dark: bool, report: Path, browser: "Browser") -> None:
    with watched(browser, width, dark=dark) as seen:
        seen.page.goto(report.as_uri())
        assert seen.overflow() == 0
        seen.page.evaluate(OPEN_ALL)
        assert seen.overflow() == 0
        assert seen.page.evaluate(STICKING_OUT) == []
        ratio, text = seen.page.evaluate(LEAST_CONTRAST)
        assert ratio >= 4.5, text
        background = seen.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (background == "rgb(20, 23, 27)") is dark
        assert seen.problems == []
        assert [address for address in seen.requests if not address.startswith("data:")] == [report.as_uri()]


@pytest.mark.parametrize("width", [360, 1440])
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_breaks_neither_page_nor_layout(
    text: str, width: int, report: Path, browser: "Browser", workspace: Path
) -> None:
    make_hostile(workspace, text)
    with watched(browser, width) as seen:
        seen.page.on("dialog", lambda dialog: seen.problems.append(f"alert: {dialog.message}"))
        seen.page.goto(write(workspace).as_uri())
        seen.page.evaluate(OPEN_ALL)
        assert seen.overflow() == 0
        assert seen.page.evaluate(STICKING_OUT) == []
        assert seen.problems == []
        assert [address for address in seen.requests if not address.startswith("data:")] == [report.as_uri()]
        # What is ours stays in its order beside what is not.
        last = seen.page.locator("footer").bounding_box()
        heading = seen.page.locator("h2").last.bounding_box()
        assert last is not None
        assert heading is not None
        assert last["y"] > heading["y"]


def test_text_stays_as_large_on_a_phone(report: Path, browser: "Browser") -> None:
    sizes = "[...document.querySelectorAll('.plot text')].map(e => e.getBoundingClientRect().height)"
    with watched(browser, 360) as phone, watched(browser, 1440) as desk:
        for seen in (phone, desk):
            seen.page.goto(report.as_uri())
        assert phone.page.evaluate(sizes) == pytest.approx(desk.page.evaluate(sizes), abs=0.5)


def test_labels_of_an_axis_do_not_touch(report: Path, browser: "Browser") -> None:
    with watched(browser, 360) as seen:
        seen.page.goto(report.as_uri())
        touching = seen.page.evaluate("""() => [...document.querySelectorAll('.plot')].filter(plot => {
          const boxes = [...plot.querySelectorAll('text[y="100%"]')].map(e => e.getBoundingClientRect());
          return boxes.some((box, i) => i && box.left < boxes[i - 1].right + 2);
        }).length""")
        assert touching == 0


def test_each_chart_is_named_described_and_has_its_numbers(report: Path, browser: "Browser") -> None:
    with watched(browser, 1440) as seen:
        seen.page.goto(report.as_uri())
        charts = seen.page.locator("figure.chart")
        assert charts.count() == 6
        for chart in charts.all():
            title = chart.locator("h3").inner_text()
            picture = chart.get_by_role("img", name=title)
            assert picture.count() == 1
            assert " from " in picture.locator("desc").text_content()  # type: ignore[operator]
            chart.locator("summary").click()
            assert chart.locator("tbody tr").count() > 1
            assert chart.get_by_role("region", name=f"Numbers of {title}").is_visible()


def test_headings_and_landmarks_make_an_outline(report: Path, browser: "Browser") -> None:
    with watched(browser, 1440) as seen:
        seen.page.goto(report.as_uri())
        levels = seen.page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map(e => Number(e.tagName[1]))")
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(after <= before + 1 for before, after in pairwise(levels))
        assert seen.page.get_by_role("main").count() == 1
        assert seen.page.get_by_role("navigation").get_by_role("link").count() == levels.count(2)
        for link in seen.page.get_by_role("navigation").get_by_role("link").all():
            target = seen.page.locator(f"h2{link.get_attribute('href')}")
            assert target.inner_text() == link.inner_text()


def test_the_keyboard_reaches_texts_and_wide_tables(report: Path, browser: "Browser") -> None:
    with watched(browser, 360) as seen:
        seen.page.goto(report.as_uri())
        seen.page.keyboard.press("Tab")
        assert seen.page.evaluate("document.activeElement.textContent") == "To the content"
        seen.page.locator(".document summary").nth(1).focus()
        seen.page.keyboard.press("Enter")
        seen.page.keyboard.press("Tab")
        assert seen.page.evaluate("document.activeElement.textContent") == "The text of papers/document-6."
        outline = seen.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid"


def test_before_the_first_run_it_is_a_page_too(workspace: Path, browser: "Browser") -> None:
    with watched(browser, 360) as seen:
        seen.page.goto(write(workspace).as_uri())
        assert seen.overflow() == 0
        assert seen.problems == []
        assert seen.page.get_by_text("Not here: scores. To get it: dvc repro").is_visible()
