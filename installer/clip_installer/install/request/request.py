"""The user's request, and what follows from it for one server: options, paths, settings, schema."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from clip_installer.clickhouse.connection import ConnectionOptions
from clip_installer.errors import ConfigurationError
from clip_installer.install.files.wanted import Installation
from clip_installer.install.records.records import InstalledModel
from clip_installer.install.request.options import DEFAULTS, LIMITS, PER_FUNCTION, Options, shown
from clip_installer.install.request.target import Target, refuse_unprintable
from clip_installer.tables.deploy import Schema
from clip_installer.tables.label import ModelLabel
from clip_installer.tables.schema import DEFAULT_LOGIT_SCALE, SchemaParameters
from clip_installer.tables.search_page.page import SearchPage
from clip_udfs.bundle import Bundle
from clip_udfs.functions import FUNCTIONS
from clip_udfs.manifest import Manifest
from clip_udfs.settings import WorkerSettings

ROOT = Path("/")
DEFAULT_TABLE = "laion"
# Only many rows at a time keep a GPU busy; ``python -m benchmarks.gpu`` measures other sizes.
_GPU_BATCHES = {"text_batch": 256, "image_batch": 64}
# On a CPU, torch uses all threads for each batch, which needs more rows than a batch of one thread.
_TORCH_BATCHES = {"text_batch": 32, "image_batch": 8}


@dataclass(frozen=True)
class InstallRequest:
    """The request of a run; whatever it leaves out stays as the installation remembers it.

    Attributes:
        server_config: The server's configuration directory, or its main file.
        suffix: Suffix of the SQL names, '' for the default model.
        given: The options that were given.
        reset: Names of the options to reset to their defaults.
        python: The interpreter of the workers if none is given.
        destdir: Root of the tree that is installed into.
        force: Replace foreign and edited files, keeping copies.
        connection: Where the DDL runs and the functions are called; None runs nothing.
    """

    server_config: Path
    suffix: str
    given: Options
    reset: tuple[str, ...]
    python: Path
    destdir: Path
    force: bool
    connection: ConnectionOptions | None

    def target(self) -> Target:
        """The server: its configuration, what is installed on it, and the user that it runs as.

        Raises:
            ConfigurationError: It cannot be read, or there is no such user.
            ConflictError: The directory of scripts belongs to another server.
        """
        return Target.read(self.server_config, self.destdir, self.given.values.get("user"))

    def settled(self, target: Target) -> SettledRequest:
        """The request, completed with what the installation on ``target`` remembers.

        Raises:
            ConfigurationError: It resets an unknown option.
        """
        before = target.records.find(self.suffix)
        remembered = Options.from_record(before.options) if before else Options()
        return SettledRequest(self, target, before, remembered.merged(self.given, self.reset))


@dataclass(frozen=True)
class SettledRequest:
    """A request for one server in which every option is decided.

    Attributes:
        request: What was asked for.
        target: The server.
        before: The model that has the suffix so far; None if there is none.
        options: The options given now and earlier.
    """

    request: InstallRequest
    target: Target
    before: InstalledModel | None
    options: Options = field(default_factory=Options)

    @property
    def suffix(self) -> str:
        """Suffix of the SQL names, '' for the default model."""
        return self.request.suffix

    @property
    def engine(self) -> str:
        """The inference engine, ``onnx`` or ``torch``."""
        return str(self.options["engine"])

    @property
    def staged(self) -> bool:
        """Whether the files are for another machine, below ``--destdir``."""
        return self.request.destdir != ROOT

    @property
    def rows(self) -> int:
        """Rows for which to state the memory of the vector indexes."""
        return int(self.options["rows"])

    @cached_property
    def python(self) -> Path:
        """The interpreter of the workers."""
        return Path(self.options["python"] or self.request.python)

    @cached_property
    def image_roots(self) -> tuple[Path, ...]:
        """The directories that encode_image may read."""
        roots = tuple(Path(root) for root in self.options["image-root"] or ())
        return roots or (self.target.config.user_files_path,)

    @cached_property
    def engine_threads(self) -> int:
        """Engine threads of each worker; 0 means as many as cores."""
        threads = self.options["threads"]
        return max(1, (os.cpu_count() or 1) // int(self.options["pool-size"])) if threads is None else int(threads)

    @cached_property
    def pool_sizes(self) -> dict[str, int]:
        """Workers of each function."""
        return {name: self.options.of_function(name, "pool-size") for name in FUNCTIONS}

    @property
    def table(self) -> str:
        """The table that the views search."""
        default = f"{DEFAULT_TABLE}_{self.suffix}" if self.suffix else DEFAULT_TABLE
        return self.options["table"] or default

    def installation(self, bundle: Bundle, graphs: Path | None) -> Installation:
        """The installation of ``bundle``, with ``graphs`` prepared for this machine.

        Raises:
            ConfigurationError: A path cannot be used.
            SettingsError: A setting cannot work.
        """
        config = self.target.config
        if not self.staged:
            for root in self.options["image-root"] or ():
                if not Path(root).is_dir():
                    raise ConfigurationError(f"--image-root {root} is not a directory")
        for path in (self.python, *self.image_roots):
            refuse_unprintable(path)
        settings = self._settings({name: self.options[name] for name in LIMITS})
        own = {
            name: self._settings({limit: self.options.of_function(name, limit) for limit in LIMITS})
            for name, values in self.options.functions.items()
            if any(limit in values for limit in LIMITS)
        }
        return Installation.placed(config, bundle, self.python, settings, self.pool_sizes, own, graphs)

    def _settings(self, limits: Mapping[str, Any]) -> WorkerSettings:
        return WorkerSettings(
            bundle=Path(),
            suffix=self.suffix,
            engine=self.engine,
            device=self.options["device"],
            threads=self.engine_threads,
            format=self.options["wire-format"],
            normalize=not self.options["raw"],
            jpeg_decoding=self.options["jpeg-decoding"],
            exif_orientation=self.options["exif-orientation"],
            image_formats=tuple(self.options["formats"].split(",")),
            text_cache=self.options["text-cache"],
            **{name.replace("-", "_"): value for name, value in limits.items()},
            **self._batches(),
            image_roots=self.image_roots,
        )

    def _label(self, manifest: Manifest) -> ModelLabel:
        return ModelLabel.of(manifest, turned=self.options["exif-orientation"])

    def _batches(self) -> dict[str, Any]:
        """The settings that differ for another engine than the default one."""
        if self.engine != "torch":
            return {}
        if self.options["device"] == "cpu":
            return _TORCH_BATCHES
        return _GPU_BATCHES | {"decode_threads": max(2, self.engine_threads)}

    def schema(self, manifest: Manifest) -> Schema | None:
        """The schema to deploy for the model of ``manifest``; None if none is wanted.

        Raises:
            UsageProblem: A parameter is invalid.
        """
        if not self.options["ddl"]:
            return None
        return Schema.render(
            SchemaParameters(
                table=self.table,
                dimension=manifest.dimension,
                suffix=self.suffix,
                quantization=self.options["quantization"],
                cluster=self.options["cluster"],
                comment=self._label(manifest).comment,
                logit_scale=manifest.logit_scale or DEFAULT_LOGIT_SCALE,
                logit_bias=manifest.logit_bias,
                image_roots=tuple(map(str, self.image_roots)),
            )
        )

    def search_page(self, manifest: Manifest, database: str) -> SearchPage | None:
        """The search page to deploy, for a table in ``database`` unless its name has another; None for none.

        Raises:
            UsageProblem: A parameter is invalid.
        """
        schema = self.schema(manifest)
        if schema is None or not self.options["search-page"]:
            return None
        return SearchPage.render(schema.parameters, database, manifest.name)

    def effective(self, manifest: Manifest) -> dict[str, str]:
        """The effective value of each option, defaults included, for the plan and for comparison by a later run."""
        derived: dict[str, Any] = {
            "model": str(self._label(manifest)),
            "image-root": self.image_roots,
            "threads": self.engine_threads or "all cores",
            "python": self.python,
            "user": self.target.user.name,
            "table": self.table if self.options["ddl"] else "-",
            "device": self.options["device"] or "-",
            "cluster": self.options["cluster"] or "-",
            "page-handlers": self.options["page-handlers"] or "-",
        }
        values = {name: shown(derived.get(name, self.options[name])) for name in DEFAULTS}
        for function, own in self.options.functions.items():
            values.update({f"{function}.{name}": shown(own[name]) for name in PER_FUNCTION if name in own})
        return values
