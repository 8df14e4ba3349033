"""The archive of one function: what Cloud starts, what that needs from PyPI, the worker's code, and a tower's files."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from shutil import copyfileobj

import clip_udfs
from clip_installer import resources
from clip_installer.cloud.function import CloudFunction
from clip_installer.install.files.render import rendered
from clip_udfs import __version__
from clip_udfs.bundle import Bundle
from clip_udfs.functions import Tower
from clip_udfs.manifest import MANIFEST, TOKENIZER
from clip_udfs.pipe.row_binary import header
from clip_udfs.settings import WorkerSettings

MAIN, REQUIREMENTS, SETTINGS, BUNDLE = "main.py", "requirements.txt", "worker.json", "bundle"
_LEFT_OUT = {"models", "__pycache__"}
# The same content makes the same archive, whenever it is made: Terraform publishes a version for each other one.
_TIME = (1980, 1, 1, 0, 0, 0)
_REGULAR_FILE = 0o100644 << 16
_UNIX = 3


def write_archive(path: Path, function: CloudFunction, bundle: Bundle, settings: WorkerSettings) -> None:
    """Write the archive of ``function`` to ``path``.

    Args:
        path: The file to write.
        function: The function.
        bundle: The model.
        settings: The workers' settings.

    Raises:
        BundleError: A file of the bundle is not as its manifest says.
        OSError: The archive cannot be written.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in _members(function, bundle, settings):
            _add(archive, name, content)


def _members(function: CloudFunction, bundle: Bundle, settings: WorkerSettings) -> Iterator[tuple[str, bytes | Path]]:
    tower = function.function.tower
    begin = header(function.return_name, function.return_type)
    values = {"sql_name": function.name, "function": function.function.name, "settings": SETTINGS, "header": begin}
    yield MAIN, rendered("cloud/main.py.j2", version=__version__, **values).encode()
    yield REQUIREMENTS, resources.templates() / "cloud" / f"requirements-{tower or 'file'}.txt"
    yield SETTINGS, replace(settings, bundle=Path(BUNDLE)).to_json().encode()
    code = Path(clip_udfs.__file__).parent
    for path in sorted(code.rglob("*.py")):
        if not _LEFT_OUT & set(path.relative_to(code).parts):
            yield f"{code.name}/{path.relative_to(code).as_posix()}", path
    if tower is not None:
        yield from _bundle_files(bundle, tower)


def _bundle_files(bundle: Bundle, tower: Tower) -> Iterator[tuple[str, Path | bytes]]:
    """The files of one tower, and a manifest of them alone."""
    kept = {
        name: record
        for name, record in sorted(bundle.manifest.files.items())
        if name.startswith(f"{tower}.onnx") or (tower == "text" and name == TOKENIZER)
    }
    yield f"{BUNDLE}/{MANIFEST}", replace(bundle.manifest, files=kept).to_json().encode()
    for name in kept:
        yield f"{BUNDLE}/{name}", bundle.file(name)


def _add(archive: zipfile.ZipFile, name: str, content: bytes | Path) -> None:
    member = zipfile.ZipInfo(name, _TIME)
    member.compress_type = zipfile.ZIP_DEFLATED
    member.create_system = _UNIX
    member.external_attr = _REGULAR_FILE
    if isinstance(content, bytes):
        archive.writestr(member, content)
        return
    member.file_size = content.stat().st_size  # says whether the archive needs ZIP64
    with content.open("rb") as source, archive.open(member, "w") as target:
        copyfileobj(source, target, 1 << 20)
