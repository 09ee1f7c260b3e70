"""The review page in a real browser, by keyboard alone, against `python -m stages.review` as people start it."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.browser import watched
from tests.conftest import ROOT
from tests.small_reviewing import LABELS_GIVEN, ORDER, reviewable

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

# Starts Chromium once.
pytestmark = pytest.mark.xdist_group("browser")

HEADER = "document_id,class\n"


class Running:
    """`python -m stages.review` in the current folder; `address` is what it printed."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "stages.review", *arguments]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().strip()
        assert self.address, self.process.communicate()[1]

    def end(self) -> tuple[int, str]:
        """Press Ctrl-C; return exit code and what it said on stderr."""
        self.process.send_signal(signal.SIGINT)
        said = self.process.communicate(timeout=20)[1]
        return self.process.returncode, said


@pytest.fixture
def review(workspace: Path) -> Iterator[Callable[..., Running]]:
    """Start a review in the workspace; whatever still runs in the end is killed."""
    started: list[Running] = []

    def start(*arguments: str) -> Running:
        started.append(Running(*arguments))
        return started[-1]

    yield start
    for running in started:
        running.process.kill()
        running.process.communicate()


def is_at(page: "Page", document: str) -> None:
    """Wait until `document` is shown."""
    page.wait_for_function("name => document.getElementById('name').textContent === name", arg=document)


def says(page: "Page", element: str) -> str:
    return page.inner_text(f"#{element}")


def test_a_review_from_start_to_end_by_keyboard_alone(
    workspace: Path,
    review: Callable[..., Running],
    browser: "Browser",
) -> None:
    corpus = reviewable(workspace, overrides=["elsewhere,rail"])
    running = review()
    file, before = corpus / "overrides.csv", HEADER + "elsewhere,rail\n"
    with watched(browser, 1440) as seen:
        page, press = seen.page, seen.page.keyboard.press
        page.goto(running.address)
        is_at(page, "loaf")
        assert says(page, "count") == "0 of 5 decided"
        assert says(page, "question") == "Labelled rail; the model thinks bread (93 %)."
        # What stands in a document is text and nothing else.
        assert "<b>Not bold</b> & <script>alert(1)</script>" in says(page, "text")
        assert page.locator("#classes button").all_inner_texts()[:2] == [
            "1\nbread\nmodel\nBaking",
            "2\nrail\nnow\nTrains",
        ]

        press("1")
        is_at(page, "tram")
        assert file.read_text() == before + "loaf,bread\n"
        press("Enter")
        is_at(page, "bun")
        assert file.read_text() == before + "loaf,bread\ntram,bread\n"
        press("ArrowRight")
        is_at(page, "ferry")
        assert says(page, "question") == "Labelled ships; the model is unsure, its best guess is rail (35 %)."
        press("Backspace")
        is_at(page, "bun")
        press("Backspace")
        is_at(page, "tram")
        assert file.read_text() == before + "loaf,bread\n"
        press("2")
        is_at(page, "bun")

        # A key that is no class's does nothing; nor does one that is held down, or pressed with another.
        for other in ("9", "z", "Control+1", "Alt+1"):
            press(other)
        page.keyboard.down("1")
        page.keyboard.down("1")
        is_at(page, "ferry")
        page.keyboard.up("1")
        assert says(page, "count") == "3 of 5 decided"

        # By Tab to a button, and Enter on it is no second decision about what comes then.
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.dataset.name") == "bread"
        assert page.evaluate("document.activeElement.matches(':focus-visible')")
        press("Tab")
        press("Tab")
        press("Enter")
        is_at(page, "cab")
        assert page.evaluate("document.activeElement.id") == "document"

        # The text scrolls by keys, and a decision brings the next one's beginning.
        press("PageDown")
        page.wait_for_function("() => document.getElementById('document').scrollTop > 100")
        press("ArrowRight")
        page.wait_for_function("() => document.getElementById('document').scrollTop === 0")
        assert says(page, "title") == "That was the last one"
        assert says(page, "count") == "4 of 5 decided, 1 skipped"
        assert "dvc repro" in says(page, "text")
        press("2")
        press("Enter")
        assert seen.problems == []
        assert all(address.startswith((running.address, "data:")) for address in seen.requests)
    assert file.read_text() == before + "loaf,bread\ntram,rail\nbun,bread\nferry,ships\n"
    code, said = running.end()
    assert code == 0
    assert said.splitlines()[-1] == ("review: 4 decided (3 with another label than before): corpus/overrides.csv")
    assert "Traceback" not in said
    assert not (corpus / ".review.lock").exists()


