"""Sources that the server reads, through its table functions and under its own grants."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from clip_installer.clickhouse.sql import literal
from clip_installer.errors import UsageProblem
from clip_udfs.errors import printable

_CALL = re.compile(r"\s*(\w+)\s*\((.*)\)\s*", re.DOTALL)
_STRING = re.compile(r"\s*'((?:[^'\\]|\\.|'')*)'\s*", re.DOTALL)
_NAMED = re.compile(r"\s*(\w+)\s*=")
_ADDRESS = re.compile(r"(s3|gs|gcs|https?)://", re.IGNORECASE)
# The prefix of `_path`, so that paths of different sources stay distinct.
_PREFIXES = {"s3": "s3://", "s3Cluster": "s3://", "gcs": "gs://"}
_FORMATS = re.compile(r"\s*'?(RawBLOB|One)'?\s*", re.IGNORECASE)
# Arguments of a named collection that select objects and are not secret.
_TELLING = ("url", "filename", "path", "container", "blob_path")


@dataclass(frozen=True)
class RemoteSource:
    """A call of a table function.

    Attributes:
        function: The table function.
        arguments: Its arguments as written.
    """

    function: str
    arguments: tuple[str, ...]

    @property
    def name(self) -> str:
        """The source without keys and passwords: the function, and what it reads."""
        first = _STRING.fullmatch(self.arguments[0])
        if first:
            return f"{self.function}('{_without_secrets(first[1])}')"
        telling = [one.strip() for one in self.arguments[1:] if (key := _NAMED.match(one)) and key[1] in _TELLING]
        return f"{self.function}({', '.join([self.arguments[0].strip(), *telling])})"

    @property
    def path(self) -> str:
        """The SQL expression of a picture's path in the table."""
        prefix = _PREFIXES.get(self.function, "")
        first = _STRING.fullmatch(self.arguments[0])
        if self.function.startswith("url") and first:
            prefix = (re.match(r"https?://[^/]*", _without_secrets(first[1])) or [""])[0]
        return f"concat({literal(prefix)}, _path)" if prefix else "_path"

    @property
    def listing(self) -> str:
        """The table function without the contents of the files."""
        return self._call("One")

    @property
    def contents(self) -> str:
        """The table function with the content of each file, as the column ``raw_blob``."""
        return self._call("RawBLOB")

    def _call(self, output: str) -> str:
        positional = not _NAMED.match(self.arguments[-1])
        named = _STRING.fullmatch(self.arguments[0]) is None
        last = f"format = '{output}'" if named or not positional else f"'{output}'"
        return f"{self.function}({', '.join(one.strip() for one in (*self.arguments, last))})"


def remote_source(given: str) -> RemoteSource | None:
    """The source if ``given`` is an address or a call of a table function; None if it is a path.

    Raises:
        UsageProblem: It begins like one but cannot be parsed.
    """
    if address := _ADDRESS.match(given):
        scheme = address[1].lower()
        if scheme.startswith("http") and "*" in given:
            raise UsageProblem(
                f"{printable(_without_secrets(given))}: an http server cannot list its files; write"
                " s3('https://…/**') for an object store, or number them: https://…/{1..100}.jpg"
            )
        function = {"s3": "s3", "gs": "gcs", "gcs": "gcs"}.get(scheme, "url")
        return RemoteSource(function, (literal(given),))
    call = _CALL.fullmatch(given)
    if call is None:
        return None
    arguments = tuple(_arguments(call[2]))
    if not arguments:
        raise UsageProblem(f"{call[1]}(): the table function needs an argument, the files to read")
    if any(_FORMATS.fullmatch(one) for one in arguments[1:]):
        raise UsageProblem(f"{call[1]}(…): omit the format; the content of each file is read as it is")
    return RemoteSource(call[1], arguments)


def _arguments(text: str) -> Iterator[str]:
    """The arguments of a call, split at the commas outside of strings and parentheses."""
    depth = start = 0
    for token in re.finditer(r"'(?:[^'\\]|\\.|'')*'|[(),]", text, re.DOTALL):
        depth += {"(": 1, ")": -1}.get(token[0], 0)
        if token[0] == "," and depth == 0:
            yield text[start : token.start()]
            start = token.end()
    if text[start:].strip():
        yield text[start:]


def _without_secrets(address: str) -> str:
    """An address without user, password and query."""
    return re.sub(r"\?[^/]*=.*", "", re.sub(r"(\w+://)[^/@]*@", r"\1", address), flags=re.DOTALL)
