"""Downloads from a web server that misbehaves in every known way."""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Callable, Iterator
from http.client import HTTPMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.request import Request

import pytest

from clip_installer.download import Downloader, Expected, NotOnServer, _Redirects
from clip_installer.errors import DownloadError
from clip_installer.laion.parts import Part
from clip_installer.laion.source import WebServer
from tests.laion_parts import write_part

CONTENT = bytes(range(256)) * 4096


class _Server(ThreadingHTTPServer):
    """Answers each GET with the next of ``answers``, repeating the last one; records the requests."""

    answers: list[Callable[[BaseHTTPRequestHandler, int], None]]
    asked: list[str | None]


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, _Server)
        wanted = self.headers.get("Range")
        server.asked.append(wanted)
        answer = server.answers.pop(0) if len(server.answers) > 1 else server.answers[0]
        answer(self, int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0)

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


def sends(
    content: bytes = CONTENT, upto: int | None = None, promise: int | None = None, tag: str | None = '"one"'
) -> Callable[[BaseHTTPRequestHandler, int], None]:
    """Answer with ``content``, cut after ``upto`` bytes of it, promising ``promise`` bytes in all."""

    def answer(handler: BaseHTTPRequestHandler, start: int) -> None:
        whole = len(content) if promise is None else promise
        if start and handler.headers.get("If-Range") not in (None, tag):
            start = 0
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
        handler.send_header("Content-Length", str(whole - start))
        if tag is not None:
            handler.send_header("ETag", tag)
        handler.end_headers()
        handler.wfile.write(content[start:upto])

    return answer


def fails(status: int) -> Callable[[BaseHTTPRequestHandler, int], None]:
    """Answer with an error status."""
    return lambda handler, start: handler.send_error(status)


def hangs_up(handler: BaseHTTPRequestHandler, start: int) -> None:
    """Close the connection without an answer."""
    handler.connection.close()


@pytest.fixture
def server() -> Iterator[_Server]:
    """A web server on this machine, and the thread that runs it."""
    with _Server(("127.0.0.1", 0), _Handler) as running:
        running.answers, running.asked = [sends()], []
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def fetch(server: _Server, tmp_path: Path) -> Callable[[], bytes]:
    """Fetch the file with three tries, and read it."""

    def run() -> bytes:
        url = f"http://127.0.0.1:{server.server_port}/img_emb_0.npy"
        Downloader(attempts=3, sleep=waits.append, timeout=5).fetch(url, tmp_path / "file.npy")
        return (tmp_path / "file.npy").read_bytes()

    waits: list[float] = []
    return run


def test_a_dropped_download_is_resumed(server: _Server, fetch: Callable[[], bytes]) -> None:
    server.answers = [sends(upto=100_000), hangs_up, sends(upto=700_000), sends()]
    assert fetch() == CONTENT
    assert server.asked == [None, "bytes=100000-", "bytes=100000-", "bytes=700000-"]


def test_a_later_run_resumes_an_earlier_one(server: _Server, fetch: Callable[[], bytes], tmp_path: Path) -> None:
    server.answers = [sends(upto=300_000), fails(503)]
    with pytest.raises(DownloadError, match=r"gave up after 3 attempts .* at 300000 bytes: HTTP 503"):
        fetch()
    server.answers, server.asked[:] = [sends()], []
    assert fetch() == CONTENT
    assert server.asked == ["bytes=300000-"]
    assert [path.name for path in tmp_path.iterdir()] == ["file.npy"]


@pytest.mark.parametrize("tag", ['"one"', None])
def test_a_changed_file_is_fetched_from_the_start(server: _Server, fetch: Callable[[], bytes], tag: str | None) -> None:
    server.answers = [sends(upto=300_000, tag=tag), sends(content=CONTENT[::-1] + b"!", tag=tag and '"two"')]
    assert fetch() == CONTENT[::-1] + b"!"


