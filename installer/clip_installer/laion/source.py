"""Where parts come from: a folder, or a web server whose files are fetched first."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit, urlunsplit

from clip_installer.download import Downloader, NotOnServer
from clip_installer.errors import ImportRefused
from clip_installer.laion.parts import PartFiles


class Source(Protocol):
    """Something that has the three files of a part."""

    @property
    def name(self) -> str:
        """What the person called it, without credentials."""
        ...

    def files(self, part: int) -> PartFiles:
        """The part's files as readable paths.

        Raises:
            ImportRefused: A file is missing.
            DownloadError: It cannot be fetched.
        """
        ...

    def release(self, part: int, refused: bool) -> None:
        """The part is imported, or its files were ``refused``: what was fetched for it may go."""
        ...


class Folder:
    """Parts in a folder, in the published layout or all in one place."""

    def __init__(self, folder: Path) -> None:
        """Use the parts below ``folder``."""
        self._folder = folder

    @property
    def name(self) -> str:
        """The absolute path."""
        return str(self._folder.resolve())

    def files(self, part: int) -> PartFiles:
        """The part's files, in the first layout that has all three."""
        published = PartFiles.published(part)
        layouts = [layout.below(self._folder) for layout in (published, published.flat())]
        for layout in layouts:
            if all(path.is_file() for path in layout.all()):
                return layout
        fewest = min(layouts, key=lambda layout: sum(not path.is_file() for path in layout.all()))
        missing = next(path for path in fewest.all() if not path.is_file())
        raise ImportRefused(f"part {part} is not whole in {self._folder}: there is no file {missing}")

    def release(self, part: int, refused: bool) -> None:
        """Files that were there before stay there."""


class WebServer:
    """Parts below an http(s) address, fetched into a folder of their own, a part at a time."""

    def __init__(self, base: str, downloads: Path, keep: bool, downloader: Downloader) -> None:
        """Fetch from ``base`` into a folder below ``downloads`` that is this base's alone.

        A user and a password in ``base`` are sent as HTTP basic authentication.
        """
        parts = urlsplit(base.rstrip("/"))
        user, at, host = parts.netloc.rpartition("@")
        self._base = urlunsplit(parts._replace(netloc=host))
        if at:
            basic = base64.b64encode(unquote(user).encode()).decode()
            downloader = replace(downloader, headers={"Authorization": f"Basic {basic}"})
        self._folder = downloads / hashlib.sha256(self._base.encode()).hexdigest()[:12]
        self._keep = keep
        self._downloader = downloader

    @property
    def name(self) -> str:
        """The address, without a user and a password in it."""
        return self._base

    def files(self, part: int) -> PartFiles:
        """Fetch what is not there yet of the part's files; the metadata, the smallest, first."""
        published = PartFiles.published(part)
        fetched = published.below(self._folder)
        for address, flat, path in reversed(
            list(zip(published.all(), published.flat().all(), fetched.all(), strict=True))
        ):
            try:
                self._downloader.fetch(f"{self._base}/{address.as_posix()}", path)
            except NotOnServer as error:
                try:
                    self._downloader.fetch(f"{self._base}/{flat.as_posix()}", path)
                except NotOnServer:
                    raise error from None
        return fetched

    def release(self, part: int, refused: bool) -> None:
        """Remove the part's files, unless they are good and to be kept."""
        if self._keep and not refused:
            return
        for path in PartFiles.published(part).below(self._folder).all():
            path.unlink(missing_ok=True)


def open_source(text: str, downloads: Path, keep: bool, downloader: Downloader) -> Source:
    """The source that ``text`` names: an http(s) address, or else a folder.

    Raises:
        ImportRefused: It is neither.
    """
    if text.startswith(("http://", "https://")):
        return WebServer(text, downloads, keep, downloader)
    folder = Path(text)
    if not folder.is_dir():
        raise ImportRefused(f"{text} is neither a folder nor an http(s) address")
    return Folder(folder)
