"""--url: what it means, what it must not show, and what is refused instead of guessed."""

from __future__ import annotations

from pathlib import Path

import pytest

from clip_installer.clickhouse.address import Address, Tls, parse_url, without_secret
from clip_installer.errors import UsageProblem


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://localhost", Address("http", "localhost", 8123)),
        ("https://ch.example.com", Address("https", "ch.example.com", 8443)),
        ("HTTP://u@h:1/", Address("http", "h", 1, "u")),
        ("http://u:p@h:1/db", Address("http", "h", 1, "u", "p", "db")),
        ("http://[::1]:1/my%20db", Address("http", "::1", 1, None, "", "my db")),
        ("http://u%40corp:p%2Fa%40s%23s%3F%25@h", Address("http", "h", 8123, "u@corp", "p/a@s#s?%")),
        ("http://u:p@ss@h", Address("http", "h", 8123, "u", "p@ss")),
        ("http://u:@h", Address("http", "h", 8123, "u")),
        ("http://h/?max_threads=1", Address("http", "h", 8123, settings={"max_threads": "1"})),
    ],
)
def test_a_url_is_read_as_written(url: str, address: Address) -> None:
    assert parse_url(url) == address


SECRETS = ("pa/ss", "p@ss:w/rd#%?", "#", "?x", "a@b/c", "//", "[", "\n", "%zz/", "http://", "x\\y/")


@pytest.mark.parametrize("secret", [f"hidden{text}hidden" for text in SECRETS])
def test_a_password_that_is_not_escaped_is_refused_or_understood_and_never_shown(secret: str) -> None:
    """A character that only some parsers treat as the password's end is refused, with the way to write it."""
    url = f"http://admin:{secret}@127.0.0.1:1/db"
    assert "hidden" not in without_secret(url)
    try:
        address = parse_url(url)
    except UsageProblem as refused:
        assert "hidden" not in str(refused)
        assert "127.0.0.1:1" in str(refused)
        return
    assert (address.host, address.port, address.password) == ("127.0.0.1", 1, secret)
    assert "hidden" not in f"{address} {address!r}"


def test_a_refusal_says_how_to_escape() -> None:
    with pytest.raises(UsageProblem, match=r"http://\*\*\*@h: .*/ as %2F, @ as %40, # as %23, \? as %3F"):
        parse_url("http://u:a/b@h")


@pytest.mark.parametrize(
    "url", ["localhost:8123", "u:hidden@h", "clickhouse://u:hidden@h", "tcp://h:9000", "", "//h", "http:/h"]
)
def test_a_scheme_is_not_guessed(url: str) -> None:
    with pytest.raises(UsageProblem, match=r"http:// or https://") as refused:
        parse_url(url)
    assert "hidden" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["http://", "http://:8123", "http://h:port", "http://h:70000", "http://u:p@", "http://[::1"]
)
def test_a_place_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(UsageProblem, match="HOST:PORT"):
        parse_url(url)


@pytest.mark.parametrize("name", ["user", "password", "access_token", "secure"])
def test_no_secret_stands_where_it_would_be_shown(name: str) -> None:
    with pytest.raises(UsageProblem) as refused:
        parse_url(f"http://h/?{name}=hidden")
    assert "hidden" not in str(refused.value)


def test_a_client_certificate_stands_for_a_password_where_there_is_none() -> None:
    tls = Tls(Path("ca"), Path("cert"), Path("key"))
    both = {"ca_cert": "ca", "client_cert": "cert", "client_cert_key": "key"}
    assert tls.arguments(mutual=True) == {**both, "tls_mode": "mutual"}
    assert tls.arguments(mutual=False) == {**both, "tls_mode": "strict"}
