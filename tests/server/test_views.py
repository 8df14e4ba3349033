"""The search views on a server: users with readonly 0, 1 and 2, over both protocols, under a row policy or not."""

from __future__ import annotations

import pytest

from clip_installer.tables.schema import SchemaParameters, index_statements, objects
from tests.chdb.test_views import FILL, FILTER, NEAREST, ROWS, TARGET
from tests.server.running import RunningServer, ServerPlace

POLICY = "<databases><default><laion><filter>id % 50 = 0</filter></laion></default></databases>"
SEEN = {"admin": ROWS, "readonly": ROWS // 50, "dashboard": ROWS // 50}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> ServerPlace:
    """A server's directories; both users with a readonly profile see one row of the table in fifty."""
    made = ServerPlace.make(tmp_path_factory.mktemp("server"))
    users = made.config / "users.xml"
    text = users.read_text()
    for user in ("readonly", "dashboard"):
        text = text.replace(
            f"<profile>{user}</profile><quota>default</quota>\n        </{user}>",
            f"<profile>{user}</profile><quota>default</quota>{POLICY}\n        </{user}>",
        )
    users.write_text(text)
    return made


@pytest.fixture(scope="module")
def laion(bare_server: RunningServer) -> RunningServer:
    """A table with both indexes and the views, whose vectors need no model, and one target."""
    admin = bare_server.http()
    parameters = SchemaParameters(dimension=16, m=8, ef_construction=64)
    for one in objects(parameters):
        admin.rows(one.statement.sql)
    admin.rows(FILL)
    for statement in index_statements(parameters):
        admin.rows(statement.sql, mutations_sync=2)
    admin.rows("CREATE TABLE target ENGINE = MergeTree ORDER BY () AS SELECT image_embedding FROM laion WHERE id = 7")
    return bare_server


@pytest.mark.parametrize("user", SEEN)
@pytest.mark.parametrize("protocol", ["http", "native"])
def test_a_user_finds_the_nearest_of_the_rows_that_it_sees(laion: RunningServer, user: str, protocol: str) -> None:
    """The index proposes rows that a policy then hides; a full scan shows the right ones."""
    client = getattr(laion, protocol)(user)
    assert client.value("SELECT count() FROM laion") == SEEN[user]
    view = f"search_by_embedding(embedding = {TARGET}, k = 20)"
    assert client.rows(f"SELECT id FROM {view}") == client.rows(NEAREST.format("", 20))
    filtered = f"embedding = {TARGET}, k = 20, nsfw = ['NSFW'], {FILTER}"
    assert client.rows(f"SELECT id FROM search_filtered_by_embedding({filtered})") == client.rows(
        NEAREST.format("WHERE NSFW = 'NSFW'", 20)
    )
    everything = f"search_by_embedding(embedding = {TARGET}, k = {ROWS})"
    assert client.value(f"SELECT count() FROM {everything}") == SEEN[user]
