"""Checks of an installed model through ClickHouse: what the server loaded, and what each function returns."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
# Conditions on a result: right for a golden image, and empty for an image that does not exist.
_EXPECTED: dict[Answer, str] = {"thumbnail": "startsWith({call}, 'RIFF')", "info": "({call}).format = 'PNG'"}
_EMPTY: dict[Answer, str] = {
    "vector": "empty({call})",
    "thumbnail": "empty({call})",
    "info": "({call}).reason LIKE '%no such file%'",
}
_EMPTY_IN_WORDS: dict[Answer, str] = {"vector": "[]", "thumbnail": "''", "info": "the reason"}
# A version that changed something, and what that means for these functions.
_STATUS_TABLE = (26, 2)
_INDEX_GA = (25, 8)
_SHORT_POOL_WAIT = (26, 8)


def reload_functions(database: Database) -> None:
    """Make the server read its function definitions and start fresh workers immediately.

    Raises:
        SqlError: The user may not do that.
    """
    try:
        database.command("SYSTEM RELOAD FUNCTIONS")
    except SqlError as error:
        raise SqlError(
            f"SYSTEM RELOAD FUNCTIONS: {error.reason}",
            error.number,
            error.name,
            "connect as a user with the grant SYSTEM RELOAD FUNCTION",
        ) from error


def check_server(database: Database) -> Iterator[Finding]:
    """The server's version and what it implies."""
    text = database.value("SELECT version()")
    version = _version(str(text))
    yield ok("server", f"ClickHouse {text}")
    if version < _INDEX_GA:
        yield note("server", "before 25.8 vector_similarity indexes are experimental and need a setting")
    if version < _STATUS_TABLE:
        yield note("server", "before 26.2 there is no system.user_defined_functions; the calls below are the check")
    if version < _SHORT_POOL_WAIT:
        yield note("server", "before 26.8 a query waits for a free worker ten times as long as configured")


def check_definitions(database: Database, expected: Mapping[str, Mapping[str, str]]) -> Iterator[Finding]:
    """Whether the server loaded each function with what its definition says, ``expected``."""
    version = str(database.value("SELECT version()"))
    if _version(version) < _STATUS_TABLE:
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


def check_calls(
    database: Database, settings: WorkerSettings, golden: Golden, *, deep: bool, root: Path | None = None
) -> Iterator[Finding]:
    """Call the functions and compare the results with the model's own vectors.

    Nothing is written to ``system.query_log`` if the user may change that setting, and no call fails on purpose. The
    settings of the user's profile apply, as they would to an analyst's query.

    Args:
        database: The server.
        settings: The workers' settings.
        golden: The model's own vectors.
        deep: Also read an image by its path, from a file placed below ``root`` for the call.
        root: The first image directory on this machine; None if it is out of reach.
    """
    quiet = {} if _is_read_only(database) else {"log_queries": 0}
    for function in FUNCTIONS.values():
        name = function.sql_name(settings.suffix)
        try:
            if function.tower is None and (deep or not function.strict or function.source != "path"):
                yield _call_without_model(database, function, name, golden, quiet)
            elif function.source != "path":
                yield _call(database, function, name, golden, settings, quiet)
            elif deep and function.tower is not None:
                yield _call_by_path(database, name, golden, settings, root, quiet)
            elif not function.strict and function.tower is not None:
                yield _call_for_absent(database, name, quiet)
        except SqlError as error:
            yield problem(name, _reason(error), "the worker says why; install-udfs --verify repeats this check")


def _call(
    database: Database,
    function: Function,
    name: str,
    golden: Golden,
    settings: WorkerSettings,
    quiet: Mapping[str, Any],
) -> Finding:
    if function.source == "text":
        samples = golden.texts
        values = ", ".join(literal(sample.value.decode()) for sample in samples)
    else:
        samples = golden.pictures
        values = ", ".join(f"base64Decode('{base64.b64encode(sample.value).decode()}')" for sample in samples)
    rows = database.rows(f"SELECT {name}(value) FROM (SELECT arrayJoin([{values}]) AS value)", settings=quiet)
    wrong = deviation([row[0] for row in rows], samples, normalized=settings.normalize)
    if wrong:
        return problem(
            name,
            f"answers {wrong}",
            "is a second server, an older worker, or a setting of the user's profile at work?",
        )
    dimension = len(samples[0].vector)
    return ok(name, f"returns the model's own vectors for {len(samples)} golden values, {dimension} numbers each")


def _call_without_model(
    database: Database, function: Function, name: str, golden: Golden, quiet: Mapping[str, Any]
) -> Finding:
    if function.source != "path":
        picture = f"base64Decode('{base64.b64encode(golden.pictures[0].value).decode()}')"
        condition = _EXPECTED[function.answer].format(call=_call_of(function, name, picture))
        if database.rows(f"SELECT {condition}", settings=quiet)[0][0]:
            return ok(name, f"returns the {function.return_name} of a golden image")
        return problem(
            name,
            "returns something else for a golden image",
            "an older worker may be answering: SYSTEM RELOAD FUNCTIONS starts new ones",
        )
    call = _call_of(function, name, literal(_ABSENT))
    try:
        answered = database.rows(f"SELECT {_EMPTY[function.answer].format(call=call)}", settings=quiet)[0][0]
    except SqlError as error:
        if function.strict and _ABSENT in str(error):
            return ok(name, "loads, and refuses a missing image by its name")
        raise
    if function.strict or not answered:
        return problem(name, "returns a result for an image that does not exist", "look at --image-root")
    return ok(name, f"loads, and returns {_EMPTY_IN_WORDS[function.answer]} for a missing image")


def _call_of(function: Function, name: str, argument: str) -> str:
    return f"{name}({argument}, 64)" if function.takes_size else f"{name}({argument})"


def _call_by_path(
    database: Database,
    name: str,
    golden: Golden,
    settings: WorkerSettings,
    root: Path | None,
    quiet: Mapping[str, Any],
) -> Finding:
    sample = golden.pictures[0]
    if root is None:
        return note(name, "no image was read by its path: its directory is not on this machine")
    path = root / f".clip-udfs-verify-{os.getpid()}-{name}.png"
    try:
        path.write_bytes(sample.value)
        path.chmod(0o644)
        rows = database.rows(f"SELECT {name}({literal(path.name)})", settings=quiet)
    except OSError as error:
        return note(name, f"no image was read by its path: {root}: {error.strerror}")
    finally:
        with suppress(OSError):
            path.unlink()
    wrong = deviation([row[0] for row in rows], [sample], normalized=settings.normalize)
    if wrong:
        return problem(name, f"answers {wrong}", f"can the server's user read files below {root}? see --image-root")
    return ok(name, f"returns the model's own vector for an image read by its path below {root}")


def _call_for_absent(database: Database, name: str, quiet: Mapping[str, Any]) -> Finding:
    if list(database.rows(f"SELECT {name}({literal(_ABSENT)})", settings=quiet)[0][0]):
        return problem(name, "returns a result for an image that does not exist", "look at --image-root")
    return ok(name, "loads, and returns [] for a missing image; --deep reads a real one")


def _is_read_only(database: Database) -> bool:
    return str(database.value("SELECT value FROM system.settings WHERE name = 'readonly'")) == "1"


def _reason(error: SqlError) -> str:
    # ClickHouse wraps the worker's line in several of its own.
    return str(error).rpartition("Executable generates stderr: ")[2]


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:2])