def test_a_server_without_ranges_starts_again(server: _Server, fetch: Callable[[], bytes]) -> None:
    whole = sends()
    server.answers = [sends(upto=5000), lambda handler, start: whole(handler, 0)]
    assert fetch() == CONTENT


@pytest.mark.parametrize("status", [500, 502, 503, 429])
def test_a_server_in_trouble_is_asked_again(server: _Server, fetch: Callable[[], bytes], status: int) -> None:
    server.answers = [fails(status), fails(status), sends()]
    assert fetch() == CONTENT


def test_404_is_reported_at_once(server: _Server, fetch: Callable[[], bytes]) -> None:
    server.answers = [fails(404)]
    with pytest.raises(NotOnServer, match=r"http://.*/img_emb_0\.npy: HTTP 404 Not Found$"):
        fetch()
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_is_reported_at_once(server: _Server, fetch: Callable[[], bytes], status: int) -> None:
    server.answers = [fails(status)]
    with pytest.raises(DownloadError, match=f"HTTP {status}"):
        fetch()
    assert len(server.asked) == 1


def test_a_reason_phrase_cannot_move_the_terminal(server: _Server, fetch: Callable[[], bytes]) -> None:
    """Whatever a server writes after the status is shown with its escapes."""

    def answer(handler: BaseHTTPRequestHandler, start: int) -> None:
        handler.wfile.write(b"HTTP/1.1 403 \x1b[2J\x1b]0;owned\x07\r\nContent-Length: 0\r\n\r\n")

    server.answers = [answer]
    with pytest.raises(DownloadError) as refused:
        fetch()
    assert str(refused.value).isprintable()
    assert r"HTTP 403 \x1b[2J\x1b]0;owned\x07" in str(refused.value)


def redirects(target: str) -> Callable[[BaseHTTPRequestHandler, int], None]:
    """Answer that the file is at ``target``."""

    def answer(handler: BaseHTTPRequestHandler, start: int) -> None:
        handler.send_response(302)
        handler.send_header("Location", target)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


@pytest.mark.parametrize("target", ["file:///etc/hostname", "ftp://127.0.0.1:9/x", "data:text/plain,x", "gopher://x"])
def test_a_redirect_leads_only_to_the_web(server: _Server, fetch: Callable[[], bytes], target: str) -> None:
    """A server cannot make this command read a file of its own host, or speak another protocol."""
    server.answers = [redirects(target)]
    with pytest.raises(DownloadError, match="HTTP 302"):
        fetch()


def test_a_redirect_to_the_web_is_followed(server: _Server, fetch: Callable[[], bytes]) -> None:
    server.answers = [redirects("/elsewhere"), sends()]
    assert fetch() == CONTENT


@pytest.mark.parametrize(
    ("target", "sent"), [("https://a/y", True), ("https://b/y", False), ("http://a/y", False), ("https://a:8/y", False)]
)
def test_credentials_follow_a_redirect_neither_to_another_host_nor_into_clear_text(target: str, sent: bool) -> None:
    request = Request("https://a/x", headers={"Authorization": "Basic x"})
    following = _Redirects().redirect_request(request, io.BytesIO(), 302, "Found", HTTPMessage(), target)
    assert following is not None
    assert following.has_header("Authorization") == sent


def test_a_promise_of_too_many_bytes_is_given_up(server: _Server, fetch: Callable[[], bytes]) -> None:
    server.answers = [sends(promise=len(CONTENT) + 1000)]
    with pytest.raises(DownloadError, match=rf"ended after {len(CONTENT)} of {len(CONTENT) + 1000} bytes"):
        fetch()


def test_a_range_that_the_server_denies_after_promising_it_is_given_up(
    server: _Server, fetch: Callable[[], bytes], tmp_path: Path
) -> None:
    server.answers = [sends(promise=len(CONTENT) + 1000), fails(416)]
    with pytest.raises(DownloadError, match="although it promised more"):
        fetch()
    assert list(tmp_path.iterdir()) == []


