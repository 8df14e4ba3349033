"""Downloads a complete file over HTTP: resumed with range requests, retried, its size checked."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import IO, Any

from clip_installer.errors import DownloadError, first_line
from clip_installer.progress import Advance, silent
from clip_udfs.errors import printable

_CHUNK = 1 << 20
_WAITS_FOR = frozenset({408, 425, 429, 500, 502, 503, 504})
_MISSING = frozenset({404, 410})
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


class NotOnServer(DownloadError):
    """The server says that there is no such file."""


@dataclass(frozen=True)
class Expected:
    """What a file must look like to be worth downloading.

    Attributes:
        kind: For a message, ``an npy file``.
        magic: Its first bytes.
        most_bytes: The largest size that is fetched.
        size_of: The size that the first bytes promise; None if they do not tell.
    """

    kind: str
    magic: bytes
    most_bytes: int
    size_of: Callable[[bytes], int | None] = lambda head: None

    def check(self, url: str, total: int | None, head: bytes | None) -> None:
        """Check the announced size, and the first bytes once they have arrived.

        Raises:
            DownloadError: The file is not of this kind, or is larger than it should be.
        """
        if head is not None and not head.startswith(self.magic):
            raise DownloadError(f"{url}: is not {self.kind}: it begins with {head[:20]!r}")
        promised = self.size_of(head) if head is not None else None
        if max(total or 0, promised or 0) > self.most_bytes:
            raise DownloadError(self.too_large(url))
        if total is not None and promised is not None and total != promised:
            raise DownloadError(f"{url}: the server announces {total} bytes, the file's own header {promised}")

    def too_large(self, url: str) -> str:
        """The message for a file that is not downloaded to its end."""
        return f"{url}: is larger than the {self.most_bytes} bytes that are fetched of one file; split the part"


class _Interrupted(Exception):
    """The connection ended before the file did; worth another attempt."""


def cache_folder(purpose: str) -> Path:
    """Where the user's downloads for ``purpose`` are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "clickhouse-clip-udfs" / purpose


@dataclass(frozen=True)
class Downloader:
    """How files are fetched.

    Attributes:
        attempts: Attempts in a row without progress before the download gives up.
        first_wait: Seconds before the second attempt; each further one waits twice as long, a minute at most.
        timeout: Seconds without a byte after which a connection counts as lost.
        sleep: Waits for the given number of seconds.
        advance: Is shown the bytes of each file as they arrive.
        headers: Sent with each request; ``Authorization`` is not sent to another host after a redirect.
    """

    attempts: int = 6
    first_wait: float = 1.0
    timeout: float = 60.0
    sleep: Callable[[float], None] = time.sleep
    advance: Advance = silent
    headers: Mapping[str, str] = field(default_factory=dict)

    def fetch(self, url: str, target: Path, expected: Expected | None = None) -> None:
        """Download ``url`` to ``target``, resuming an earlier call; does nothing if it exists.

        The bytes are collected in ``<target>.partial``. The server's validator for the file's version is kept beside
        it, so a file that has changed since is fetched from the start.

        Raises:
            NotOnServer: The server answers 404 or 410.
            DownloadError: The server refuses, or the attempts are used up (what has arrived is kept); or the file is
                not what was ``expected``, or does not fit on the disk (nothing is kept).
        """
        if target.exists():
            return
        partial = _Partial(target)
        furthest, failures = partial.size, 0
        while True:
            try:
                self._attempt(url, partial, expected)
            except (_Interrupted, *_NETWORK_ERRORS) as error:
                failures = 0 if partial.size > furthest else failures + 1
                furthest = max(furthest, partial.size)
                if failures >= self.attempts:
                    raise DownloadError(
                        f"{url}: gave up after {failures} attempts without progress, at {furthest}"
                        f" bytes: {first_line(error)}; run again to continue"
                    ) from error
                self.sleep(min(self.first_wait * 2.0**failures, 60.0))
            except OSError as error:
                raise DownloadError(f"cannot write {partial.path}: {error.strerror}") from error
            else:
                partial.finish()
                return

    def _attempt(self, url: str, partial: _Partial, expected: Expected | None) -> None:
        start, version = partial.size, partial.version
        request = urllib.request.Request(url, headers={"Accept-Encoding": "identity", **self.headers})
        if start and version is not None:
            request.add_header("Range", f"bytes={start}-")
            if version.validator is not None:
                request.add_header("If-Range", version.validator)
        else:
            start = 0
        try:
            response = _OPENER.open(request, timeout=self.timeout)
        except urllib.error.HTTPError as error:
            with error:
                if error.code in _WAITS_FOR:
                    raise _Interrupted(f"HTTP {error.code} {printable(error.reason)}") from error
                if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
                    partial.discard()
                    raise DownloadError(
                        f"{url}: the server has no bytes from {start} on, although it promised more; what was"
                        " fetched is dropped, run again"
                    ) from error
                kind = NotOnServer if error.code in _MISSING else DownloadError
                raise kind(f"{url}: HTTP {error.code} {printable(error.reason)}") from error
        with response:
            start, total = _range_of(response, start)
            now = _Version(_validator(response), total)
            if start and version is not None and version.total != total:
                partial.discard()
                raise _Interrupted(f"the file has changed from {version.total} to {total} bytes")
            head = response.read(_CHUNK)
            if expected is not None:
                expected.check(url, total, head if start == 0 else None)
            _check_room(url, partial.path, start, total)
            partial.version = now
            with partial.open(start) as stream:
                there = start
                for chunk in chain((head,) if head else (), iter(lambda: response.read(_CHUNK), b"")):
                    if expected is not None and there + len(chunk) > expected.most_bytes:
                        partial.discard()
                        raise DownloadError(expected.too_large(url))
                    stream.write(chunk)
                    there += len(chunk)
                    self.advance(partial.name, there, total, "bytes")
        if total is not None and there != total:
            raise _Interrupted(f"the connection ended after {there} of {total} bytes")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects on the web, without sending credentials to another host or in clear text."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if not newurl.startswith(("http://", "https://")):
            return None
        following = super().redirect_request(req, fp, code, msg, headers, newurl)
        if following is not None and (following.type, following.host) not in (
            (req.type, req.host),
            ("https", req.host),
        ):
            following.remove_header("Authorization")
        return following


