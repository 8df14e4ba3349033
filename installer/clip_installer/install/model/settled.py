"""The bundle of a settled request: the requested one, or the installed one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from clip_installer import resources
from clip_installer.errors import ConflictError
from clip_installer.install.files.placement import Placement
from clip_installer.install.records.records import InstalledModel
from clip_installer.install.request.request import SettledRequest
from clip_installer.models.source import builtin_names, opened_model
from clip_installer.server.config import ServerConfig
from clip_udfs.bundle import Bundle
from clip_udfs.errors import BundleError
from clip_udfs.integrity import sha256


@contextmanager
def settled_model(settled: SettledRequest, say: Callable[[str], None]) -> Iterator[Bundle]:
    """Open the bundle to install; one that must be built first exists until the ``with`` block ends.

    A model that was installed earlier and is not named now is read from its installed copy, because its source
    directory may be gone. A built-in model is read from the package, which may be newer.

    Raises:
        ConflictError: The installed copy was damaged, and its source is gone.
        ModelError: No such model.
        BundleError: The bundle is not complete.
    """
    model = str(settled.options["model"])
    if settled.before is None or "model" in settled.request.given.values or "model" not in settled.options.values:
        with opened_model(model, settled.engine, say) as bundle:
            yield bundle
    elif model in builtin_names():
        yield Bundle.open(resources.builtin_models() / model)
    else:
        yield _installed(settled, model)


def installed_bundle(config: ServerConfig, model: InstalledModel) -> Bundle:
    """The installed bundle of a model.

    Raises:
        BundleError: It is not complete.
    """
    return Bundle.open(config.on_disk(_bundle_directory(config, model)))


def _bundle_directory(config: ServerConfig, model: InstalledModel) -> Path:
    return Placement.of(config, model.model, model.revision).bundle


def _installed(settled: SettledRequest, source: str) -> Bundle:
    before, config = settled.before, settled.target.config
    assert before is not None
    directory = config.on_disk(_bundle_directory(config, before))
    recorded = {config.on_disk(file.path): file.sha256 for file in before.files}
    try:
        bundle = installed_bundle(config, before)
        damaged = [
            path
            for path in map(bundle.file, bundle.manifest.files)
            if path in recorded and sha256(path) != recorded[path]
        ]
    except BundleError:
        damaged = [directory]
    if not damaged:
        return bundle
    if Path(source).is_dir():
        return Bundle.open(Path(source))
    raise ConflictError(
        f"{damaged[0]} is not as it was installed, and {source}, which it came from, is not here; bring the bundle and"
        " give it with --model DIR"
    )
