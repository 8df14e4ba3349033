"""Quantized codes on a server: tables get and lose them, and every user finds the same rows with and without them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from clip_installer.clickhouse.address import parse_url
from clip_installer.clickhouse.connection import ConnectionOptions
from clip_installer.clickhouse.database import Database
from clip_installer.errors import ConflictError, TableUnfit
from clip_installer.tables.schema import CODES_PROPOSED, SchemaParameters, objects
from clip_installer.tables.vector_index.kinds import make_kind
from tests.chdb.test_views import FILL, FILTER, NEAREST, ROWS, TARGET
from tests.server.running import RunningServer, ServerPlace

PARAMETERS = SchemaParameters(dimension=64, m=8, ef_construction=32)
KEPT = "SELECT count(), groupBitXor(cityHash64(*)) FROM laion"
SETTING = "<vector_search_use_quantized_codes>1</vector_search_use_quantized_codes>"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> ServerPlace:
    """A server's directories; the setting is in the profile of the user with readonly = 1."""
    made = ServerPlace.make(tmp_path_factory.mktemp("server"))
    users = made.config / "users.xml"
    users.write_text(users.read_text().replace("<readonly><readonly>1<", f"<readonly>{SETTING}<readonly>1<"))
    return made


@pytest.fixture(scope="module")
def database(bare_server: RunningServer) -> Iterator[Database]:
    """The table and its views without a vector index, whose vectors need no model, and one target."""
    with ConnectionOptions(address=parse_url(bare_server.url())).connect() as connected:
        for one in objects(PARAMETERS):
            connected.command(one.statement.sql)
        connected.command(FILL.replace("range(16)", "range(64)"))
        target = "CREATE TABLE target ENGINE = MergeTree ORDER BY () AS SELECT image_embedding FROM laion WHERE id = 7"
        connected.command(target)
        yield connected


def turn(database: Database, kind: str | None, *, rebuild: bool = True) -> tuple[bool, str, list[str]]:
    """Run build-index for the rabitq codes or an HNSW index."""
    changed, now, built = make_kind(
        database, PARAMETERS, kind, method="rabitq", rebuild=rebuild, advance=lambda *_: None, wait=True
    )
    return changed, now, [one.definition.partition(",")[0] for one in built]


def test_a_table_gets_codes_and_an_index_in_turn_and_keeps_its_rows(database: Database) -> None:
    rows = database.rows(KEPT)
    hnsw, codes = ["vector_similarity('hnsw'"] * 2, ["Quantized('rabitq'"] * 2
    assert turn(database, "hnsw") == (True, "hnsw", hnsw)
    with pytest.raises(ConflictError, match=r"image_index as vector_.* not as Quantized\('rabitq', 64\); --rebu"):
        turn(database, "quantized", rebuild=False)
    assert turn(database, "quantized") == (True, "quantized", codes)
    assert turn(database, None, rebuild=False) == (False, "quantized", codes), "without --kind it stays"
    with pytest.raises(ConflictError, match="not with an HNSW index; --rebuild replaces it"):
        turn(database, "hnsw", rebuild=False)
    assert turn(database, "hnsw") == (True, "hnsw", hnsw)
    assert turn(database, "quantized") == (True, "quantized", codes)
    assert turn(database, "none") == (True, "none", [])
    assert turn(database, "none") == (False, "none", [])
    assert database.rows(KEPT) == rows
    assert "another_codec" not in str(database.rows("SHOW TABLES"))


def test_rows_that_arrive_during_the_copy_are_in_it(database: Database) -> None:
    turn(database, "none")

    def insert(*_: Any) -> None:
        database.command("INSERT INTO laion SELECT * REPLACE (-7 AS id) FROM laion WHERE caption = 'row 7'")

    make_kind(database, PARAMETERS, "quantized", method="turboquant", rebuild=True, advance=insert, wait=True)
    assert database.value("SELECT count() FROM laion WHERE id = -7") == 1
    assert "turboquant" in str(database.value("SHOW CREATE TABLE laion"))
    database.command("ALTER TABLE laion DELETE WHERE id = -7", mutations_sync=2)


