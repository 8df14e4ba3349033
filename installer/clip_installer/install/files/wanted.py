"""The files of an installation, derived only from the request: nothing on the target is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path, PurePosixPath

from clip_installer.install.files import render
from clip_installer.install.files.placement import Placement, place
from clip_installer.server.config import ServerConfig
from clip_installer.tables.label import ModelLabel
from clip_udfs import __version__
from clip_udfs.bundle import Bundle
from clip_udfs.encoders.prepared import FOLDER, RECORD
from clip_udfs.errors import BundleError
from clip_udfs.functions import FUNCTIONS, Function
from clip_udfs.integrity import sha256 as sha256_of_file
from clip_udfs.manifest import MANIFEST
from clip_udfs.settings import WorkerSettings

# Seconds until a busy machine has imported the engine, the slowest disk to expect, and many times the seconds for which
# clip_udfs.pipe.text_pipeline lets a worker be silent.
_START_SECONDS = {"onnx": 20, "torch": 60}
_LOADED_BYTES_PER_SECOND = 50_000_000
_FLUSH_SECONDS = 40

PRIVATE = 0o600
READABLE = 0o644
EXECUTABLE = 0o755


@dataclass(frozen=True)
class WantedFile:
    """One file as it should be.

    Attributes:
        path: Final path on the server.
        mode: Permission bits.
        reason: What it is for, in a few words.
        content: Its bytes, or the file to copy them from.
    """

    path: Path
    mode: int
    reason: str
    content: bytes | Path

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the content in hexadecimal."""
        if isinstance(self.content, Path):
            _ = self.size  # the install may remove the directory of the source
            return sha256_of_file(self.content)
        return sha256(self.content).hexdigest()

    @cached_property
    def size(self) -> int:
        """Length of the content in bytes."""
        return self.content.stat().st_size if isinstance(self.content, Path) else len(self.content)


@dataclass(frozen=True)
class Installation:
    """What one installed model consists of, as requested.

    Attributes:
        bundle: The model, where it is now.
        placement: Where everything goes.
        python: The interpreter that runs the workers.
        settings: The workers' settings; its ``bundle`` is the final directory.
        pool_sizes: Processes of each function's pool, by the function's name.
        own_settings: Settings of the functions that have their own, by the function's name.
        graphs: Folder with the bundle's graphs prepared for this machine; None if there are none.
        page: The file with the search page's handlers; None if there is none.
    """

    bundle: Bundle
    placement: Placement
    python: Path
    settings: WorkerSettings
    pool_sizes: Mapping[str, int]
    own_settings: Mapping[str, WorkerSettings] = field(default_factory=dict)
    graphs: Path | None = None
    page: WantedFile | None = None

    @classmethod
    def placed(
        cls,
        config: ServerConfig,
        bundle: Bundle,
        python: Path,
        settings: WorkerSettings,
        pool_sizes: Mapping[str, int],
        own_settings: Mapping[str, WorkerSettings] | None = None,
        graphs: Path | None = None,
    ) -> Installation:
        """An installation at its place on the server, which depends on everything that a worker loads.

        Raises:
            ConfigurationError: There is no place for it.
        """
        own = own_settings or {}
        unplaced = [replace(one, bundle=Path()).to_json() for one in (settings, *own.values())]
        prepared = (graphs / RECORD).read_text() if graphs is not None else ""
        loaded = (__version__, str(python), ModelLabel.of(bundle.manifest).comment, *unplaced, *own, prepared)
        revision = sha256("\0".join(loaded).encode()).hexdigest()[:12]
        placement = place(config, bundle.manifest.name, revision)
        return cls(
            bundle,
            placement,
            python,
            replace(settings, bundle=placement.bundle),
            pool_sizes,
            {name: replace(one, bundle=placement.bundle) for name, one in own.items()},
            graphs,
        )

    @property
    def suffix(self) -> str:
        """Suffix of the SQL names, '' for the default model."""
        return self.settings.suffix

    @property
    def sql_names(self) -> list[str]:
        """The SQL names of the functions."""
        return [function.sql_name(self.suffix) for function in FUNCTIONS.values()]


def silence_seconds(function: Function, bundle: Bundle, engine: str) -> int:
    """Longest time without a byte from a worker of ``function``: start, load, first flush."""
    if function.tower is None:
        return _START_SECONDS["onnx"] + _FLUSH_SECONDS
    weights = sum(record.bytes for record in bundle.manifest.files.values())
    return _START_SECONDS[engine] + weights // _LOADED_BYTES_PER_SECOND + _FLUSH_SECONDS


def wanted_files(installation: Installation) -> list[WantedFile]:
    """Every file of ``installation``, in the order in which a live server may see them.

    The definitions come last: ClickHouse must not see a function before its worker's files are complete. The search
    page comes after them.
    """
    page = [installation.page] if installation.page is not None else []
    return [*_bundle_files(installation), *_launch_files(installation), *_definitions(installation), *page]


def _bundle_files(installation: Installation) -> Iterator[WantedFile]:
    bundle = installation.bundle
    target = installation.placement.bundle
    for name in (*sorted(bundle.manifest.files), MANIFEST):
        source = bundle.directory / PurePosixPath(name)
        file = WantedFile(target / PurePosixPath(name), READABLE, "model bundle", source)
        record = bundle.manifest.files.get(name)
        if record is not None and file.digest != record.sha256:
            raise BundleError(
                f"bundle file {source} was altered: its SHA-256 is not the recorded one; bring the bundle here again"
            )
        yield file
    if installation.graphs is not None:
        for source in sorted(installation.graphs.iterdir()):
            yield WantedFile(target / FOLDER / source.name, READABLE, "graphs for this machine", source)


def _launch_files(installation: Installation) -> Iterator[WantedFile]:
    placement = installation.placement
    name = installation.bundle.manifest.name
    own = [placement.own_settings(function) for function in installation.own_settings]
    text = render.launcher(name, installation.python, placement.settings, own, wire_format=installation.settings.format)
    yield WantedFile(placement.settings, READABLE, "worker settings", installation.settings.to_json().encode())
    for function, settings in installation.own_settings.items():
        path = placement.own_settings(function)
        yield WantedFile(path, READABLE, f"worker settings of {function}", settings.to_json().encode())
    yield WantedFile(placement.launcher, EXECUTABLE, "what ClickHouse starts", text.encode())


def _definitions(installation: Installation) -> Iterator[WantedFile]:
    placement = installation.placement
    for function in FUNCTIONS.values():
        definition = render.FunctionDefinition(
            function=function,
            suffix=installation.suffix,
            directory=placement.command_directory,
            model=ModelLabel.of(installation.bundle.manifest, turned=installation.settings.exif_orientation),
            format=installation.settings.format,
            pool_size=installation.pool_sizes[function.name],
            silence_seconds=silence_seconds(function, installation.bundle, installation.settings.engine),
        )
        name = definition.sql_name
        text = render.function_xml(definition)
        yield WantedFile(placement.definition(name), READABLE, f"defines {name}", text.encode())
    if placement.drop_in is not None:
        text = render.drop_in_xml(placement.drop_in_pattern)
        yield WantedFile(placement.drop_in, READABLE, "adds our definitions' directory", text.encode())
