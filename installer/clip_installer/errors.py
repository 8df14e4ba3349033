"""The commands' errors, one small tree below :class:`clip_udfs.errors.ClipUdfError`.

InstallerError
├── UsageProblem         an option or a name is invalid on any server (exit status 2)
├── ConfigurationError   the server's configuration cannot be read or does not allow the plan
├── ConflictError        something on the server is not the installer's to change
├── ApplyError           a change could not be made; it was undone
├── TableUnfit           a table is missing, or is not what the command needs
├── CheckFailed          a worker, a function or a table could not be checked
├── VerifyError          what is installed does not work as it should
├── ConnectionFailed     ClickHouse cannot be reached, or does not accept this user
├── ServerFailed         a server for evaluation did not start, or ended by itself
├── SqlError             ClickHouse refused a statement
├── DownloadError        a file could not be fetched
├── ImportRefused        a part of a data set cannot be imported as it is
├── ModelError           a model cannot be built, compared or found
└── MissingExtra         a Python package of an optional extra is not installed
"""

from __future__ import annotations

from clip_udfs.errors import ClipUdfError, printable


def first_line(error: BaseException) -> str:
    """The first line of a foreign error, safe to show, or its type if it has no text."""
    return printable(next(iter(str(error).strip().splitlines()), type(error).__name__))


class InstallerError(ClipUdfError):
    """Base of the errors of the commands."""

    code = "installer"


class UsageProblem(InstallerError):
    """An option or a name that is invalid on any server: exit status 2."""

    code = "usage"


class ConfigurationError(InstallerError):
    """The server's configuration cannot be read, or does not allow what was asked."""

    code = "configuration"


class ConflictError(InstallerError):
    """Something on the server is not the installer's to change: it belongs to somebody else, or was edited."""

    code = "conflict"


class ApplyError(InstallerError):
    """A change could not be made; the message says what was undone."""

    code = "apply"


class CheckFailed(InstallerError):
    """A worker, a function or a table could not be checked."""

    code = "check"


class TableUnfit(InstallerError):
    """A table is missing, or is not what the command needs."""

    code = "table"


class VerifyError(InstallerError):
    """What is installed does not work as it should; the findings say what and why."""

    code = "verify"


class ConnectionFailed(InstallerError):
    """ClickHouse cannot be reached where the connection options point, or does not accept this user."""

    code = "connection"


class ServerFailed(InstallerError):
    """A server for evaluation did not start, or stopped unexpectedly; the text has ClickHouse's own reason."""

    code = "server"


class SqlError(InstallerError):
    """ClickHouse refused a statement.

    Attributes:
        reason: The first line of ClickHouse's own message.
        number: ClickHouse's error code, 60 for example; None if it gave none.
        name: ClickHouse's name of that code, ``UNKNOWN_TABLE`` for example; None if it gave none.
    """

    code = "sql"

    def __init__(self, reason: str, number: int | None = None, name: str | None = None, remedy: str = "") -> None:
        """Keep what ClickHouse said; ``remedy`` follows it in the message."""
        super().__init__(f"{reason}; {remedy}" if remedy else reason)
        self.reason = reason
        self.number = number
        self.name = name


class DownloadError(InstallerError):
    """A file could not be fetched."""

    code = "download"


class ImportRefused(InstallerError):
    """A part of a data set cannot be imported, because of its files or the table."""

    code = "import"


class ModelError(InstallerError):
    """A model cannot be built, does not equal its source, or does not exist."""

    code = "model"


class MissingExtra(InstallerError):
    """A package of an optional extra is not installed."""

    code = "missing_extra"

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        """Say which extra installs ``package`` and what it is for."""
        super().__init__(f"{purpose} needs the Python package {package}: pip install 'clickhouse-clip-udfs[{extra}]'")
