"""The prepared graphs: created once for this host, and again when they are stale."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from clip_installer.install.disk.disk import Disk
from clip_installer.install.files.placement import Placement
from clip_installer.install.request.request import SettledRequest
from clip_udfs.bundle import Bundle


@contextmanager
def host_graphs(settled: SettledRequest, bundle: Bundle, say: Callable[[str], None]) -> Iterator[Path | None]:
    """A folder with the graphs of ``bundle`` prepared for this machine; it exists until the ``with`` block ends.

    The installed folder is used if it still fits. None if the workers need none: for the torch engine, and for a staged
    tree, which will run elsewhere.

    Raises:
        EngineError: ONNX Runtime refuses a graph.
    """
    from clip_udfs.encoders.prepared import prepare

    if settled.engine != "onnx" or settled.staged:
        yield None
        return
    installed = _installed(settled, bundle)
    if installed is not None:
        yield installed
        return
    say("preparing the model's graphs for this machine")
    with tempfile.TemporaryDirectory(prefix="clip-udfs-graphs-") as scratch:
        yield Path(scratch) if prepare(bundle, Path(scratch)) else None


def _installed(settled: SettledRequest, bundle: Bundle) -> Path | None:
    from clip_udfs.encoders.prepared import FOLDER, stale_because

    before, config = settled.before, settled.target.config
    if before is None:
        return None
    placed = Placement.of(config, before.model, before.revision).bundle
    directory = config.on_disk(placed)
    if stale_because(Bundle(directory, bundle.manifest)) is not None:
        return None
    disk, recorded = Disk(config), {file.path: file.sha256 for file in before.files}
    names = [path.name for path in (directory / FOLDER).iterdir()]
    if any(recorded.get(path) != disk.digest(path) for path in (placed / FOLDER / name for name in names)):
        return None
    return directory / FOLDER
