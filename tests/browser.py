"""A real browser for pages: headless Chromium, watched for errors and for requests."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page

NAMES = ("chromium", "google-chrome", "chromium-browser")
# What a browser does by itself, without being asked, would look like requests of the page.
SWITCHES = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


# Not for the whole session: while Playwright runs, asyncio.run() is refused in this thread, and other tests call it.
@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """A headless browser for the tests of one module, which are skipped where none is installed."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f"none of {', '.join(NAMES)} is installed: `apt-get install chromium`")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=SWITCHES)
        yield running
        running.close()


@dataclass
class Watched:
    """A page, what went wrong in it (console errors and warnings, exceptions) and the addresses it asked for."""

    page: "Page"
    problems: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def overflow(self) -> int:
        """Return by how many pixels the page is wider than the window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


@contextmanager
def watched(browser: "Browser", width: int, height: int = 800, dark: bool = False) -> Iterator[Watched]:
    """Yield an empty page of `width` x `height` pixels, light or dark, in a profile of its own."""
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light")
    found = Watched(context.new_page())

    def listen(said: "ConsoleMessage") -> None:
        if said.type in ("error", "warning"):
            found.problems.append(said.text)

    found.page.on("console", listen)
    found.page.on("pageerror", lambda fault: found.problems.append(str(fault)))
    found.page.on("request", lambda request: found.requests.append(request.url))
    yield found
    context.close()
