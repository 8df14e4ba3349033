"""The errors of this package: each message names the thing, the value and the way out.

ClipUdfError
├── SettingsError        a worker's rendered configuration is missing, malformed or refers to nothing
├── BundleError          a model bundle is missing, incomplete, altered or newer than the code
├── ProtocolError        standard input is not a ClickHouse block
├── EngineError          the inference engine could not load or run
├── DecoderError         the processes that decode images cannot be started, or were ended from outside
├── BlockOverrun         the values of one block take too long altogether
└── ValueRefused         one row's value cannot be encoded
"""

from __future__ import annotations

from unicodedata import category

_SHOWN = 200


def printable(text: str) -> str:
    r"""Untrusted text, made safe to show on a terminal and on one line.

    Use it for everything that is shown to a person and does not come from this package: a bundle's notice, a server's
    message, an HTTP reason phrase, a name or value out of a file. Control characters, escape sequences, line breaks,
    invisible and direction-changing characters appear as escapes such as ``\x1b``; everything else stays as it is.
    """
    return "".join(one if one.isprintable() or category(one) == "Zs" else _escaped(one) for one in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def one_line(error: BaseException) -> str:
    """The text of a foreign error on one line, safe to show in a message of ours."""
    return printable(" ".join(str(error).split()))


def shown(text: str) -> str:
    """A value as a message shows it: quoted, printable, and short enough for one line."""
    return f"'{printable(text if len(text) <= _SHOWN else text[:_SHOWN] + '…')}'"


class ClipUdfError(Exception):
    """Base of every error that this package raises on purpose; its text is one line for a person."""

    code = "error"


class SettingsError(ClipUdfError):
    """A worker's rendered configuration is missing, malformed, or refers to something that is not there."""

    code = "settings"


class BundleError(ClipUdfError):
    """A model bundle is missing, incomplete, altered, or newer than this code."""

    code = "bundle"


class ProtocolError(ClipUdfError):
    """What arrived on standard input is not what ClickHouse sends with ``send_chunk_header``."""

    code = "protocol"


class EngineError(ClipUdfError):
    """The inference engine could not be loaded or could not run."""

    code = "engine"


class DecoderError(ClipUdfError):
    """The processes that decode images cannot be started, or were ended from outside."""

    code = "decoder"


class BlockOverrun(ClipUdfError):
    """The values of one block take too long altogether."""

    code = "block"


class ValueRefused(ClipUdfError):
    """One row's value cannot be encoded: fatal for a strict function, ``[]`` for a ``try_`` function."""

    code = "value"
