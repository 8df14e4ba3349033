"""The HTTP rules in a configuration: whose they are, and which requests they are for."""

from __future__ import annotations

from pathlib import Path

import pytest

from clip_installer.server.config import ServerConfig
from clip_installer.server.http_handlers import HttpRule, http_handlers
from tests.server_trees import make_config

RULES = "<clickhouse><http_handlers>{}</http_handlers></clickhouse>"
THEIRS = '<rule id="a"><methods>GET, POST</methods><url>/theirs</url></rule>'


def read(root: Path, **files: str) -> ServerConfig:
    return ServerConfig.read(make_config(root, **files))


@pytest.mark.parametrize(
    ("url", "methods", "serves"),
    [
        ("/clip", (), True),
        ("/clip", ("POST",), False),
        ("/clip/", (), False),
        ("regex:/cl.*", (), False),
        ("", (), True),
        ("", ("GET",), True),
    ],
)
def test_a_rule_serves_its_own_requests(url: str, methods: tuple[str, ...], serves: bool) -> None:
    """By address and method; an expression is left to the server."""
    rule = HttpRule(Path("x.xml"), url, frozenset(methods))
    assert rule.serves("/clip", "GET") is serves
    assert (rule.expression is not None) is url.startswith("regex:")


def test_rules_are_read_from_every_file_but_our_own(tmp_path: Path) -> None:
    """With the file that has each, which the message names; a rule for certain headers is none for an address."""
    limited = "<rule><url>/clip</url><headers><X-A>1</X-A></headers></rule>"
    config = read(
        tmp_path,
        config_d__a=RULES,
        **{
            "config.d__theirs.xml": RULES.format(THEIRS + limited + "<defaults/>"),
            "config.d__ours.xml": RULES.format("<rule><url>/clip</url></rule>"),
        },
    )
    found = http_handlers(config, [config.directory / "config.d/ours.xml"])
    (rule,) = found.rules
    assert (rule.file.name, rule.url, rule.methods) == ("theirs.xml", "/theirs", {"GET", "POST"})
    assert [one.url for one in http_handlers(config).rules] == ["/clip", "/theirs"]


@pytest.mark.parametrize(
    ("files", "closed"),
    [
        ({}, False),
        ({"config.d__a.xml": RULES.format(THEIRS)}, True),
        ({"config.d__a.xml": RULES.format(THEIRS), "config.d__b.xml": RULES.format("<defaults/>")}, False),
    ],
)
def test_a_server_whose_own_endpoints_were_closed_is_known(tmp_path: Path, files: dict[str, str], closed: bool) -> None:
    """Rules without defaults: nothing of ours may open them again."""
    assert http_handlers(read(tmp_path, **files)).closed is closed
