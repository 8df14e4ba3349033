"""The search views under every user setting, profile and right that could change results, and with masked rows."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from clip_installer.tables.schema import SchemaParameters, index_statements, objects
from tests.chdb.conftest import make_tree
from tests.chdb.driver import Engine, QueryFailed

ROWS = 3000
TARGET = "(SELECT image_embedding FROM target)"
NEAREST = f"SELECT id FROM laion {{}} ORDER BY cosineDistance(image_embedding, {TARGET}), id LIMIT {{}}"
FILTER = "licenses = [], min_width = 0, min_height = 0"
FILL = f"""
INSERT INTO laion
SELECT
    number AS id, 'http://example.com/' || toString(number), 'row ' || toString(number),
    if(number % 100 = 0, 'NSFW', 'UNLIKELY'), 0.3, number % 1000, 500, '?',
    arrayMap(x -> x / L2Norm(v), v) AS image_embedding, arrayReverse(image_embedding)
FROM (SELECT number, arrayMap(i -> randNormal(0, 1, i + number), range(16)) AS v FROM numbers({ROWS}))
"""


@pytest.fixture(scope="module")
def laion(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A table with both indexes and the views, whose vectors need no model, and one target."""
    engine = make_tree(tmp_path_factory.mktemp("views")).engine()
    parameters = SchemaParameters(dimension=16, m=8, ef_construction=64)
    for one in objects(parameters):
        engine.rows(one.statement.sql)
    engine.rows(FILL)
    for statement in index_statements(parameters):
        engine.rows(f"{statement.sql} SETTINGS mutations_sync = 2" if "MATERIALIZE" in statement.sql else statement.sql)
    engine.rows("CREATE TABLE target ENGINE = Memory AS SELECT image_embedding FROM laion WHERE id = 7")
    yield engine
    assert engine.close() == 0


def found(engine: Engine, k: int, client: int = 0, nsfw: str | None = None) -> list[int]:
    """Ids that the plain view, or the filtered one, gives to ``client`` for the target."""
    view = f"search_by_embedding(embedding = {TARGET}, k = {k})"
    if nsfw is not None:
        filtered = f"k = {k}, nsfw = {nsfw}, {FILTER}"
        view = f"search_filtered_by_embedding(embedding = {TARGET}, {filtered})"
    return [int(identity) for (identity,) in engine.rows(f"SELECT id FROM {view}", client)]


def exact(engine: Engine, k: int, where: str = "") -> list[int]:
    """The true neighbours of the target, by brute force."""
    return [int(identity) for (identity,) in engine.rows(NEAREST.format(where, k))]


SETTINGS = [
    "readonly = 1",
    "readonly = 2",
    "hnsw_candidate_list_size_for_search = 1",
    "use_skip_indexes = 0",
    "vector_search_filter_strategy = 'prefilter'",
    "vector_search_index_fetch_multiplier = 1",
    "vector_search_use_quantized_codes = 1",
    "vector_search_with_rescoring = 1",
    "max_limit_for_vector_search_queries = 2",
    "max_threads = 1",
    "optimize_move_to_prewhere = 0",
    "query_plan_optimize_lazy_materialization = 0",
]


@pytest.mark.parametrize("client", range(1, len(SETTINGS) + 1), ids=SETTINGS)
def test_no_setting_of_the_user_changes_an_answer(laion: Engine, client: int) -> None:
    laion.rows(f"SET {SETTINGS[client - 1]}", client)
    assert found(laion, 20, client) == exact(laion, 20)
    assert found(laion, 20, client, nsfw="['NSFW']") == exact(laion, 20, "WHERE NSFW = 'NSFW'")
    assert len(found(laion, 1500, client)) == 1500


def test_rows_that_were_deleted_lightly_hide_no_other(laion: Engine) -> None:
    laion.rows("CREATE OR REPLACE TABLE kept ENGINE = MergeTree ORDER BY id AS SELECT * FROM laion")
    laion.rows(f"DELETE FROM laion WHERE id IN (SELECT id FROM ({NEAREST.format('', 1000)}))")
    assert found(laion, 10) == exact(laion, 10)
    assert found(laion, 10, nsfw="['NSFW']") == exact(laion, 10, "WHERE NSFW = 'NSFW'")
    laion.rows("INSERT INTO laion SELECT * FROM kept WHERE id NOT IN (SELECT id FROM laion)")


def test_the_index_proposes_and_few_granules_are_read(laion: Engine) -> None:
    plan = "\n".join(
        line
        for (line,) in laion.rows(f"EXPLAIN indexes = 1 SELECT * FROM search_by_embedding(embedding = {TARGET}, k = 1)")
    )
    assert "id in 4-element set" in plan.replace("(id in ", "id in ")


@pytest.mark.parametrize("vector", ["arrayWithConstant(16, 0)", "arrayWithConstant(16, nan)"])
def test_a_vector_without_a_direction_is_refused(laion: Engine, vector: str) -> None:
    with pytest.raises(QueryFailed, match="takes no vector of zeros and no NaN"):
        laion.rows(f"INSERT INTO laion (id, image_embedding, text_embedding) SELECT 1, {vector}, {vector}")


def test_an_updated_vector_is_found_where_it_is_now(laion: Engine) -> None:
    """A mutation builds the index of a part again, also if it replaces or removes vectors."""
    turned = "UPDATE image_embedding = arrayMap(x -> -x, image_embedding) WHERE id = 7"
    assert found(laion, 10)[0] == 7
    laion.rows(f"ALTER TABLE laion {turned} SETTINGS mutations_sync = 2")
    assert 7 not in found(laion, 10) and found(laion, 10) == exact(laion, 10)
    laion.rows(f"ALTER TABLE laion {turned} SETTINGS mutations_sync = 2")
    assert found(laion, 10)[0] == 7
    laion.rows("CREATE OR REPLACE TABLE kept ENGINE = MergeTree ORDER BY id AS SELECT * FROM laion WHERE id = 7")
    laion.rows("ALTER TABLE laion DELETE WHERE id = 7 SETTINGS mutations_sync = 2")
    assert found(laion, 10) == exact(laion, 10)
    laion.rows("INSERT INTO laion SELECT * FROM kept")
