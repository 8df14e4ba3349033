"""Responses of ClickHouse, or of something else in its place: one line each, with what to do."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from clip_installer.clickhouse.address import Tls, parse_url
from clip_installer.clickhouse.connection import ConnectionOptions
from clip_installer.clickhouse.failures import REMEDIES, explained
from clip_installer.errors import ConfigurationError, ConnectionFailed, InstallerError, SqlError
from tests.listeners import CERTIFICATES, answering, tls_proxy

PAGE = "<html><head><title>Sign in</title></head><body>\n</body></html>"
ANSWERS = {
    # Each closes the connection, and says so: a client that used it again would be told that it was lost.
    "a page": (f"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{PAGE}", "is not ClickHouse .*proxy"),
    "an error page": (f"HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\n\r\n{PAGE}", "is not ClickHouse .*502.*proxy"),
    "a redirection": ("HTTP/1.1 302 Found\r\nLocation: /login\r\nConnection: close\r\n\r\n", "is not ClickHouse"),
    "an alert of TLS": ("\x15\x03\x01\x00\x02\x02F", "needs https"),
    "nothing": ("", "needs https"),
    "the native port": (
        "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\nPort 9000 is for clickhouse-client program\r\n",
        "native port: --url needs the HTTP port",
    ),
    "half an answer": ("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", "was lost|not ClickHouse|not answer"),
}

SYSTEMS = Tls()


def connect(url: str, tls: Tls = SYSTEMS) -> InstallerError:
    with pytest.raises((ConnectionFailed, SqlError)) as failed:
        ConnectionOptions(address=parse_url(url, tls)).connect()
    message = str(failed.value)
    assert "hidden" not in message
    assert len(message.splitlines()) == 1
    return failed.value


@pytest.mark.parametrize("name", ANSWERS)
def test_other_servers_are_recognised(name: str) -> None:
    answer, said = ANSWERS[name]
    with answering(answer.encode("latin-1")) as port:
        failed = connect(f"http://u:hidden@127.0.0.1:{port}")
    assert isinstance(failed, ConnectionFailed)
    with pytest.raises(ConnectionFailed, match=said):
        raise failed


def test_no_server_and_no_host() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert f"no server listens at http://127.0.0.1:{port}" in str(connect(f"http://u:hidden@127.0.0.1:{port}"))
    assert "no host of that name" in str(connect("http://u:hidden@no-such-host.invalid:1"))


def test_https_is_tls_with_an_authority_that_is_trusted_or_nothing() -> None:
    """A password is sent only after the right certificate was verified."""
    with answering(ANSWERS["an error page"][0].encode()) as plain, tls_proxy(plain) as proxy:
        url = f"https://u:hidden@127.0.0.1:{proxy.port}"
        for wrong in (SYSTEMS, Tls(CERTIFICATES / "another_authority.pem")):
            assert "is not trusted" in str(connect(url, wrong))
            assert "--ca-file" in str(connect(url, wrong))
        trusted = Tls(CERTIFICATES / "authority.pem")
        assert "502" in str(connect(url, trusted))
        assert b"hidden" not in proxy.captured
        assert "does not speak TLS" in str(connect(f"https://u:hidden@127.0.0.1:{plain}", trusted))


def test_a_certificate_for_another_host_is_not_trusted() -> None:
    with answering(b"") as plain, tls_proxy(plain, host="127.0.0.2") as proxy:
        failed = connect(f"https://u:hidden@127.0.0.2:{proxy.port}", Tls(CERTIFICATES / "authority.pem"))
    assert "is not trusted (IP address mismatch" in str(failed)


def test_a_server_that_wants_a_client_certificate_gets_it() -> None:
    authority, client = CERTIFICATES / "authority.pem", CERTIFICATES / "client.pem"
    with answering(ANSWERS["an error page"][0].encode()) as plain, tls_proxy(plain, wants_client=True) as proxy:
        url = f"https://127.0.0.1:{proxy.port}"
        assert "--client-cert" in str(connect(url, Tls(authority)))
        assert "502" in str(connect(url.replace("//", "//certified@"), Tls(authority, client)))


def test_clickhouses_number_name_and_own_words_are_kept() -> None:
    error = explained(
        RuntimeError(
            "Received ClickHouse exception, code: 60, server response: Code: 60. DB::Exception: Unknown table 'x'."
            " (UNKNOWN_TABLE) (version 26.9.2.1) (for url http://127.0.0.1:8123)"
        ),
        "http://127.0.0.1:8123",
    )
    assert isinstance(error, SqlError)
    assert (error.number, error.name) == (60, "UNKNOWN_TABLE")
    assert error.reason == "Code: 60. DB::Exception: Unknown table 'x'. (UNKNOWN_TABLE)"
    assert str(error) == f"{error.reason}; {REMEDIES['UNKNOWN_TABLE']}"


def test_a_name_behind_the_first_line_is_not_lost() -> None:
    error = explained(RuntimeError("Code: 1. DB::Exception: no:\nmore\n(SOME_NAME) (version 1.2)"), "here")
    assert str(error) == "Code: 1. DB::Exception: no: (SOME_NAME)"


def test_chdb_leaves_the_data_of_others_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "config.xml").write_text(f"<clickhouse><path>{tmp_path}/data/</path></clickhouse>")
    uid = (tmp_path / "data").stat().st_uid
    monkeypatch.setattr("os.geteuid", lambda: uid + 1)
    with pytest.raises(ConfigurationError, match=r"belong to .*--url of their server"):
        ConnectionOptions(server_config=tmp_path).connect()
    assert list((tmp_path / "data").iterdir()) == []