def test_bytes_of_another_range_are_not_taken(server: _Server, fetch: Callable[[], bytes]) -> None:
    def shifted(handler: BaseHTTPRequestHandler, start: int) -> None:
        sends()(handler, start + 1)

    server.answers = [sends(upto=5000), shifted]
    with pytest.raises(DownloadError, match="asked for bytes from 5000, the server answered 'bytes 5001-"):
        fetch()


def test_no_server(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="gave up after 2 attempts"):
        Downloader(attempts=2, sleep=lambda _: None).fetch("http://127.0.0.1:9/a", tmp_path / "a")


def test_the_waits_double_up_to_a_minute(server: _Server, tmp_path: Path) -> None:
    waits: list[float] = []
    server.answers = [fails(503)]
    with pytest.raises(DownloadError):
        Downloader(attempts=9, sleep=waits.append).fetch(f"http://127.0.0.1:{server.server_port}/a", tmp_path / "a")
    assert waits == [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]


def test_a_source_downloads_a_part_and_releases_it(server: _Server, tmp_path: Path) -> None:
    write_part(tmp_path / "server", 3, rows=30, dimension=8)

    def serve(handler: BaseHTTPRequestHandler, start: int) -> None:
        path = tmp_path / "server" / handler.path.removeprefix("/laion/")
        assert handler.headers["Authorization"] == "Basic dXNlcjpzZWNyZXQ="
        sends(path.read_bytes())(handler, start) if path.is_file() else handler.send_error(404)

    server.answers = [serve]
    address = f"http://user:secret@127.0.0.1:{server.server_port}/laion/"
    source = WebServer(address, tmp_path / "downloads", keep=False, downloader=Downloader())
    assert "secret" not in source.name
    assert Part.open(3, source.files(3)).rows == 30
    source.release(3, refused=False)
    assert [path for path in (tmp_path / "downloads").rglob("*") if path.is_file()] == []
    with pytest.raises(NotOnServer, match=r"metadata/metadata_4\.parquet: HTTP 404"):
        source.files(4)


def test_what_is_not_the_file_that_was_expected_is_refused_before_it_is_fetched(
    server: _Server, tmp_path: Path
) -> None:
    """By its announced size, its first bytes, the size that they promise, and what really arrives."""
    begin = b"\x93NUMPY"
    large = Expected("an npy file", begin, 100_000)
    liar = Expected("an npy file", begin, 1 << 30, lambda head: 4)
    for answer, expected, said in (
        (sends(begin + CONTENT), large, "larger than the 100000 bytes"),
        (
            sends(b"<html>" + CONTENT),
            Expected("an npy file", begin, 1 << 30),
            "is not an npy file: it begins with b'<html>",
        ),
        (sends(begin + CONTENT), liar, "announces 1048582 bytes, the file's own header 4"),
        (without_length(begin + CONTENT * 3), Expected("an npy file", begin, 2 << 20), "larger than the 2097152 bytes"),
        (sends(begin, promise=1 << 60), Expected("an npy file", begin, 1 << 62), "make room"),
    ):
        server.answers = [answer]
        with pytest.raises(DownloadError, match=said):
            Downloader(attempts=1, sleep=lambda _: None, timeout=5).fetch(
                f"http://127.0.0.1:{server.server_port}/x.npy", tmp_path / "x.npy", expected
            )
        assert list(tmp_path.iterdir()) == []


def without_length(content: bytes) -> Callable[[BaseHTTPRequestHandler, int], None]:
    """Answer with ``content`` and never say how much it is."""

    def answer(handler: BaseHTTPRequestHandler, start: int) -> None:
        handler.send_response(200)
        handler.end_headers()
        with contextlib.suppress(OSError):  # who has enough hangs up
            handler.wfile.write(content)

    return answer