_OPENER = urllib.request.build_opener(_Redirects)
# open() wraps failures to connect in URLError; while reading, sockets raise these.
_NETWORK_ERRORS = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError)


@dataclass(frozen=True)
class _Version:
    """What tells a version of a file from a later one: a validator for If-Range, and the size."""

    validator: str | None
    total: int | None


class _Partial:
    """The bytes of a file that have arrived, and their version."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self.name = target.name
        self.path = target.with_name(target.name + ".partial")
        self._record = target.with_name(target.name + ".version")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def version(self) -> _Version | None:
        """The version of the bytes on disk; None if unknown."""
        if not self._record.exists():
            return None
        return _Version(**json.loads(self._record.read_text(encoding="utf-8")))

    @version.setter
    def version(self, version: _Version) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._record.write_text(json.dumps(asdict(version)), encoding="utf-8")

    def open(self, start: int) -> IO[bytes]:
        """Open for writing at ``start``; anything after it is dropped."""
        stream = self.path.open("r+b" if start else "wb")
        stream.seek(start)
        stream.truncate()
        return stream

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self._record.unlink(missing_ok=True)

    def finish(self) -> None:
        self.path.replace(self._target)
        self._record.unlink(missing_ok=True)


def _check_room(url: str, path: Path, start: int, total: int | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(path.parent).free
    if total is not None and total - start > free:
        raise DownloadError(
            f"{url}: {total - start} bytes to fetch and {free} free in {path.parent}; make room, or choose another"
            " folder with --downloads"
        )


def _validator(response: Any) -> str | None:
    """A strong validator, as If-Range requires (RFC 9110, 13.1.5)."""
    tag: str | None = response.headers.get("ETag")
    if tag is not None and not tag.startswith("W/"):
        return tag
    modified: str | None = response.headers.get("Last-Modified")
    return modified


def _range_of(response: Any, asked: int) -> tuple[int, int | None]:
    """First byte of a response and the size of the whole file, from its headers."""
    length = response.headers.get("Content-Length")
    if response.status != http.client.PARTIAL_CONTENT:
        return 0, int(length) if length is not None and length.isdecimal() else None
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if match is None or int(match[1]) != asked:
        answered = response.headers.get("Content-Range")
        raise _Interrupted(f"asked for bytes from {asked}, the server answered {answered!r}")
    if match[2] != "*":
        return asked, int(match[2])
    return asked, asked + int(length) if length is not None else None
