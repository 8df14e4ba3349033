"""The search page: its handlers, and the one file that a browser gets."""

from __future__ import annotations

import base64
import re
from hashlib import sha256
from typing import Any

import pytest
from lxml import etree

from clip_installer import resources
from clip_installer.errors import ApplyError, ConflictError, SqlError
from clip_installer.install.files.render import search_page_xml
from clip_installer.tables.schema import SchemaParameters
from clip_installer.tables.search_page.deployment import deploy_page, plan_page, plan_page_removal
from clip_installer.tables.search_page.page import MARK, SearchPage, address_of, content_security_policy

HTML = resources.templates() / "search_page.html"


def rendered(suffix: str = "", table: str = "laion") -> SearchPage:
    return SearchPage.render(SchemaParameters(table=table, suffix=suffix), "default", "tiny")


class Server:
    """What a server with handlers does, as far as these tests ask for it."""

    def __init__(self, *, handlers: bool = True, refuses: str = "") -> None:
        self.handlers: dict[str, tuple[str, str]] = {}
        self._knows_handlers = handlers
        self._refuses = refuses

    def value(self, statement: str) -> Any:
        if "formatQuery" in statement:
            return 0
        if "currentDatabase" in statement:
            return "default"
        return "25.8.1" if "version()" in statement else int(self._knows_handlers)

    def rows(self, statement: str) -> list[tuple[str, str, str]]:
        return [(name, url, made) for name, (url, made) in sorted(self.handlers.items())]

    def command(self, statement: str) -> None:
        if self._refuses and self._refuses in statement.partition(" AS\n")[0]:
            raise SqlError("refused")
        if dropped := re.fullmatch(r"DROP HANDLER IF EXISTS (\w+)", statement):
            self.handlers.pop(dropped[1], None)
        else:
            name, url = re.match(r"CREATE HANDLER (\w+) URL '([^']+)'", statement).groups()
            assert name not in self.handlers
            self.handlers[name] = (url, statement)


def test_the_page_is_one_small_file_that_loads_nothing_from_elsewhere() -> None:
    """It works on air-gapped servers, and people can read it."""
    html = HTML.read_text(encoding="utf-8")
    assert len(html.encode()) < 60_000
    assert not re.findall(r"""(?:src|href|@import|url\()\s*=?\s*["'(]?(?:https?:)?//""", html)
    assert max(map(len, html.splitlines())) < 400


def test_untrusted_text_is_never_made_html() -> None:
    """No way to parse a string as markup or code is in the script."""
    html = HTML.read_text(encoding="utf-8")
    for forbidden in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"):
        assert forbidden not in html
    assert not re.findall(r"""<[^>]+\s(?:on\w+|style)=""", html.partition("<script>")[0])


