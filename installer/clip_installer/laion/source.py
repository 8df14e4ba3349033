"""Where parts come from: a folder, or a web server whose files are downloaded first."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit, urlunsplit

from clip_installer.download import Downloader, Expected, NotOnServer
from clip_installer.errors import ImportRefused
from clip_installer.laion.npy import size_of_npy
from clip_installer.laion.parts import PartFiles

# LAION's parts have a million rows: 2 GB of float16 for the largest CLIP, 0.5 GB of metadata.
_MOST_BYTES = 16 << 30
EXPECTED_NPY = Expected("an npy file", b"\x93NUMPY", _MOST_BYTES, size_of_npy)
EXPECTED_PARQUET = Expected("a Parquet file", b"PAR1", _MOST_BYTES)


class Source(Protocol):
    """A source of the three files of a part."""

    @property
    def name(self) -> str:
        """The name that the user gave, without credentials."""
        ...

    def files(self, part: int) -> PartFiles:
        """The part's files as readable paths.

        Raises:
            ImportRefused: A file is missing.
            DownloadError: It cannot be fetched.
        """
        ...

    def release(self, part: int, refused: bool) -> None:
        """Release the part, which is imported or whose files were ``refused``: its downloads may be removed."""
        ...


class Folder:
    """Parts in a folder, in the published layout or all in one folder."""

    def __init__(self, folder: Path) -> None:
        """Use the parts below ``folder``."""
        self._folder = folder

    @property
    def name(self) -> str:
        """The absolute path."""
        return str(self._folder.resolve())

    def files(self, part: int) -> PartFiles:
        """The part's files, in the first complete layout; without texts if the folder has none for any part."""
        layouts = [layout.below(self._folder) for layout in PartFiles.layouts(part)]
        if not any(self._folder.glob("text_emb/text_emb_*.npy")) and not any(self._folder.glob("text_emb_*.npy")):
            layouts = [layout.without_texts() for layout in layouts]
        for layout in layouts:
            if all(path.is_file() for path in layout.all()):
                return layout
        fewest = min(layouts, key=lambda layout: sum(not path.is_file() for path in layout.all()))
        missing = next(path for path in fewest.all() if not path.is_file())
        raise ImportRefused(f"part {part} is incomplete in {self._folder}: there is no file {missing}")

    def release(self, part: int, refused: bool) -> None:
        """Do nothing: the files are the user's own."""


class WebServer:
    """Parts below an http(s) address, downloaded into a separate folder, a part at a time."""

    def __init__(self, base: str, downloads: Path, keep: bool, downloader: Downloader) -> None:
        """Download from ``base`` into a folder of its own below ``downloads``.

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
        self._layout: int | None = None
        self._has_texts: bool | None = None
        self._downloader = downloader

    @property
    def name(self) -> str:
        """The address without user and password."""
        return self._base

    def files(self, part: int) -> PartFiles:
        """Download the part's files that are missing; the metadata, the smallest, first.

        The naming of the server's files, and whether there are texts, is the same for all parts.
        """
        layouts = PartFiles.layouts(part)
        first: NotOnServer | None = None
        for number in range(len(layouts)) if self._layout is None else (self._layout,):
            try:
                files = self._fetched(part, layouts[number])
            except NotOnServer as error:
                first = first or error
            else:
                self._layout = number
                return files
        assert first is not None
        raise first

    def _fetched(self, part: int, addresses: PartFiles) -> PartFiles:
        fetched = PartFiles.published(part).below(self._folder)
        for address, path in zip(addresses.all()[:2], fetched.all()[:2], strict=True):
            self._fetch(address, path)
        assert addresses.texts is not None and fetched.texts is not None
        if self._has_texts is not False:
            try:
                self._fetch(addresses.texts, fetched.texts)
            except NotOnServer:
                if self._has_texts:
                    raise
                self._has_texts = False
            else:
                self._has_texts = True
        return fetched if self._has_texts else fetched.without_texts()

    def _fetch(self, address: Path, path: Path) -> None:
        expected = EXPECTED_PARQUET if address.suffix == ".parquet" else EXPECTED_NPY
        self._downloader.fetch(f"{self._base}/{address.as_posix()}", path, expected)

    def release(self, part: int, refused: bool) -> None:
        """Remove the part's files, unless they are good and should be kept."""
        if self._keep and not refused:
            return
        for path in PartFiles.published(part).below(self._folder).all():
            path.unlink(missing_ok=True)


def open_source(text: str, downloads: Path, keep: bool, downloader: Downloader) -> Source:
    """The source that ``text`` names: an http(s) address or a folder.

    Raises:
        ImportRefused: It is neither.
    """
    if text.startswith(("http://", "https://")):
        return WebServer(text, downloads, keep, downloader)
    folder = Path(text)
    if not folder.is_dir():
        raise ImportRefused(f"{text} is neither a folder nor an http(s) address")
    return Folder(folder)
