"""One run of index-pictures: list, compare, encode, remove; and its outcome."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from clip_installer.clickhouse.sql import identifier
from clip_installer.errors import TableUnfit
from clip_installer.pictures.indexer import LANES, Indexer, now
from clip_installer.pictures.lease import Lease
from clip_installer.pictures.listing import Lister, Listing, Source
from clip_installer.pictures.local import LocalSource
from clip_installer.pictures.remote import RemoteSource
from clip_installer.pictures.searching import make_searchable
from clip_installer.pictures.table import PictureTable, open_table
from clip_installer.progress import Advance
from clip_udfs.errors import printable
from clip_udfs.functions import FUNCTIONS

if TYPE_CHECKING:
    from clip_installer.clickhouse.connection import ConnectionOptions
    from clip_installer.clickhouse.database import Database

_REASONS = 5


@dataclass(frozen=True)
class Wanted:
    """The request of a run.

    Attributes:
        sources: What to list.
        table: The table to fill.
        suffix: Suffix of the model's functions.
        captions: A table with the columns ``path`` and ``caption``; None for none.
        prune: Whether to remove pictures that are gone.
        retry: Whether to try refused pictures again although they have not changed.
    """

    sources: Sequence[Source]
    table: str
    suffix: str = ""
    captions: str | None = None
    prune: bool = False
    retry: bool = False

    @property
    def with_captions(self) -> bool:
        """Whether pictures may have captions."""
        return self.captions is not None or any(isinstance(one, LocalSource) and one.sidecars for one in self.sources)


@dataclass
class Outcome:
    """The outcome of a run.

    Attributes:
        table: The table.
        created: Whether this run created the table.
        listings: What each source contains.
        encoded: Pictures that were encoded.
        refused: Pictures that could not be encoded.
        reasons: The most frequent reasons, with their numbers.
        gone: Pictures in the table that are no longer in its source.
        removed: How many of them were removed.
        listed_seconds: How long listing and comparing took.
        seconds: How long all of it took.
    """

    table: PictureTable
    created: bool
    listings: list[Listing]
    encoded: int = 0
    refused: int = 0
    reasons: list[tuple[str, int]] = field(default_factory=list)
    gone: int = 0
    removed: int = 0
    listed_seconds: float = 0
    seconds: float = 0

    @property
    def files(self) -> int:
        """Number of pictures in the sources."""
        return sum(one.files for one in self.listings)

    @property
    def changed(self) -> bool:
        """Whether the run has changed anything."""
        return bool(self.created or self.encoded or self.refused or self.removed)


def index_pictures(connection: ConnectionOptions, wanted: Wanted, advance: Advance) -> Outcome:
    """Update the table to match the sources.

    Raises:
        ConflictError: Another run is at work, or the table is for another model.
        TableUnfit: The table is a foreign one, or the workers cannot read the listed files.
        SqlError: ClickHouse refused a statement.
    """
    began = time.monotonic()
    with ExitStack() as opened:
        lanes = [opened.enter_context(connection.connect()) for _ in range(LANES)]
        database = lanes[0]
        lease = Lease(wanted.table)
        if connection.is_server:
            lease.take(database)
        table, created = open_table(database, wanted.table, wanted.suffix, captions=wanted.with_captions)
        started = now(database)
        lister = Lister(database, table, wanted.captions, advance)
        _remove_stale(database, table)
        outcome = Outcome(table, created, lister.list(wanted.sources))
        outcome.listed_seconds = time.monotonic() - began
        if wanted.retry:
            database.command(f"TRUNCATE TABLE {identifier(table.refusals)}")

        def cancel() -> None:
            if connection.is_server:
                with connection.connect() as another:
                    lease.end(another)

        indexer = Indexer(lanes, table, {"log_comment": lease.comment}, cancel, advance)
        for group, source in _groups(wanted.sources):
            total = lister.compare(group)
            if total and source is None:
                _probe(database, table)
            if total:
                indexer.run(total, source)
        _remove_stale(database, table)
        _settle_gone(lister, outcome, prune=wanted.prune)
        _count(database, outcome, started)
        lister.drop()
        if outcome.changed:
            make_searchable(database, table, advance)
    outcome.seconds = time.monotonic() - began
    return outcome


def _groups(sources: Sequence[Source]) -> list[tuple[list[Source], RemoteSource | None]]:
    """Sources to encode together: all files, then each source that the server reads."""
    local: list[Source] = [one for one in sources if isinstance(one, LocalSource)]
    remote: list[tuple[list[Source], RemoteSource | None]] = [
        ([one], one) for one in sources if isinstance(one, RemoteSource)
    ]
    return ([(local, None)] if local else []) + remote


def _probe(database: Database, table: PictureTable) -> None:
    """Check that the workers can read what was listed here.

    Raises:
        TableUnfit: They can read none of the first files.
    """
    values, function = table.values(), FUNCTIONS["try_image_info"].sql_name(table.suffix)
    found = database.rows(
        f"SELECT path, {function}(path).reason FROM {values['pending']} WHERE number < 8 ORDER BY number"
    )
    if any("directories that encode_image may read" not in str(reason) for _, reason in found):
        return
    path, reason = (str(one) for one in found[0])
    if "outside" in reason:
        raise TableUnfit(
            f"{printable(path)} is outside the server's image roots: install-udfs --image-root DIR adds a directory"
        )
    raise TableUnfit(
        f"the server does not find {printable(path)}, which this machine has: run index-pictures on the server's host,"
        " or say with --image-root DIR where the server's image root is mounted here"
    )


def _remove_stale(database: Database, table: PictureTable) -> None:
    """Remove rows that a newer row of the same picture replaces."""
    values = table.values()
    doubles = database.value(
        "SELECT count() FROM (SELECT id FROM"
        f" (SELECT id FROM {values['table']} UNION ALL SELECT id FROM {values['refusals']})"
        " GROUP BY id HAVING count() > 1)"
    )
    if doubles:
        for statement in table.statements("pictures/stale"):
            database.command(statement.sql)


def _settle_gone(lister: Lister, outcome: Outcome, *, prune: bool) -> None:
    for listing in outcome.listings:
        listing.gone = lister.count_gone(listing)
        outcome.gone += listing.gone
        if not listing.gone or not prune:
            continue
        source = listing.source
        place = printable(source.given if isinstance(source, LocalSource) else source.name)
        if not listing.files:
            listing.notes.append(
                f"nothing is removed: {place} has no pictures at all, and the table {listing.gone} from there; is it"
                " mounted?"
            )
        elif isinstance(source, LocalSource) and source.unreadable:
            listing.notes.append(
                f"nothing is removed: below {place}, {len(source.unreadable)} directories cannot be read"
            )
        else:
            lister.remove_gone(listing)
            outcome.removed += listing.gone


def _count(database: Database, outcome: Outcome, started: str) -> None:
    values = outcome.table.values()
    where = f"WHERE indexed >= {started}"
    outcome.encoded = int(database.value(f"SELECT count() FROM {values['table']} {where}"))
    found = database.rows(
        "SELECT replaceRegexpAll(reason, '[0-9]+', '…') AS said, count(), any(reason) FROM"
        f" {values['refusals']} {where} GROUP BY said ORDER BY count() DESC, said"
    )
    outcome.refused = sum(int(count) for _, count, _ in found)
    outcome.reasons = [(str(reason if count == 1 else said), int(count)) for said, count, reason in found[:_REASONS]]
