"""The commands' errors, one small tree below :class:`clip_udfs.errors.ClipUdfError`.

InstallerError
├── ConfigurationError   the server's configuration cannot be read or does not allow the plan
├── ConflictError        something on the server is not the installer's to change
├── ApplyError           a change could not be made, or could not be shown to work; it was undone
├── VerifyError          what is installed does not work as it should
├── ConnectionRefused    no ClickHouse answers where the options point
├── SqlError             ClickHouse refused a statement
├── ImportRefused        a part of a data set cannot be imported as it is
├── ModelError           a model cannot be built, compared or found
└── MissingExtra         a Python package of an optional extra is not installed
"""

from __future__ import annotations

from clip_udfs.errors import ClipUdfError


class InstallerError(ClipUdfError):
    """Base of the errors of the commands."""

    code = "installer"


class ConfigurationError(InstallerError):
    """The server's configuration cannot be read, or does not allow what was asked."""

    code = "configuration"


class ConflictError(InstallerError):
    """Something on the server is somebody else's, or was edited, and is not the installer's to change."""

    code = "conflict"


class ApplyError(InstallerError):
    """A change could not be made, or could not be shown to work; the message says what was undone."""

    code = "apply"


class VerifyError(InstallerError):
    """What is installed does not work as it should; the findings say what and why."""

    code = "verify"


class ConnectionRefused(InstallerError):
    """No ClickHouse answers where the connection options point."""

    code = "connection"


class SqlError(InstallerError):
    """ClickHouse refused a statement; the text is ClickHouse's own first line."""

    code = "sql"


class ImportRefused(InstallerError):
    """A part of a data set cannot be imported: its files, their download or the table stand against it."""

    code = "import"


class ModelError(InstallerError):
    """A model cannot be built, does not equal its source, or is not there."""

    code = "model"


class MissingExtra(InstallerError):
    """A package of an optional extra is not installed."""

    code = "missing_extra"

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        """Say which extra brings ``package`` and what it is for."""
        super().__init__(f"{purpose} needs the Python package {package}: pip install 'clickhouse-clip-udfs[{extra}]'")
