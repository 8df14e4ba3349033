"""The label of a model's vectors: written into the comments of tables and views, and read back."""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from clip_installer.clickhouse.sql import is_table, literal
from clip_installer.errors import SqlError
from clip_udfs.manifest import Manifest

if TYPE_CHECKING:
    from clip_installer.clickhouse.database import Database

_COMMENT = re.compile(
    r"CLIP vectors of (?P<name>\S+), (?P<dimension>\d+) numbers, bundle (?P<bundle>[0-9a-f]{12})"
    r"(?P<turned>, images turned upright)?"
)
_COMMAND = re.compile(
    r"clip_udfs/(?P<name>[^/ ]+)(?:/[0-9a-f]{12})?/launch \w+ (?P<dimension>\d+) (?P<bundle>[0-9a-f]{12})"
    r"(?P<turned> upright)?"
)


@dataclass(frozen=True)
class ModelLabel:
    """A model, as the origin of vectors.

    Attributes:
        name: Name of its bundle.
        dimension: Length of its vectors.
        bundle: The first 12 hexadecimal digits of a SHA-256 over the bundle's files.
        turned: Whether images are turned upright before encoding.
    """

    name: str
    dimension: int
    bundle: str
    turned: bool = False

    @classmethod
    def of(cls, manifest: Manifest, *, turned: bool = False) -> ModelLabel:
        """The label of a bundle's vectors; another build of the same weights may have another."""
        files = "".join(f"{record.sha256}  {name}\n" for name, record in sorted(manifest.files.items()))
        return cls(manifest.name, manifest.dimension, sha256(files.encode()).hexdigest()[:12], turned)

    @property
    def comment(self) -> str:
        """The COMMENT of a table with its vectors, or of a view that searches them."""
        how = ", images turned upright" if self.turned else ""
        return f"CLIP vectors of {self.name}, {self.dimension} numbers, bundle {self.bundle}{how}"

    @property
    def command_arguments(self) -> str:
        """The arguments after the function's name in its command, read back by :func:`installed_label`."""
        return f"{self.dimension} {self.bundle}{' upright' if self.turned else ''}"

    def __str__(self) -> str:
        """For a message."""
        how = ", images turned upright" if self.turned else ""
        return f"{self.name} ({self.dimension} numbers, bundle {self.bundle}{how})"


def table_comment(database: Database, table: str) -> str:
    """The COMMENT of ``table``; '' if it has none or does not exist."""
    return str(database.value(f"SELECT comment FROM system.tables WHERE {is_table(table, 'name')}") or "")


def label_of_comment(comment: str) -> ModelLabel | None:
    """The model that the COMMENT of a table names; None if it names none."""
    return _label(_COMMENT.search(comment))


def installed_label(database: Database, sql_name: str) -> ModelLabel | None:
    """The model of the function ``sql_name``; None if the server cannot tell (before ClickHouse 26.2)."""
    query = f"SELECT command FROM system.user_defined_functions WHERE name = {literal(sql_name)}"
    try:
        command = database.value(query)
    except SqlError:
        return None
    return label_of_command(command) if command else None


def label_of_command(command: str) -> ModelLabel | None:
    """The model named in a function's command; None for a foreign function."""
    return _label(_COMMAND.fullmatch(command))


def _label(found: re.Match[str] | None) -> ModelLabel | None:
    if found is None:
        return None
    return ModelLabel(found["name"], int(found["dimension"]), found["bundle"], found["turned"] is not None)
