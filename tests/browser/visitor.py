"""A user of the search page: what they can do, and what they see."""

from __future__ import annotations

import base64
import shutil
from dataclasses import dataclass, field
from typing import Any

from tests.server.running import PASSWORDS, RunningServer

_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
# A machine that runs other tests at the same time.
_PATIENCE = 60_000


def launch(driver: Any) -> Any:
    """Start Debian's Chromium."""
    return driver.chromium.launch(executable_path=shutil.which("chromium"), args=_FLAGS)


@dataclass
class Visitor:
    """A browser window on the page.

    Attributes:
        page: Playwright's page.
        complaints: Errors of the page's script, and what its policy blocked.
    """

    page: Any
    complaints: list[str] = field(default_factory=list)

    @classmethod
    def come(
        cls,
        browser: Any,
        server: RunningServer,
        hash_: str = "",
        *,
        user: str = "admin",
        path: str = "/clip",
        **options: Any,
    ) -> Visitor:
        """Open the page of ``server`` as ``user``, at the address ``hash_``."""
        login = base64.b64encode(f"{user}:{PASSWORDS[user]}".encode()).decode()
        options = {"locale": "en-GB", "viewport": {"width": 1280, "height": 900}, **options}
        context = browser.new_context(extra_http_headers={"Authorization": f"Basic {login}"}, **options)
        context.set_default_timeout(_PATIENCE)
        visitor = cls(context.new_page())
        visitor.page.on("pageerror", lambda error: visitor.complaints.append(str(error)))
        visitor.page.on("console", lambda message: visitor._hear(message.text))
        visitor.page.goto(f"http://{server.host}:{server.http_port}{path}{hash_}")
        return visitor

    def _hear(self, text: str) -> None:
        if "Content Security Policy" in text or "Refused to" in text:
            self.complaints.append(text)

    def leave(self) -> None:
        """Close the window; it must not have had errors."""
        self.page.context.close()
        assert self.complaints == []

    def type(self, text: str) -> None:
        """Type into the search field, key by key."""
        self.page.locator("#query").fill("")
        self.page.locator("#query").press_sequentially(text, delay=10)

    def search(self, text: str) -> None:
        """Type, and wait for the answer."""
        self.type(text)
        self.settled(text)

    def settled(self, text: str | None = None) -> None:
        """Wait until no search is under way, and the address names ``text``."""
        if text is not None:
            self.page.wait_for_url(lambda url: _query(url) == text)
        self.page.locator("body:not(.busy)").wait_for()

    @property
    def captions(self) -> list[str]:
        """The captions of the cards, in order."""
        texts: list[str] = self.page.locator(".card .caption").all_inner_texts()
        return texts

    @property
    def ids(self) -> list[int]:
        """The ids of the cards, in order."""
        return [int(card.get_attribute("data-id")) for card in self.page.locator(".card").all()]

    def open_first(self) -> None:
        """Click the first card and wait for its columns."""
        self.page.locator(".card").first.click()
        self.page.locator("#columns dd").first.wait_for()

    def text(self, selector: str) -> str:
        """What an element says, once it is there."""
        found = self.page.locator(selector)
        found.wait_for()
        said: str = found.inner_text()
        return said


def _query(url: str) -> str:
    from urllib.parse import parse_qs, urlsplit

    return parse_qs(urlsplit(url).fragment).get("q", [""])[0]
