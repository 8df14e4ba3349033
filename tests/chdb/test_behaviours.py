"""The behaviours of the Docker tests on chDB, as far as that has what they need."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from clip_installer.tables.schema import SchemaParameters, index_statements, statements
from tests import behaviours
from tests.chdb.conftest import ServerTree, make_tree
from tests.chdb.driver import Engine
from tests.models.pictures import corpus
from tests.processes import children, kill

pytestmark = pytest.mark.dockerless


class Embedded:
    """A server tree with the built-in model, and the engine that runs on it now."""

    def __init__(self, tree: ServerTree) -> None:
        self.tree = tree
        self.engine = tree.engine()

    def rows(self, statement: str) -> list[tuple[object, ...]]:
        return self.engine.rows(statement)

    def install(self, *arguments: str) -> None:
        self.tree.install(*arguments)
        self.engine.rows("SYSTEM RELOAD FUNCTIONS")

    def uninstall(self) -> None:
        self.install("--uninstall")

    def kill_workers(self) -> None:
        kill(children(self.engine.process.pid))

    def restart(self) -> Engine:
        assert self.engine.close() == 0
        self.engine = self.tree.engine()
        return self.engine


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    tree = make_tree(tmp_path_factory.mktemp("server"))
    pictures = tree.data / "user_files/pictures"
    pictures.mkdir()
    for name in ("rgb-96x72.png", "l-96x72.png", "rgba-96x72.png"):
        (pictures / name).write_bytes(corpus()[name])
    tree.install()
    running = Embedded(tree)
    for statement in statements(SchemaParameters()):
        running.rows(statement.sql)
    yield running
    assert running.engine.close() == 0


def test_encoding(server: Embedded) -> None:
    behaviours.a_text_is_a_unit_vector(server)
    behaviours.a_missing_picture_is_one_line_and_harms_nothing(server)


def test_searching(server: Embedded) -> None:
    behaviours.texts_are_found_by_what_they_say(server)
    behaviours.pictures_are_encoded_where_they_are(server, str(server.tree.data / "user_files/pictures"))


def test_encoding_what_a_table_of_paths_names(server: Embedded) -> None:
    server.rows("CREATE TABLE paths ENGINE = Memory AS SELECT 'l-96x72.png' AS path")
    server.rows(behaviours.ENCODE_PATHS)
    assert server.rows("SELECT url FROM laion WHERE url = 'l-96x72.png'") == [("l-96x72.png",)]


def test_a_killed_worker(server: Embedded) -> None:
    behaviours.a_killed_worker_fails_at_most_one_query(server, server.kill_workers)


def test_upgrade_uninstall_and_restart(server: Embedded) -> None:
    behaviours.an_upgrade_replaces_the_workers_and_an_uninstall_ends_them(server, server.install, server.uninstall)
    behaviours.rows_and_functions_survive_a_restart(server, server.restart)


def test_the_views_on_a_distributed_table(server: Embedded) -> None:
    """Two shards that are both this process: one table answers for each, so every row counts twice."""
    server.rows("DROP TABLE IF EXISTS laion_local")
    server.rows("RENAME TABLE laion TO laion_local")
    for statement in index_statements(SchemaParameters(table="laion_local", m=16, ef_construction=64)):
        server.rows(f"{statement.sql} SETTINGS mutations_sync = 2, alter_sync = 2")
    server.rows("CREATE TABLE laion AS remote('127.0.0.1,127.0.0.1', currentDatabase(), laion_local)")
    stored = behaviours.value(server, "SELECT count() FROM laion_local")
    assert behaviours.value(server, "SELECT count() FROM laion") == 2 * stored
    behaviours.a_distributed_search_is_exact(server)
    searches = "SELECT sum(value) FROM system.events WHERE event = 'USearchSearchCount'"
    before = behaviours.value(server, searches)
    server.rows("SELECT * FROM search_by_text(query = 'cat', k = 3)")
    assert int(behaviours.value(server, searches)) >= int(before) + 2
