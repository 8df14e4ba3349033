"""The search page: a web page and the queries behind it, served by ClickHouse's own HTTP handlers.

A *handler* is an address with a query. ``CREATE HANDLER`` creates one (ClickHouse 26.8); older servers read the same
from ``http_handlers`` in their configuration. A page has a dozen, all below one address.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

from clip_installer import resources
from clip_installer.clickhouse.sql import identifier, literal, render
from clip_installer.errors import SqlError
from clip_installer.tables.layout import THUMBNAIL_SIZE
from clip_installer.tables.schema import SAMPLE, SchemaParameters
from clip_udfs.functions import FUNCTIONS

ADDRESS = "/clip"
MARK = "X-Clip-Page"
NAME = "clip_page"
_TEMPLATE = "search_page/queries"
_PAGE = "search_page.html"
_PURPOSE = re.compile(r"(GET|POST) (\S*?): (.+)")
_INLINE = re.compile(r"<(style|script)>(.*?)</\1>", re.DOTALL)
MARKED = re.compile(MARK + r"\W+([0-9a-f]{12})")
_SYSTEM_TABLES = ("system.data_skipping_indices",)
_HOUR = 3600
_SECURE = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}


@dataclass(frozen=True)
class Handler:
    """One address of the page.

    Attributes:
        name: Its name in ``system.handlers``.
        url: Its address on the server, without host.
        method: ``GET`` or ``POST``.
        purpose: What it returns.
        query: The query, without its settings.
        headers: Its response headers.
    """

    name: str
    url: str
    method: str
    purpose: str
    query: str
    headers: Mapping[str, str]

    @cached_property
    def digest(self) -> str:
        """Tells it from a handler of the same name with another address, query or headers."""
        parts = (self.url, self.method, self.query, *self.headers, *self.headers.values())
        return sha256("\n".join(parts).encode()).hexdigest()[:12]

    @property
    def marked_headers(self) -> dict[str, str]:
        """Its response headers, including the mark that we created it."""
        return {**self.headers, MARK: self.digest}

    @property
    def query_with_settings(self) -> str:
        """The query with its response headers."""
        pairs = ",".join(f"{literal(key)}:{literal(value)}" for key, value in self.marked_headers.items())
        return f"{self.query}\nSETTINGS http_response_headers = {literal('{' + pairs + '}')}"

    @property
    def query_in_configuration(self) -> str:
        """The query for a configuration file, where ClickHouse replaces ``${name}`` by the value of another element."""
        return self.query.replace("${", "\\x24{")

    @property
    def statement(self) -> str:
        """The statement that creates it."""
        target = f"CREATE HANDLER {self.name} URL {literal(self.url)} METHODS ({self.method})"
        return f"{target} AS\n{self.query_with_settings}"


@dataclass(frozen=True)
class SearchPage:
    """The page of one table.

    Attributes:
        address: Its address on the server, without host.
        handlers: Its handlers, the page itself first.
        reads: The tables and views that they read, quoted.
    """

    address: str
    handlers: tuple[Handler, ...]
    reads: tuple[str, ...] = ()

    @classmethod
    def render(cls, parameters: SchemaParameters, database: str, model: str) -> SearchPage:
        """The page that searches the table of ``parameters``, in ``database`` unless its name has another."""
        suffix = parameters.suffix
        html = (resources.templates() / _PAGE).read_text(encoding="utf-8")
        named, _, table = parameters.table.rpartition(".")
        database = named or database
        layout = parameters.layout
        ending = f"_{suffix}" if suffix else ""
        address = address_of(suffix, layout.noun)
        read = dict.fromkeys(identifier(f"{database}.{one}") for one in (table, f"{table}{SAMPLE}"))

        def view(name: str) -> str:
            quoted = identifier(f"{database}.{layout.view_name(name)}{ending}")
            read[quoted] = None
            return quoted

        values = {
            "layout": layout,
            "thumbnail_size": THUMBNAIL_SIZE,
            # A line break inside the literal would look like the end of a statement.
            "page": literal(html).replace("\n", "\\n"),
            "model": model,
            "suffix": suffix,
            "database": database,
            "table_name": table,
            "stored_name": parameters.stored_table.rpartition(".")[2],
            "table": identifier(f"{database}.{table}"),
            "view": view,
            "function": lambda name: FUNCTIONS[name].sql_name(suffix),
        }
        handlers = []
        for statement in render(_TEMPLATE, values):
            found = _PURPOSE.fullmatch(statement.purpose)
            if found is None:
                raise SqlError(f"{statement.name}: expected a method, a path and what it answers")
            method, path, purpose = found.groups()
            handlers.append(
                Handler(
                    name=f"{NAME}{path.replace('/', '_')}{address.removeprefix(ADDRESS)}",
                    url=f"{address}{path}",
                    method=method,
                    purpose=purpose,
                    query=statement.sql.partition("\n")[2],
                    headers=_headers(path, html),
                )
            )
        return cls(address, tuple(handlers), (*read, *_SYSTEM_TABLES))

    @property
    def url(self) -> str:
        """The page's address on the server, without host."""
        return self.handlers[0].url


def address_of(suffix: str, noun: str = "") -> str:
    """The page's address, without host, for the model of ``suffix`` and a layout's ``noun``."""
    return "_".join(filter(None, (ADDRESS, re.sub(r"\W", "_", noun), suffix)))


def content_security_policy(html: str) -> str:
    """What the page may load: its own style and script by their hashes, images, and responses of the same server."""
    hashes = {
        kind: f"'sha256-{base64.b64encode(sha256(text.encode()).digest()).decode()}'"
        for kind, text in _INLINE.findall(html)
    }
    return (
        f"default-src 'none'; script-src {hashes['script']}; style-src {hashes['style']}; connect-src 'self';"
        " img-src 'self' blob: data: http: https:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _headers(path: str, html: str) -> dict[str, str]:
    if not path:
        page = {"Content-Type": "text/html; charset=UTF-8", "Content-Security-Policy": content_security_policy(html)}
        return {**page, **_SECURE, "Cache-Control": "no-cache", "Cross-Origin-Opener-Policy": "same-origin"}
    nothing = {"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'", **_SECURE}
    if path == "/thumbnail":
        return {"Content-Type": "image/webp", **nothing, "Cache-Control": f"private, max-age={_HOUR}"}
    return {"Content-Type": "application/json; charset=UTF-8", **nothing, "Cache-Control": "no-store"}
