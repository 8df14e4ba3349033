"""Checks before anything changes: host, rights, names, schema, and the model of the table's vectors."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from clip_installer.clickhouse.sql import identifier, literal
from clip_installer.install.checks.findings import Finding, note, ok, problem
from clip_installer.planning.sizing import spoken
from clip_installer.tables.deploy import granted

if TYPE_CHECKING:
    from clip_installer.clickhouse.database import Database
    from clip_installer.install.files.wanted import Installation
    from clip_installer.install.plan.plan import Plan
    from clip_installer.tables.deploy import ObjectStep, Schema

_HEADROOM = 16 << 20
_RIGHTS = {
    "reload the functions": "SYSTEM RELOAD FUNCTION",
    "see what the server has loaded": "SELECT ON system.user_defined_functions",
}
_SCHEMA_RIGHTS = {
    "create the table": "CREATE TABLE",
    "create the views": "CREATE VIEW",
    "replace views, and undo": "DROP VIEW",
    "label the table": "ALTER MODIFY COMMENT",
    "read the table": "SELECT",
}


def check_host(plan: Plan) -> Iterator[Finding]:
    """Whether the plan's files can be written and started where they go."""
    scripts = _existing(plan.config.on_disk(plan.config.user_scripts_path))
    flags = os.statvfs(scripts).f_flag
    if flags & os.ST_RDONLY:
        yield problem(
            "scripts",
            f"{scripts} is on a file system that is mounted read-only",
            f"remount it, or give ClickHouse another <user_scripts_path>: findmnt --target {scripts}",
        )
    elif not os.access(scripts, os.W_OK | os.X_OK):
        yield problem(
            "scripts",
            f"this user may not write to {scripts}",
            "run install-udfs as root, or as the owner of that directory",
        )
    if flags & os.ST_NOEXEC and not plan.config.is_staged:
        yield problem(
            "scripts",
            f"{scripts} is on a file system that is mounted noexec, so ClickHouse could start nothing there",
            f"give ClickHouse a <user_scripts_path> on another file system, or remount: mount -o remount,exec"
            f" $(findmnt -no TARGET --target {scripts})",
        )
    needed: dict[Path, int] = {}
    for step in plan.steps:
        if step.changes and step.wanted is not None:
            place = _existing(plan.config.on_disk(step.path))
            needed[place] = needed.get(place, 0) + step.wanted.size
    by_device: dict[int, tuple[Path, int]] = {}
    for place, size in needed.items():
        device = place.stat().st_dev
        first, so_far = by_device.get(device, (place, 0))
        by_device[device] = first, so_far + size
    for place, size in by_device.values():
        free = shutil.disk_usage(place).free
        if free < size + _HEADROOM:
            yield problem(
                "space",
                f"{place} has {spoken(free)} free, and the files take {spoken(size)}",
                "make room there, or give ClickHouse a <user_scripts_path> on a larger disk",
            )
        elif size > _HEADROOM:
            yield ok("space", f"{spoken(size)} of {spoken(free)} free below {place}")


def check_rights(database: Database, schema: Schema | None) -> Iterator[Finding]:
    """Whether the user of ``database`` may do what the install does."""
    user = str(database.value("SELECT currentUser()"))
    if str(database.value("SELECT value FROM system.settings WHERE name = 'readonly'")) != "0":
        yield problem(
            "rights",
            f"the user {user} is read-only, so nothing can be created or reloaded",
            "connect as a user whose profile has readonly = 0",
        )
        return
    where = identifier(_database_of(database, schema)) if schema else ""
    wanted = {**_RIGHTS, **{why: f"{right} ON {where}.*" for why, right in (_SCHEMA_RIGHTS if schema else {}).items()}}
    missing = [(why, right) for why, right in wanted.items() if not granted(database, right)]
    for why, right in missing:
        yield problem("rights", f"the user {user} may not {why}", f"GRANT {right} TO {user}")
    if not missing:
        yield ok(
            "rights", f"{user} may reload functions" + (f" and create tables and views in {where}" if schema else "")
        )


def check_names(database: Database, installation: Installation) -> Iterator[Finding]:
    """Whether an SQL function already has the name of one of ours."""
    names = ", ".join(literal(name) for name in installation.sql_names)
    query = f"SELECT name FROM system.functions WHERE name IN ({names}) AND origin = 'SQLUserDefined'"
    for (name,) in database.rows(query):
        yield problem(
            str(name), "the server has an SQL function of this name", f"use --suffix NAME, or DROP FUNCTION {name}"
        )


def check_cluster(database: Database, cluster: str) -> Finding:
    """Whether the server has the cluster that the schema is for."""
    known = [str(row[0]) for row in database.rows("SELECT DISTINCT cluster FROM system.clusters ORDER BY cluster")]
    if cluster in known:
        return ok("cluster", f"the server knows {cluster}")
    there = ", ".join(known) or "none"
    return problem("cluster", f"the server has no cluster {cluster}", f"--cluster can be: {there}")


def check_objects(steps: Sequence[ObjectStep]) -> Iterator[Finding]:
    """Whether an existing table or view is in the way, or a view cannot be created."""
    for step in steps:
        what, _, way_out = step.reason.partition("; ")
        if step.action == "refused":
            yield problem(step.made.plain_name, what, way_out)
    yield from left_out(steps)


def left_out(steps: Sequence[ObjectStep]) -> Iterator[Finding]:
    """Which monitoring views are omitted, one finding for each reason."""
    reasons: dict[str, list[str]] = {}
    for step in steps:
        if step.action == "left out":
            reasons.setdefault(step.reason, []).append(step.made.plain_name)
    for reason, names in reasons.items():
        yield note("monitoring", f"without {' and '.join(names)}: {reason}")


def _database_of(database: Database, schema: Schema) -> str:
    return schema.parameters.table.rpartition(".")[0] or str(database.value("SELECT currentDatabase()"))


def _existing(path: Path) -> Path:
    return next(one for one in (path, *path.parents) if one.exists())
