"""The directory that cloud-bundle writes: an archive for each function, its settings, and the SQL."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from clip_installer.clickhouse.sql import Statement
from clip_installer.cloud.archive import write_archive
from clip_installer.cloud.function import RUNTIME, TYPE, CloudFunction, cloud_functions
from clip_installer.errors import ApplyError
from clip_installer.install.files.render import POOL_WAIT_SECONDS, rendered
from clip_installer.tables.schema import SchemaParameters, index_statements, statements
from clip_udfs import __version__
from clip_udfs.bundle import Bundle
from clip_udfs.integrity import sha256
from clip_udfs.settings import WorkerSettings

# The first version with the resources for functions.
_PROVIDER = "3.24.0"


@dataclass(frozen=True)
class Written:
    """A file of the directory.

    Attributes:
        path: The file.
        bytes: Its length.
        changed: Whether it was not there as it is now.
        function: The function whose archive it is; None for another file.
    """

    path: Path
    bytes: int
    changed: bool
    function: CloudFunction | None = None


def write_directory(
    output: Path,
    bundle: Bundle,
    settings: WorkerSettings,
    schema: SchemaParameters,
    pool_size: int,
    report: Callable[[str], None] = lambda line: None,
) -> list[Written]:
    """Write everything for ``bundle`` into the directory ``output``; other files there stay.

    Args:
        output: The directory; it is made where there is none.
        bundle: The model.
        settings: The workers' settings.
        schema: Parameters of table and views.
        pool_size: Processes of each function's pool.
        report: Called with one line for each file that takes time.

    Raises:
        BundleError: A file of the bundle is missing.
        ApplyError: A file cannot be written.
    """
    functions = list(cloud_functions(bundle, settings, pool_size))
    try:
        output.mkdir(parents=True, exist_ok=True)
        return [
            *_archives(output, functions, bundle, settings, report),
            *(_written(output / name, text) for name, text in _texts(functions, bundle, schema)),
        ]
    except OSError as error:
        raise ApplyError(f"cannot write {error.filename or output}: {error.strerror}") from error


def _archives(
    output: Path,
    functions: Sequence[CloudFunction],
    bundle: Bundle,
    settings: WorkerSettings,
    report: Callable[[str], None],
) -> Iterator[Written]:
    for one in functions:
        report(f"packing {one.archive}")

        def write(path: Path, one: CloudFunction = one) -> None:
            write_archive(path, one, bundle, settings)

        yield _placed(output / one.archive, write, one)


def _texts(functions: Sequence[CloudFunction], bundle: Bundle, schema: SchemaParameters) -> Iterator[tuple[str, str]]:
    values = {
        "functions": functions,
        "model": bundle.manifest.name,
        "provider": _PROVIDER,
        "runtime": RUNTIME,
        "type": TYPE,
        "version": __version__,
        "wait_seconds": POOL_WAIT_SECONDS,
    }
    for name in ("console.md", "functions.tf", "providers.tf"):
        yield name, rendered(f"cloud/{name}.j2", **values)
    yield "schema.sql", _script(statements(schema))
    yield "indexes.sql", _script(index_statements(schema))


def _script(made: Sequence[Statement]) -> str:
    return "\n".join(f"{one.sql};\n" for one in made)


def _written(path: Path, text: str) -> Written:
    def write(place: Path) -> None:
        place.write_text(text, encoding="utf-8")

    return _placed(path, write, None)


def _placed(path: Path, write: Callable[[Path], None], function: CloudFunction | None) -> Written:
    """Let ``write`` make the file beside ``path``, and put it there whole, unless the same is there already."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    made = Path(name)
    try:
        write(made)
        made.chmod(0o644)
        size = made.stat().st_size
        changed = not path.is_file() or path.stat().st_size != size or sha256(path) != sha256(made)
        if changed:
            made.replace(path)
    finally:
        made.unlink(missing_ok=True)
    return Written(path, size, changed, function)
