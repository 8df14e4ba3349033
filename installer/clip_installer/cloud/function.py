"""The description of one function for ClickHouse Cloud."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from clip_installer.install.files.render import POOL_WAIT_SECONDS
from clip_installer.install.files.wanted import silence_seconds
from clip_udfs.bundle import Bundle
from clip_udfs.functions import FUNCTIONS, Function
from clip_udfs.settings import WorkerSettings

# The Python that Cloud runs, as its Terraform provider names it. The requirements are pinned for it.
RUNTIME = "python3.11"
TYPE = "executable_pool"


@dataclass(frozen=True)
class CloudFunction:
    """What one function is created with.

    Attributes:
        function: The function.
        suffix: Suffix of its SQL name, '' for the default model.
        format: ClickHouse format of the pool.
        pool_size: Processes of the pool, on each replica.
        silence_milliseconds: Milliseconds without a byte after which ClickHouse gives up on a worker.
    """

    function: Function
    suffix: str
    format: str
    pool_size: int
    silence_milliseconds: int

    @property
    def name(self) -> str:
        """The name that an analyst types."""
        return self.function.sql_name(self.suffix)

    @property
    def archive(self) -> str:
        """Name of the file to upload."""
        return f"{self.name}.zip"

    @property
    def arguments(self) -> tuple[tuple[str, str], ...]:
        """Name and ClickHouse type of each argument."""
        return self.function.arguments

    @property
    def return_name(self) -> str:
        """Name of the answer."""
        return self.function.return_name

    @property
    def return_type(self) -> str:
        """ClickHouse type of the answer."""
        return self.function.return_type

    def request(self) -> dict[str, Any]:
        """The function as the Cloud API's "Create UDF" takes it, but for the upload's id."""
        return {
            "functionName": self.name,
            "runtime": RUNTIME,
            "type": TYPE,
            "arguments": [{"name": name, "type": kind} for name, kind in self.arguments],
            "returnType": self.return_type,
            "returnName": self.return_name,
            "format": self.format,
            "sendChunkHeader": True,
            "poolSize": self.pool_size,
            "maxCommandExecutionTime": POOL_WAIT_SECONDS,
            "commandReadTimeout": self.silence_milliseconds,
            "commandWriteTimeout": self.silence_milliseconds,
        }


def cloud_functions(bundle: Bundle, settings: WorkerSettings, pool_size: int) -> Iterator[CloudFunction]:
    """Every function but those that are given a path: a sandbox has no directory of images."""
    for function in FUNCTIONS.values():
        if function.source != "path":
            silence = 1000 * silence_seconds(function, bundle, settings.engine)
            yield CloudFunction(function, settings.suffix, settings.format, pool_size, silence)