def test_the_policy_allows_this_style_and_script_by_their_hashes_and_nothing_else() -> None:
    """As a browser computes them, without any keyword that weakens the policy."""
    html = HTML.read_text(encoding="utf-8")
    policy = content_security_policy(html)
    for kind in ("style", "script"):
        (text,) = re.findall(rf"<{kind}>(.*?)</{kind}>", html, re.DOTALL)
        digest = base64.b64encode(sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_every_handler_has_its_own_address_below_the_pages_one() -> None:
    """Those of a second model carry its suffix in name and address."""
    for suffix, address in (("", "/clip"), ("vit_l_14", "/clip_vit_l_14")):
        page = rendered(suffix)
        urls = [handler.url for handler in page.handlers]
        assert urls[0] == page.url == address
        assert all(url.startswith(f"{address}/") for url in urls[1:])
        assert len(set(urls)) == len({handler.name for handler in page.handlers}) == len(urls)
    assert not {one.name for one in rendered().handlers} & {one.name for one in rendered("b").handlers}
    queries = "".join(handler.query for handler in rendered("b").handlers[1:])
    assert "search_by_text_b(" in queries
    assert "try_thumbnail_b(" in queries
    assert "encode_image_bytes_b(" in queries


def test_the_page_asks_only_for_addresses_that_it_has() -> None:
    """Each path in the script is a handler, and each handler is used."""
    html = HTML.read_text(encoding="utf-8")
    asked = set(re.findall(r'(?:ask\(|path: )"(\w+)"', html)) | {"thumbnail", "captions", "text"}
    filtered = set(re.findall(r'"(\w+)" \+ ending', html)) | {"text"}
    asked |= {f"{path}_filtered" for path in filtered}
    assert asked == {handler.url.rpartition("/")[2] for handler in rendered().handlers[1:]}


def test_a_search_is_bounded_whatever_a_browser_asks_for() -> None:
    """In its rows, in the rows of an answer, and in the length of a caption."""
    searches = [handler.query for handler in rendered().handlers if ".search_" in handler.query]
    assert len(searches) == 8
    for query in searches:
        assert "k = least({k:UInt32}, 1000)" in query
        assert "\nLIMIT least({n:UInt32}, 200) OFFSET" in query
        assert "leftUTF8(caption, 500) AS caption" in query
    (row,) = [handler.query for handler in rendered().handlers if handler.url == "/clip/row"]
    assert "leftUTF8(caption, 20000) AS caption" in row


def test_what_a_browser_sends_is_a_value_of_a_type() -> None:
    """Never an identifier or a part of the statement."""
    queries = "".join(handler.query for handler in rendered().handlers[1:])
    numbers = dict.fromkeys(("k", "n", "skip", "min_width", "min_height", "size"), "UInt32")
    texts = {"q": "String", "_request_body": "String", "licenses": "Array(String)"}
    assert dict(re.findall(r"\{(\w+):([^{}]+)\}", queries)) == numbers | texts | {"id": "Int64", "nsfw": "Bool"}


def test_no_answer_can_be_taken_for_another_kind() -> None:
    """A browser can never take a caption for a page."""
    for handler in rendered().handlers:
        assert handler.headers["X-Content-Type-Options"] == "nosniff"
        assert handler.headers["Referrer-Policy"] == "no-referrer"
        assert "default-src 'none'" in handler.headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in handler.headers["Content-Security-Policy"]
        expected = {"/clip": "text/html", "/clip/thumbnail": "image/webp"}.get(handler.url, "application/json")
        assert handler.headers["Content-Type"].startswith(expected)


def test_a_table_of_an_odd_name_is_quoted() -> None:
    """In the queries, and as text in the page's data."""
    page = rendered(table="my db.it's a `table`")
    about = next(handler.query for handler in page.handlers if handler.url.endswith("/about"))
    assert "`my db`.`it's a \\`table\\``" in about
    assert "'it\\'s a `table`'" in about


def test_a_plan_is_applied_once_and_removed_completely() -> None:
    """A second run changes nothing; foreign handlers stay."""
    server, page = Server(), rendered()
    server.command("CREATE HANDLER theirs URL '/theirs' METHODS (GET) AS\nSELECT 1")
    assert deploy_page(server, plan_page(server, page))
    assert {step.action for step in plan_page(server, page)} == {"unchanged"}
    assert not deploy_page(server, plan_page(server, page))
    deploy_page(server, plan_page(server, rendered("b")))
    assert deploy_page(server, plan_page_removal(server, address_of("")))
    assert {url for url, _ in server.handlers.values()} == {"/theirs", *(one.url for one in rendered("b").handlers)}
    deploy_page(server, plan_page_removal(server, address_of("b")))
    assert set(server.handlers) == {"theirs"}


def test_an_upgrade_replaces_what_differs_and_removes_what_is_no_longer_there() -> None:
    """By the mark that each handler carries."""
    server, page = Server(), rendered()
    deploy_page(server, plan_page(server, rendered(table="old")))
    server.handlers["clip_page_gone"] = ("/clip/gone", server.handlers["clip_page_row"][1])
    steps = {step.url: step.action for step in plan_page(server, page)}
    assert steps["/clip/row"] == "replace"
    assert steps["/clip/gone"] == "remove"
    deploy_page(server, plan_page(server, page))
    assert {step.action for step in plan_page(server, page)} == {"unchanged"}


@pytest.mark.parametrize(
    ("name", "url", "message"),
    [
        ("theirs", "/clip/text", "/clip/text: the handler theirs has this address"),
        ("clip_page", "/elsewhere", "/clip: a handler clip_page that install-udfs did not make is there"),
    ],
)
def test_somebody_elses_handler_is_refused_by_name(name: str, url: str, message: str) -> None:
    """Before anything is changed."""
    server = Server()
    server.command(f"CREATE HANDLER {name} URL '{url}' METHODS (GET) AS\nSELECT 1")
    before = dict(server.handlers)
    with pytest.raises(ConflictError, match=re.escape(message)):
        deploy_page(server, plan_page(server, rendered()))
    assert server.handlers == before


def test_a_failure_in_the_middle_leaves_everything_as_it_was() -> None:
    """Created handlers are removed, replaced ones restored."""
    server = Server(refuses="clip_page_like ")
    deploy_page(server, [step for step in plan_page(server, rendered(table="old")) if "like" not in step.name])
    before = dict(server.handlers)
    with pytest.raises(ApplyError, match="search page, /clip/like: refused"):
        deploy_page(server, plan_page(server, rendered()))
    assert server.handlers == before


def test_a_server_without_handlers_says_what_to_do() -> None:
    """An older server has handlers in its configuration, and nothing to remove."""
    with pytest.raises(ConflictError, match=r"needs ClickHouse 26\.8, and this is 25\.8\.1"):
        plan_page(Server(handlers=False), rendered())
    assert plan_page_removal(Server(handlers=False), address_of("")) == []


def test_the_configuration_has_the_same_handlers_and_keeps_the_servers_own() -> None:
    """Each rule has a distinct attribute, so that files add up instead of being merged."""
    page = rendered()
    root = etree.fromstring(search_page_xml(page))
    rules = root.findall("http_handlers/rule")
    assert [rule.findtext("url") for rule in rules] == [handler.url for handler in page.handlers]
    assert [rule.findtext("methods") for rule in rules] == [handler.method for handler in page.handlers]
    headers = [{one.tag: one.text for one in rule.find("handler/http_response_headers")} for rule in rules]
    assert headers == [{**handler.headers, MARK: handler.digest} for handler in page.handlers]
    assert len({rule.get("id") for rule in rules}) == len(rules)
    assert root.find("http_handlers/defaults") is not None


def test_nothing_in_the_configuration_is_taken_for_a_reference_to_another_element() -> None:
    """ClickHouse would put its own <path> in place of the ${path} of the page's script."""
    queries = [rule.findtext("handler/query") for rule in etree.fromstring(search_page_xml(rendered())).iter("rule")]
    assert not [query for query in queries if "${" in query]
    assert queries[0].replace("\\x24{", "${") == rendered().handlers[0].query
    assert "${path}" in rendered().handlers[0].query


def test_a_printed_statement_omits_most_of_the_page() -> None:
    """A plan must be readable."""
    shown = plan_page(Server(), rendered())[0].shown
    assert len(shown) < 300
    assert "characters)" in shown
