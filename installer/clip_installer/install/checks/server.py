"""Checks of an installed model through ClickHouse: what the server loaded, and what each function answers."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from clip_installer.clickhouse.sql import literal
from clip_installer.errors import SqlError
from clip_installer.install.checks.findings import Finding, note, ok, problem
from clip_installer.install.checks.golden import Golden, deviation
from clip_udfs.functions import FUNCTIONS, Answer, Function
from clip_udfs.settings import WorkerSettings

if TYPE_CHECKING:
    from clip_installer.clickhouse.database import Database

COMPARED = (
    "type",
    "command",
    "format",
    "return_type",
    "pool_size",
    "send_chunk_header",
    "execute_direct",
    "lifetime",
    "deterministic",
    "max_command_execution_time",
    "command_read_timeout",
    "command_write_timeout",
    "command_termination_timeout",
)
_ABSENT = "clip-udfs-verify/there-is-no-such-picture"
# Conditions on an answer: right for a golden picture, and empty for a picture that is not there.
_EXPECTED: dict[Answer, str] = {"thumbnail": "startsWith({call}, 'RIFF')", "info": "({call}).format = 'PNG'"}
_EMPTY: dict[Answer, str] = {
    "vector": "empty({call})",
    "thumbnail": "empty({call})",
    "info": "({call}).reason LIKE '%no such file%'",
}
_EMPTY_IN_WORDS: dict[Answer, str] = {"vector": "[]", "thumbnail": "''", "info": "the reason"}
# A version from which something is so, and what that means for these functions.
_STATUS_TABLE = (26, 2)
_INDEX_GA = (25, 8)
_SHORT_POOL_WAIT = (26, 8)


def reload_functions(database: Database) -> None:
    """Make the server read its function definitions and start fresh workers now.

    Raises:
        SqlError: The user may not do that.
    """
    try:
        database.command("SYSTEM RELOAD FUNCTIONS")
    except SqlError as error:
        remedy = "connect as a user with the grant SYSTEM RELOAD FUNCTION"
        raise SqlError(f"SYSTEM RELOAD FUNCTIONS: {error.reason}", error.number, error.name, remedy) from error


def check_server(database: Database) -> Iterator[Finding]:
    """The server's version and what it implies."""
    ((text,),) = database.rows("SELECT version()")
    version = _version(str(text))
    yield ok("server", f"ClickHouse {text}")
    if version < _INDEX_GA:
        yield note("server", "before 25.8 vector_similarity indexes are experimental and need a setting")
    if version < _STATUS_TABLE:
        yield note("server", "before 26.2 there is no system.user_defined_functions; the calls below are the check")
    if version < _SHORT_POOL_WAIT:
        yield note("server", "before 26.8 a query waits for a free worker ten times as long as configured")


def check_definitions(database: Database, expected: Mapping[str, Mapping[str, str]]) -> Iterator[Finding]:
    """What the server loaded for each function; ``expected`` is what its definition says."""
    ((text,),) = database.rows("SELECT version()")
    if _version(str(text)) < _STATUS_TABLE:
        return
    names = ", ".join(literal(name) for name in expected)
    columns = ("load_status", "loading_error_message", *COMPARED)
    rows = database.rows(
        f"SELECT name, {', '.join(f'toString({column})' for column in columns)} FROM"
        f" system.user_defined_functions WHERE name IN ({names})",
    )
    loaded = {row[0]: dict(zip(columns, row[1:], strict=True)) for row in rows}
    for name, definition in expected.items():
        values = loaded.get(name)
        if values is None:
            yield problem(
                name,
                "the server does not know it",
                "is this the server of that configuration? does it read its definitions' directory?",
            )
        elif values["load_status"] != "Success":
            yield problem(name, f"the server could not load it: {values['loading_error_message']}", "see its log")
        else:
            for key in COMPARED:
                value = definition.get(key)
                if values[key] != value:
                    yield problem(
                        name,
                        f"the server has {key} = {values[key]}, the definition says {value}",
                        "run SYSTEM RELOAD FUNCTIONS, or look for a second definition",
                    )


def check_calls(database: Database, settings: WorkerSettings, golden: Golden) -> Iterator[Finding]:
    """Call each function once and compare the answers with the model's own vectors."""
    for function in FUNCTIONS.values():
        name = function.sql_name(settings.suffix)
        try:
            yield _call(database, function, name, golden, settings)
        except SqlError as error:
            yield problem(name, _reason(error), "the worker says why; install-udfs --verify repeats this")


def _call(database: Database, function: Function, name: str, golden: Golden, settings: WorkerSettings) -> Finding:
    if function.source == "path":
        return _call_by_path(database, function, name)
    if function.tower is None:
        return _call_without_model(database, function, name, golden)
    if function.source == "text":
        samples = golden.texts
        values = ", ".join(literal(sample.value.decode()) for sample in samples)
    else:
        samples = golden.pictures
        values = ", ".join(f"base64Decode('{base64.b64encode(sample.value).decode()}')" for sample in samples)
    rows = database.rows(f"SELECT {name}(value) FROM (SELECT arrayJoin([{values}]) AS value)")
    wrong = deviation([row[0] for row in rows], samples, normalized=settings.normalize)
    if wrong:
        return problem(name, f"answers {wrong}", "is a second server, or an older worker, answering?")
    dimension = len(samples[0].vector)
    return ok(name, f"answers the model's own vectors for {len(samples)} golden values, {dimension} numbers each")


def _call_without_model(database: Database, function: Function, name: str, golden: Golden) -> Finding:
    picture = f"base64Decode('{base64.b64encode(golden.pictures[0].value).decode()}')"
    ((right,),) = database.rows(f"SELECT {_EXPECTED[function.answer].format(call=_call_of(function, name, picture))}")
    if not right:
        return problem(name, "answers something else for a golden picture", "is an older worker answering?")
    return ok(name, f"answers the {function.return_name} of a golden picture")


def _call_of(function: Function, name: str, argument: str) -> str:
    return f"{name}({argument}, 64)" if function.takes_size else f"{name}({argument})"


def _call_by_path(database: Database, function: Function, name: str) -> Finding:
    # No picture of the server's is known here, and none is written: that the worker loads and refuses is
    # the check.
    call = _call_of(function, name, literal(_ABSENT))
    if function.strict:
        try:
            database.rows(f"SELECT {call}")
        except SqlError as error:
            if _ABSENT in str(error):
                return ok(name, "loads, and refuses a missing picture by its name")
            raise
        return problem(name, "answers for a picture that does not exist", "look at --image-root")
    ((empty,),) = database.rows(f"SELECT {_EMPTY[function.answer].format(call=call)}")
    if not empty:
        return problem(name, "answers for a picture that does not exist", "look at --image-root")
    return ok(name, f"loads, and answers {_EMPTY_IN_WORDS[function.answer]} for a missing picture")


def _reason(error: SqlError) -> str:
    # ClickHouse wraps the worker's own line into several of its own.
    return error.reason.rpartition("Stderr: ")[2]


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:2])
