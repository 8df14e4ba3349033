"""The templates of ``sql/templates``: plain SQL with jinja2 parameters, rendered into readable statements.

In these templates, a statement begins with a comment line that states its purpose, and its semicolon ends a line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from clip_installer import resources
from clip_installer.errors import UsageProblem

if TYPE_CHECKING:
    from jinja2 import Environment

_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_END_OF_STATEMENT = re.compile(r";[ \t]*(?:\n|\Z)")


@dataclass(frozen=True)
class Statement:
    """One rendered statement.

    Attributes:
        file: The template that it was rendered from, an argument of ``render``.
        purpose: The first comment line above it: what the statement is for.
        sql: Its text, comments included, without a final semicolon.
    """

    file: str
    purpose: str
    sql: str

    @property
    def name(self) -> str:
        """File and purpose, for a plan or a message."""
        return f"{self.file}: {self.purpose}"


def render(file: str, values: Mapping[str, Any]) -> list[Statement]:
    """Render the template ``file``, ``schema/table`` for example, and split it into its statements.

    Every value that becomes a name or a literal passes through :func:`identifier` or :func:`literal`.

    Raises:
        jinja2.UndefinedError: The template uses a value that was not passed.
    """
    text = _environment().get_template(f"{file}.sql.j2").render(values)
    parts = (part.strip() for part in _END_OF_STATEMENT.split(text))
    return [Statement(file, part.splitlines()[0].removeprefix("--").strip(), part) for part in parts if part]


def identifier(name: str) -> str:
    """Quote ``name`` as ClickHouse reads it: ``table`` or ``database.table``, in backticks only where needed.

    Raises:
        UsageProblem: A part of the name is empty, or contains a line break.
    """
    parts = name.split(".", 1)
    if not all(parts) or len(name.splitlines()) > 1:
        raise UsageProblem(f"{name!r} is not a table name; expected table or database.table")
    return ".".join(part if _PLAIN_NAME.fullmatch(part) else _quoted(part, "`") for part in parts)


def is_table(name: str, column: str = "table") -> str:
    """The condition that a row of a ``system`` table refers to the table ``name``; ``column`` has its name."""
    database, _, table = name.rpartition(".")
    where = literal(database) if database else "currentDatabase()"
    return f"database = {where} AND {column} = {literal(table)}"


def literal(text: str) -> str:
    """``text`` as a ClickHouse string literal."""
    return _quoted(text, "'")


def _quoted(text: str, quote: str) -> str:
    return quote + text.replace("\\", "\\\\").replace(quote, "\\" + quote) + quote


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    # autoescape is for HTML; SQL has its own two filters.
    environment = Environment(
        loader=FileSystemLoader(resources.sql() / "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )
    environment.filters.update(identifier=identifier, literal=literal)
    return environment