def test_a_copy_that_loses_rows_changes_nothing(database: Database) -> None:
    """Rows that are deleted meanwhile would come back, or be lost: the table stays as it was."""
    turn(database, "quantized")
    before = database.value("SHOW CREATE TABLE laion")
    database.command("CREATE TABLE spare ENGINE = MergeTree ORDER BY id AS SELECT * FROM laion WHERE id < 10")

    class Late(Database):
        """Deletes rows as soon as they have been counted."""

        def __init__(self) -> None:
            """It has no connection of its own."""

        def rows(self, statement: str, *_: Any) -> list[Sequence[Any]]:
            found = database.rows(statement)
            if statement == "SELECT count() FROM laion":
                database.command("DELETE FROM laion WHERE id < 10")
            return found

        def command(self, statement: str, **settings: Any) -> None:
            database.command(statement, **settings)

    with pytest.raises(TableUnfit, match=r"2990 of 3000 rows of laion were copied"):
        turn(Late(), "none")
    assert database.value("SHOW CREATE TABLE laion") == before
    assert "another_codec" not in str(database.rows("SHOW TABLES"))
    database.command("INSERT INTO laion SELECT * FROM spare")


@pytest.mark.parametrize("user", ["admin", "readonly"])
def test_the_filtered_views_know_whether_there_are_codes(
    database: Database, bare_server: RunningServer, user: str
) -> None:
    """Codes are compared after the filter, so that fewer proposals hold the nearest rows that pass."""
    view = str(database.value("SHOW CREATE VIEW search_filtered_by_embedding"))
    (proposals,) = re.findall(r"SELECT if\(count\(\) > 0, \d+, 1000\)\s+FROM system.columns\s+WHERE [^\n]*'\)", view)
    for kind, most in (("quantized", CODES_PROPOSED), ("none", 1000)):
        turn(database, kind)
        assert bare_server.http(user).value(proposals) == most


@pytest.mark.parametrize("user", ["admin", "readonly"])
def test_with_and_without_the_setting_the_views_find_the_nearest(
    database: Database, bare_server: RunningServer, user: str
) -> None:
    """A profile gives the setting to a user with readonly = 1, in views as well; the administrator is without it."""
    turn(database, "quantized")
    client = bare_server.http(user)
    search = f"SELECT id FROM laion ORDER BY cosineDistance(image_embedding, {TARGET}) LIMIT 5"
    by_codes = "quantized shortlist" in str(client.rows(f"EXPLAIN {search}"))
    assert by_codes == (user == "readonly")
    found = client.rows(f"SELECT id, distance FROM search_by_embedding(embedding = {TARGET}, k = 20)")
    nearest = client.rows(NEAREST.format("", 20))
    exact = dict(client.rows(f"SELECT id, cosineDistance(image_embedding, {TARGET}) FROM laion"))
    assert [distance for _, distance in found] == sorted(exact[identity] for identity, _ in found)
    # Random vectors are all about equally far away, and the codes of 64 numbers are coarse.
    assert len({identity for identity, _ in found} & {identity for (identity,) in nearest}) >= (10 if by_codes else 20)
    filtered = f"search_filtered_by_embedding(embedding = {TARGET}, k = {{}}, nsfw = ['NSFW'], {FILTER})"
    right = client.rows(NEAREST.format("WHERE NSFW = 'NSFW'", 20))
    assert client.rows(f"SELECT id FROM {filtered.format(20)}") == right, "codes are compared after the filter"
    assert client.value(f"SELECT count() FROM {filtered.format(900)}") == ROWS // 100
    everything = f"search_by_embedding(embedding = {TARGET}, k = {ROWS})"
    assert client.value(f"SELECT count() FROM {everything}") == ROWS