def test_a_reloaded_page_goes_on_and_what_goes_wrong_is_said(
    workspace: Path,
    review: Callable[..., Running],
    browser: "Browser",
) -> None:
    corpus = reviewable(workspace)
    running, file = review(), corpus / "overrides.csv"
    with watched(browser, 1440) as seen:
        page, press = seen.page, seen.page.keyboard.press
        page.goto(running.address)
        is_at(page, "loaf")
        press("1")
        is_at(page, "tram")
        page.reload()
        is_at(page, "tram")

        file.write_text(HEADER + "loaf,bread\ntram,hats\n")
        press("1")
        is_at(page, "bun")
        assert says(page, "alert") == "overrides.csv has 'hats' for tram already: left as it is"
        file.write_text("document_id\nloaf\n")
        press("1")
        page.wait_for_function("() => document.getElementById('alert').textContent.includes('is missing')")
        assert says(page, "name") == "bun"
        file.write_text(HEADER)
        running.end()
        press("1")
        page.wait_for_function("() => document.getElementById('alert').textContent.includes('has ended')")
    assert file.read_text() == HEADER


def test_blind_labels_by_keyboard_with_more_classes_than_keys(
    workspace: Path,
    review: Callable[..., Running],
    browser: "Browser",
) -> None:
    corpus = reviewable(workspace, categories=[f"topic {number:02},About {number}" for number in range(40)])
    running = review("--gold", "3")
    with watched(browser, 1440) as seen:
        page, press = seen.page, seen.page.keyboard.press
        page.goto(running.address)
        page.wait_for_selector("#classes button")
        first = says(page, "name")
        assert says(page, "question") == "What is it about?"
        assert not page.is_visible("#keep")
        told = page.inner_text("body") + page.evaluate("JSON.stringify(page)")
        assert not any(label in told for label in LABELS_GIVEN.values())
        assert page.evaluate("shownName({ document_id: 'rail/2024/loaf' })") == "loaf"
        press("Enter")
        press("z")
        page.wait_for_function("name => document.getElementById('name').textContent !== name", arg=first)
        assert (corpus / "gold.csv").read_text() == f"document_id,category\n{first},topic 34\n"

        second = says(page, "name")
        press("/")
        page.keyboard.type("39")
        assert page.locator("#classes button:visible").all_inner_texts() == ["topic 39\nAbout 39"]
        press("Enter")
        page.wait_for_function("name => document.getElementById('name').textContent !== name", arg=second)
        assert (corpus / "gold.csv").read_text().endswith(f"{second},topic 39\n")
        assert seen.problems == []
    assert (corpus / "overrides.csv").read_text() == HEADER


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 1440])
def test_it_fits_every_width_light_and_dark(
    workspace: Path,
    review: Callable[..., Running],
    browser: "Browser",
    width: int,
    dark: bool,
) -> None:
    reviewable(workspace)
    running = review()
    with watched(browser, width, dark=dark) as seen:
        seen.page.goto(running.address)
        is_at(seen.page, ORDER[0])
        assert seen.overflow() == 0
        # All of it at once: the text and the classes scroll in their own places.
        assert seen.page.evaluate("document.documentElement.scrollHeight <= window.innerHeight")
        assert seen.page.locator("#skip").is_visible()
        light = seen.page.evaluate(
            "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)[0] > 128"
        )
        assert light == (not dark)
        if folder := os.environ.get("SCREENSHOTS"):
            seen.page.screenshot(path=Path(folder, f"review-{width}-{'dark' if dark else 'light'}.png"))
        assert seen.problems == []


@pytest.fixture
def other_site() -> Iterator[str]:
    """A page of another site: of another port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>Elsewhere</title>")

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def test_a_page_of_another_site_can_do_nothing_even_if_it_knew_the_token(
    workspace: Path,
    review: Callable[..., Running],
    browser: "Browser",
    other_site: str,
) -> None:
    corpus = reviewable(workspace)
    running = review()
    send = """([address, mode, type]) => fetch(address, {method: 'POST', mode, headers: {'Content-Type': type},
              body: JSON.stringify({document_id: 'loaf', label: 'bread'})}).then(() => 'sent', () => 'refused')"""
    frame = """address => new Promise(done => { const frame = document.createElement('iframe');
               frame.onload = () => done(frame.contentDocument === null); frame.src = address;
               document.body.append(frame); })"""
    with watched(browser, 1440) as seen:
        seen.page.goto(other_site)
        for mode, kind in (("cors", "application/json"), ("no-cors", "text/plain")):
            seen.page.evaluate(send, [running.address + "decide", mode, kind])
        assert seen.page.evaluate(frame, running.address)
        assert seen.page.evaluate("address => fetch(address).then(() => 'read', () => 'refused')", running.address) == (
            "refused"
        )
        seen.page.evaluate("address => { location.href = address }", running.address)
        seen.page.wait_for_function("() => document.body.innerText.includes('another site')")
    for address, host in ((running.address, "evil.test"), (running.address[:-3] + "/", None)):
        headers = {} if host is None else {"Host": host}
        with pytest.raises(HTTPError, match="403"):
            urlopen(Request(address, headers=headers), timeout=10)
    assert (corpus / "overrides.csv").read_text() == HEADER
