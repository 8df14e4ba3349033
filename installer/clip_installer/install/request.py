"""What the user asks for, and what follows from it for one server: paths, settings, schema."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from clip_installer.clickhouse.connection import ConnectionOptions
from clip_installer.errors import ConfigurationError
from clip_installer.install.placement import place
from clip_installer.install.wanted import Installation
from clip_installer.server.config import ServerConfig
from clip_installer.server.user import ServerUser, server_user
from clip_installer.tables.deploy import Schema
from clip_installer.tables.label import ModelLabel
from clip_installer.tables.schema import SchemaParameters
from clip_udfs.bundle import Bundle, Manifest
from clip_udfs.settings import WorkerSettings

ROOT = Path("/")
DEFAULT_TABLE = "laion"
# A GPU is busy only with many rows at a time; ``python -m benchmarks.gpu`` measures other sizes.
_GPU_BATCHES = {"text_batch": 256, "image_batch": 64}
# On a CPU torch gives each batch all threads, which wants more rows than a batch of one thread.
_TORCH_BATCHES = {"text_batch": 32, "image_batch": 8}


@dataclass(frozen=True)
class InstallRequest:
    """The options of an install.

    Attributes:
        server_config: The server's configuration directory, or its main file.
        model: A bundle's directory, a built-in model, or ``ARCHITECTURE/PRETRAINED``.
        suffix: Suffix of the SQL names, '' for the default model.
        image_roots: Directories that encode_image may read; none takes the server's ``user_files_path``.
        pool_size: Processes of each function's pool.
        threads: Engine threads of a worker; None shares the cores among the processes of a pool.
        engine: ``onnx`` or ``torch``.
        device: Device of the torch engine; None chooses.
        wire_format: ClickHouse format of the pools.
        normalize: L2-normalise the vectors.
        jpeg_decoding: How JPEGs are decoded, ``exact`` or ``scaled``.
        limits: The limits of :class:`WorkerSettings` that shall not have their default, by name.
        python: The interpreter that runs the workers.
        user: System user of the server; None takes the recorded one, or the owner of the data directory.
        destdir: Root of the tree that is installed into.
        force: Replace what is somebody else's, or edited.
        table: The table that the views search; None names it after the suffix.
        cluster: Cluster for the DDL; None for one server.
        quantization: Quantisation of the vector indexes.
        rows: Rows to state the memory of the vector indexes for.
        connection: Where the DDL runs and the functions are called; None runs nothing.
        ddl: Deploy the schema.
    """

    server_config: Path
    model: str
    suffix: str
    image_roots: tuple[Path, ...]
    pool_size: int
    threads: int | None
    engine: str
    device: str | None
    wire_format: str
    normalize: bool
    jpeg_decoding: str
    limits: Mapping[str, int]
    python: Path
    user: str | None
    destdir: Path
    force: bool
    table: str | None
    cluster: str | None
    quantization: str
    rows: int
    connection: ConnectionOptions | None
    ddl: bool

    def config(self) -> ServerConfig:
        """The server's configuration.

        Raises:
            ConfigurationError: There is none, or it is malformed.
        """
        return ServerConfig.read(self.server_config, destdir=self.destdir)

    def server_user(self, config: ServerConfig, recorded: str) -> ServerUser:
        """The user that the server runs as; for a staged tree who stages it, unless a user is given.

        Raises:
            ConfigurationError: That user does not exist, or is not known.
        """
        if self.destdir != ROOT and self.user is None:
            return ServerUser.current("who stages the tree")
        return server_user(config, self.user, recorded)

    def installation(self, config: ServerConfig, bundle: Bundle, graphs: Path | None) -> Installation:
        """What shall be installed on the server: ``bundle``, with ``graphs`` prepared for this machine.

        Raises:
            ConfigurationError: A path cannot be used.
            SettingsError: A setting cannot work.
        """
        placement = place(config, bundle.manifest.name)
        roots = tuple(root.absolute() for root in self.image_roots)
        if self.destdir == ROOT:
            for root in roots:
                if not root.is_dir():
                    raise ConfigurationError(f"--image-root {root} is not a directory")
        for path in (placement.scripts, self.python, *roots):
            _refuse_unprintable(path)
        settings = WorkerSettings(
            bundle=placement.bundle,
            suffix=self.suffix,
            engine=self.engine,
            device=self.device,
            threads=self.engine_threads,
            format=self.wire_format,
            normalize=self.normalize,
            jpeg_decoding=self.jpeg_decoding,
            **self.limits,
            **self._batches(),
            image_roots=roots or (config.user_files_path,),
        )
        return Installation(bundle, placement, self.python, settings, self.pool_size, graphs)

    @property
    def engine_threads(self) -> int:
        """Engine threads of each worker; 0 is as many as there are cores."""
        return max(1, (os.cpu_count() or 1) // self.pool_size) if self.threads is None else self.threads

    def _batches(self) -> dict[str, int]:
        """The settings that another engine than the usual one has differently."""
        if self.engine != "torch":
            return {}
        if self.device == "cpu":
            return _TORCH_BATCHES
        return _GPU_BATCHES | {"decode_threads": max(2, self.engine_threads)}

    def schema(self, manifest: Manifest) -> Schema | None:
        """The schema to deploy for the model of ``manifest``, or None where none is wanted.

        Raises:
            UsageProblem: A parameter cannot work.
        """
        if not self.ddl:
            return None
        default = f"{DEFAULT_TABLE}_{self.suffix}" if self.suffix else DEFAULT_TABLE
        return Schema.render(
            SchemaParameters(
                table=self.table or default,
                dimension=manifest.dimension,
                suffix=self.suffix,
                quantization=self.quantization,
                cluster=self.cluster,
                comment=ModelLabel.of(manifest).comment,
            )
        )


def _refuse_unprintable(path: Path) -> None:
    if not str(path).isprintable():
        raise ConfigurationError(
            f"{str(path)!r} holds a character that cannot be printed or is not UTF-8; use another directory"
        )
