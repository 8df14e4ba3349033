"""``clip-udfs sql``: run SQL on a server, or on chDB with a server's configuration."""

from __future__ import annotations

import json
import re
import sys
from typing import IO, TYPE_CHECKING, Any

import click

from clip_installer.clickhouse.connection import ConnectionOptions
from clip_installer.commands.options import connection_options, json_option

if TYPE_CHECKING:
    from clip_installer.clickhouse.database import Database

_ANSWERS = re.compile(r"(?:WITH|SELECT|SHOW|DESC|DESCRIBE|EXPLAIN|EXISTS|CHECK|\()", re.IGNORECASE)
_OWN_FORMAT = re.compile(r"\bFORMAT\s+\w+(?:\s+SETTINGS\b[^;]*)?$", re.IGNORECASE)


_HELP = """\
Run SQL from -q, from FILE, or from standard input, and print each result.

\b
  clip-udfs sql --url http://localhost:8123 -q "SELECT length(encode_text('cat'))"
  echo "SELECT version()" | clip-udfs sql --embedded --server-config /etc/clickhouse-server
"""


@click.command(help=_HELP, short_help="Run SQL on a server, or on chDB.")
@connection_options
@click.option("-q", "--query", help="The SQL to run; statements are separated by ';'.")
@click.option("-f", "--format", "output_format", help="Output format [default: PrettyCompact on a terminal, else TSV].")
@json_option
@click.option("--echo", is_flag=True, help="Print each statement before its result.")
@click.argument("file", type=click.File("r", encoding="utf-8"), required=False)
def sql(
    connection: ConnectionOptions,
    query: str | None,
    output_format: str | None,
    as_json: bool,
    echo: bool,
    file: IO[str] | None,
) -> None:
    """Run SQL from -q, from FILE, or from standard input, and print each result."""
    if query is not None and file is not None:
        raise click.UsageError("give either -q or a file, not both")
    text = query if query is not None else (file or sys.stdin).read()
    statements = split_statements(text)
    if not statements:
        raise click.UsageError("there is no statement to run")
    if as_json:
        if echo or output_format is not None:
            raise click.UsageError("--json has its own format; omit --format and --echo")
        with connection.connect(session=True) as database:
            answers = [_json_answer(database, statement) for statement in statements]
        click.echo(json.dumps({"answers": answers}, ensure_ascii=False))
        return
    chosen = output_format or ("PrettyCompact" if sys.stdout.isatty() else "TabSeparated")
    database = connection.connect(session=True)
    output = sys.stdout.buffer
    for statement in statements:
        if echo:
            output.write(f"\n{statement}\n".encode())
            output.flush()
        own_format = _OWN_FORMAT.search(statement) or not _ANSWERS.match(statement)
        output.write(database.text(statement, None if own_format else chosen))
        output.flush()


def _json_answer(database: Database, statement: str) -> dict[str, Any]:
    """What ``--json`` prints for one statement: its columns and rows, or its text if it has its own FORMAT."""
    if _OWN_FORMAT.search(statement):
        return {"statement": statement, "text": database.text(statement, None).decode(errors="replace")}
    if not _ANSWERS.match(statement):
        database.text(statement, None)
        return {"statement": statement}
    found = json.loads(database.text(statement, "JSONCompact"))
    return {"statement": statement, "columns": found["meta"], "rows": found["data"]}


def split_statements(text: str) -> list[str]:
    """Split SQL at the semicolons that are not inside a literal or a comment; comments and blanks are dropped.

    Returns:
        The statements without their semicolon, in order.
    """
    import sqlparse

    statements = (sqlparse.format(part, strip_comments=True).strip() for part in sqlparse.split(text))
    return [bare for statement in statements if (bare := statement.rstrip(";").strip())]
