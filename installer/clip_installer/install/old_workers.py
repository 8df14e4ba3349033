"""Old workers stay until no query can start one: only then is their launcher removed."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from clip_installer.clickhouse.database import Database
from clip_installer.clickhouse.sql import literal
from clip_installer.install.proposal import Proposal
from clip_installer.server.config import ServerConfig

Say = Callable[[str], None]
# Without a reload command, a server reads its definitions every 5 seconds.
_POLL_SECONDS = 12
_DRAIN_SECONDS = 60


def wait_for_old_workers(proposal: Proposal, database: Database | None, say: Say) -> None:
    """Wait until no query can start an old launcher; they are removed after this."""
    before, config = proposal.settled.before, proposal.plan.config
    if before is None or before.revision == proposal.installation.placement.revision or proposal.settled.staged:
        return
    if database is not None:
        wait_for_queries(database, before.functions, say)
    elif server_runs(config):
        say(f"waiting {_POLL_SECONDS} s: a running server reads its definitions every 5 s")
        time.sleep(_POLL_SECONDS)


def wait_for_queries(database: Database, functions: Sequence[str], say: Say) -> None:
    """Wait, for a minute at most, until the running queries, which may still start old workers, have ended.

    A query keeps its initial pool, and starts another of its workers when all are busy.
    """
    names = " OR ".join(f"position(query, {literal(name)}) > 0" for name in functions)
    running = f"SELECT query_id FROM system.processes WHERE ({names}) AND query_id != queryID() AND is_initial_query"
    waited_for = {row[0] for row in database.rows(running)}
    deadline = time.monotonic() + _DRAIN_SECONDS
    while waited_for and time.monotonic() < deadline:
        say(f"waiting for {len(waited_for)} queries that use the old workers")
        time.sleep(0.2)
        waited_for &= {row[0] for row in database.rows(running)}


def server_runs(config: ServerConfig) -> bool:
    """Whether a server runs on the data of this configuration, by the process id in its ``status`` file."""
    try:
        found = re.search(r"^PID: (\d+)", (config.on_disk(config.path) / "status").read_text(), re.MULTILINE)
    except OSError:
        return False
    return found is not None and Path(f"/proc/{found[1]}").exists()
