"""The model's graphs, optimised for the machine that is installed on: made once, and made again when they are stale."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clip_installer.install.disk import Disk
from clip_installer.install.flow import propose
from clip_installer.install.placement import place
from clip_installer.install.records import load_records
from clip_installer.install.request import ROOT, InstallRequest
from clip_udfs.bundle import Bundle


@contextmanager
def host_graphs(request: InstallRequest, bundle: Bundle) -> Iterator[Path | None]:
    """Give a folder with the graphs of ``bundle`` prepared for this machine, for as long as the ``with`` block runs.

    That is the installed one where it still fits. None where the workers need none: for the torch engine, and for a
    staged tree, which will run elsewhere.

    Raises:
        ClipUdfError: The plan is refused, or ONNX Runtime refuses a graph.
    """
    from clip_udfs.encoders.prepared import prepare

    if request.engine != "onnx" or request.destdir != ROOT:
        yield None
        return
    installed = _installed(request, bundle)
    if installed is not None:
        yield installed
        return
    propose(request, bundle, None)  # what cannot be installed is refused before the work, not after
    with tempfile.TemporaryDirectory(prefix="clip-udfs-graphs-") as scratch:
        yield Path(scratch) if prepare(bundle, Path(scratch)) else None


def _installed(request: InstallRequest, bundle: Bundle) -> Path | None:
    from clip_udfs.encoders.prepared import FOLDER, stale_because

    config = request.config()
    target = place(config, bundle.manifest.name).bundle
    if stale_because(Bundle(target, bundle.manifest)) is not None:
        return None
    folder = target / FOLDER
    records, disk = load_records(config), Disk(config)
    for path in folder.iterdir():
        known = records.owner_of(path)
        if known is None or known[1].sha256 != disk.digest(path):
            return None
    return folder
