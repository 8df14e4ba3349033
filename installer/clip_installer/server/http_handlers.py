"""The HTTP rules in a server's configuration: who else has an address there, and the server's own endpoints."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clip_installer.server.config_files import parse, text_of

if TYPE_CHECKING:
    from lxml import etree

    from clip_installer.server.config import ServerConfig

_REGEX = "regex:"


@dataclass(frozen=True)
class HttpRule:
    """A rule for requests.

    Attributes:
        file: The file that has it.
        url: The address that it serves: a path, ``regex:`` and an expression, or '' for every address.
        methods: The methods that it serves; empty for all.
    """

    file: Path
    url: str
    methods: frozenset[str] = frozenset()

    @property
    def expression(self) -> str | None:
        """The regular expression of its addresses; None if it has none.

        It is RE2's, for the server to match: in Python's, whoever writes the configuration could make a match endless.
        """
        return self.url.removeprefix(_REGEX) if self.url.startswith(_REGEX) else None

    def serves(self, url: str, method: str) -> bool:
        """Whether a request for ``url`` by ``method`` is for this rule, unless an expression decides that."""
        return (not self.methods or method in self.methods) and self.url in ("", url)


@dataclass(frozen=True)
class HttpHandlers:
    """The element ``http_handlers`` of a configuration.

    Attributes:
        rules: Its rules, in the order in which ClickHouse tries them.
        closed: Whether it has rules, but not ``<defaults/>``: then the server has none of its own endpoints, not even
            for queries.
    """

    rules: tuple[HttpRule, ...] = ()
    closed: bool = False


def http_handlers(config: ServerConfig, own: Collection[Path] = ()) -> HttpHandlers:
    """The HTTP rules of every file of ``config`` except the files ``own``, which are paths as the server sees them.

    A rule that is limited to certain headers is left out, because no address tells whether it serves a request.
    """
    ours = {config.on_disk(path) for path in own}
    elements = [
        (file, element)
        for file in config.files
        if file not in ours
        for element in parse(file).iterfind("http_handlers")
    ]
    return HttpHandlers(
        rules=tuple(rule for file, element in elements for rule in _rules(file, element)),
        closed=bool(elements) and all(element.find("defaults") is None for _, element in elements),
    )


def _rules(file: Path, element: etree._Element) -> Iterator[HttpRule]:
    for rule in element:
        if isinstance(rule.tag, str) and rule.tag.startswith("rule") and rule.find("headers") is None:
            methods = re.findall(r"\w+", rule.findtext("methods") or "")
            url = rule.find("url")
            yield HttpRule(file, "" if url is None else text_of(url), frozenset(map(str.upper, methods)))
