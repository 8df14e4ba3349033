"""Table, indexes, views and recipes on an installed model: the index answers, distances are exact, no row is lost."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from clip_installer import resources
from clip_installer.commands.trial.sql import split_statements
from clip_installer.tables.schema import SchemaParameters, index_statements, statements
from clip_installer.tables.views import VIEWS
from clip_udfs.functions import FUNCTIONS
from tests import documents
from tests.chdb.conftest import ServerTree
from tests.chdb.driver import Engine, QueryFailed
from tests.messages import PAGE
from tests.models.pictures import corpus

ROWS = 4000
COLUMNS = ["id", "url", "caption", "NSFW", "similarity", "width", "height", "LICENSE", "distance", "relevance"]
FILL = f"""
INSERT INTO laion
SELECT
    1000 + number, 'http://example.com/' || toString(number), 'filler ' || toString(number),
    if(number % 100 = 0, 'NSFW', 'UNLIKELY'), 0.3, number % 1000, 500, if(number % 400 = 0, 'CC-BY', '?'),
    arrayMap(x -> x / L2Norm(v), v) AS image_embedding, arrayReverse(image_embedding)
FROM (SELECT number, arrayMap(i -> randNormal(0, 1, i + number), range(512)) AS v FROM numbers({ROWS}))
"""


@pytest.fixture(scope="module")
def laion(tree: ServerTree, engine: Engine) -> Iterator[Engine]:
    """The table with twenty pictures that the functions encoded, many other rows, both indexes and all views."""
    for name, content in list(corpus().items())[:20]:
        (tree.pictures / name).write_bytes(content)
    parameters = SchemaParameters(m=32, ef_construction=256, image_roots=(str(tree.pictures),))
    for statement in statements(parameters):
        engine.rows(statement.sql)
    engine.rows(
        "INSERT INTO laion (id, url, caption, image_embedding, text_embedding)"
        " SELECT rowNumberInAllBlocks(), _file, 'picture ' || _file, encode_image(_file),"
        " encode_text('picture ' || _file)"
        f" FROM file('{tree.pictures}/*', One)"
    )
    engine.rows(FILL)
    engine.rows("OPTIMIZE TABLE laion FINAL")
    for statement in index_statements(parameters):
        engine.rows(f"{statement.sql} SETTINGS mutations_sync = 2, alter_sync = 2")
    yield engine


def _searches_by_index(engine: Engine) -> int:
    """How often a vector index was searched since the engine started."""
    return int(engine.value("SELECT sum(value) FROM system.events WHERE event = 'USearchSearchCount'"))


def _uses_index(engine: Engine, query: str) -> bool:
    return any("vector_similarity" in line for (line,) in engine.rows(f"EXPLAIN indexes = 1 {query}"))


@pytest.mark.parametrize(
    ("view", "column", "target"),
    [
        ("search_by_text(query = 'a cat', k = 7)", "image_embedding", "encode_text('a cat')"),
        ("search_by_image(path = 'rgb-96x72.png', k = 7)", "image_embedding", "encode_image('rgb-96x72.png')"),
        ("search_by_embedding(embedding = encode_text('x'), k = 7)", "image_embedding", "encode_text('x')"),
        ("search_captions_by_text(query = 'a cat', k = 7)", "text_embedding", "encode_text('a cat')"),
    ],
)
def test_a_view_answers_from_the_index_with_exact_distances(laion: Engine, view: str, column: str, target: str) -> None:
    before = _searches_by_index(laion)
    found = laion.rows(f"SELECT id, distance FROM {view}")
    assert _searches_by_index(laion) > before
    exact = laion.rows(
        f"WITH {target} AS q SELECT id, cosineDistance({column}, q) AS d FROM laion ORDER BY d LIMIT 7"
        " SETTINGS use_skip_indexes = 0"
    )
    distances = dict(
        laion.rows(
            f"WITH {target} AS q SELECT id, cosineDistance({column}, q) FROM laion"
            f" WHERE id IN {tuple(identity for identity, _ in found)}"
        )
    )
    assert np.allclose([distance for _, distance in found], sorted(distances.values()), atol=1e-6)
    # Random vectors are all about equally far away: the graph misses one or two of them.
    assert len({identity for identity, _ in found} & {identity for identity, _ in exact}) >= 5


def test_every_function_and_view_is_in_clip_help_and_its_example_runs(laion: Engine, tree: ServerTree) -> None:
    photo = tree.pictures / "photo.jpg"
    photo.write_bytes(corpus()["l-96x72.png"])
    entries = laion.rows("SELECT kind, name, example FROM clip_help")
    assert {name for kind, name, _ in entries if kind == "function"} == set(FUNCTIONS)
    assert {name for kind, name, _ in entries if kind == "view"} == {view.name for view in VIEWS}
    for _, name, example in entries:
        assert name in example
        if name.startswith("try_"):
            continue  # as the one without, and each would start a worker
        laion.rows(example.replace("file('photo.jpg'", f"file('{photo}'"))  # chDB has no user_files


def test_a_views_comment_begins_with_its_parameters(laion: Engine) -> None:
    ours = "engine = 'View' AND database = currentDatabase()"
    described = dict(laion.rows(f"SELECT name, comment FROM system.tables WHERE {ours}"))
    assert described["search_by_text"].startswith("search_by_text(query String, k UInt32): images that match a text")
    declared = laion.rows("SELECT name, parameters FROM clip_help WHERE kind = 'view'")
    assert declared
    for name, parameters in declared:
        assert described[name].startswith(f"{name}({parameters}): ")


def test_the_image_roots_are_listed_without_their_content(laion: Engine, tree: ServerTree) -> None:
    assert laion.rows("SELECT position, root FROM clip_image_roots") == [(1, str(tree.pictures))]


def test_a_picture_finds_itself_first(laion: Engine) -> None:
    ((url, distance),) = laion.rows("SELECT url, distance FROM search_by_image(path = 'l-96x72.png', k = 1)")
    assert url == "l-96x72.png"
    assert abs(distance) < 1e-5


def test_a_view_encodes_its_constant_once(laion: Engine) -> None:
    calls = "SELECT sum(value) FROM system.events WHERE event = 'ExecutableUserDefinedFunctionInvocations'"
    before = int(laion.value(calls))
    laion.rows("SELECT * FROM search_hybrid(query = 'a text that no other test has', k = 3)")
    assert int(laion.value(calls)) == before + 1


def test_a_text_reaches_the_model_byte_for_byte_through_a_view(laion: Engine) -> None:
    awkward = "it\\'s \\\\ a\\ttab and \\n \N{CAT FACE}"
    assert laion.rows(f"SELECT id, distance FROM search_by_text(query = '{awkward}', k = 3)") == laion.rows(
        f"SELECT id, distance FROM search_by_embedding(embedding = encode_text('{awkward}'), k = 3)"
    )


def test_the_views_work_from_another_database(laion: Engine) -> None:
    views = ("search_by_text(query = 'x', k = 3)", "search_captions_by_embedding(embedding = encode_text('x'), k = 3)")
    here = [laion.rows(f"SELECT id, distance FROM {view}") for view in views]
    laion.rows("CREATE DATABASE IF NOT EXISTS elsewhere")
    laion.rows("USE elsewhere")
    there = [laion.rows(f"SELECT id, distance FROM default.{view}") for view in views]
    laion.rows("USE default")
    assert here == there


def test_the_views_columns(laion: Engine) -> None:
    laion.rows("CREATE OR REPLACE TABLE described ENGINE = Memory AS SELECT * FROM search_by_text(query = '', k = 1)")
    assert [name for (name,) in laion.rows("SELECT name FROM system.columns WHERE table = 'described'")] == COLUMNS


@pytest.mark.parametrize("k", [1, 10, 300, 1500])
def test_as_many_rows_as_asked_for(laion: Engine, k: int) -> None:
    assert laion.value(f"SELECT uniqExact(id) FROM search_by_text(query = 'a cat', k = {k})") == k


def test_a_filter_loses_no_row(laion: Engine) -> None:
    """One row in a hundred, or in four hundred, passes: the index would propose others."""
    nsfw = "search_filtered_by_text(query = 'x', k = 30, nsfw = ['NSFW'], licenses = [], min_width = 0, min_height = 0)"
    assert laion.rows(f"SELECT uniqExact(id), any(NSFW), uniqExact(NSFW) FROM {nsfw}") == [(30, "NSFW", 1)]
    exact = laion.rows(
        "WITH encode_text('x') AS q SELECT id FROM laion WHERE NSFW = 'NSFW'"
        " ORDER BY cosineDistance(image_embedding, q) LIMIT 30 SETTINGS use_skip_indexes = 0"
    )
    assert laion.rows(f"SELECT id FROM {nsfw}") == exact
    licensed = nsfw.replace("['NSFW']", "[]").replace("licenses = []", "licenses = ['CC-BY', 'CC0']")
    assert laion.value(f"SELECT count() FROM {licensed}") == ROWS // 400
    wide = nsfw.replace("['NSFW']", "[]").replace("min_width = 0", "min_width = 998")
    assert laion.rows(f"SELECT count(), min(width) FROM {wide}") == [(2 * ROWS // 1000, 998)]


def _habits() -> list[list[str]]:
    """Both queries of each row of the analyst's table: the one that misses the index, and its replacement."""
    page = (documents.REPOSITORY / "docs/analyst.md").read_text(encoding="utf-8")
    table = page.split("\n| reads every vector | uses the index |\n")[1].split("\n\n")[0]
    rows = [re.findall("`([^`]+)`", line) for line in table.splitlines()[1:]]
    return [
        [query if query.startswith("WITH") else f"WITH encode_text('cat') AS q {query}" for query in row]
        for row in rows
    ]


def test_queries_that_miss_the_index_and_their_replacements(laion: Engine) -> None:
    laion.rows("CREATE OR REPLACE TABLE labels ENGINE = Memory AS SELECT id, 'a label' AS label FROM laion")
    habits = _habits()
    assert len(habits) > 10
    for habit, instead in habits:
        assert not _uses_index(laion, habit), habit
        assert _uses_index(laion, instead), instead
        laion.rows(instead)


def test_the_guides_own_queries(laion: Engine) -> None:
    target = laion.value("SELECT toString(encode_text('a dog and a cat'))")
    laion.rows(f"SET param_target = '{target}'")
    brute = "SELECT url, caption FROM laion ORDER BY cosineDistance(image_embedding, {target:Array(Float32)}) LIMIT 10"
    text = """SELECT url
FROM laion
ORDER BY cosineDistance(text_embedding, encode_text('a dog and a cat')) ASC
LIMIT 10"""
    for query in (brute, text):
        assert len(laion.rows(query)) == 10
        assert _uses_index(laion, query)
    assert not _uses_index(laion, f"{brute} SETTINGS use_skip_indexes = 0")
    assert (
        len(laion.rows("SELECT url FROM laion ORDER BY L2Distance(image_embedding, encode_text('cat')) LIMIT 10")) == 10
    )


@pytest.mark.parametrize("vector", ["[]", "[1, 2, 3]", "emptyArrayFloat32()"])
def test_a_row_without_a_whole_vector_is_refused_in_a_line_that_says_so(laion: Engine, vector: str) -> None:
    with pytest.raises(QueryFailed, match="text_embedding takes vectors of 512 numbers"):
        laion.rows(f"INSERT INTO laion (id, image_embedding, text_embedding) SELECT 9, encode_text(''), {vector}")


@pytest.mark.parametrize("nothing", ["NULL", "(SELECT 'a cat' WHERE 0)"])
def test_null_is_not_searched_as_an_empty_text(laion: Engine, nothing: str) -> None:
    for view in ("search_by_text", "search_captions_by_text", "search_relevant_by_text"):
        more = ", min_relevance = 0" if "relevant" in view else ""
        with pytest.raises(QueryFailed, match="query is missing or NULL"):
            laion.rows(f"SELECT * FROM {view}(query = {nothing}, k = 3{more})")


@pytest.mark.parametrize(
    "view",
    [
        "search_by_text(k = 3)",
        "search_by_text(qeury = 'a cat', k = 3)",
        "search_by_image(k = 3)",
        "search_by_image_bytes(path = 'photo.jpg', k = 3)",
    ],
)
def test_a_parameter_that_is_missing_or_misspelt_is_named_with_a_call_that_works(laion: Engine, view: str) -> None:
    name = view.partition("(")[0]
    with pytest.raises(QueryFailed, match=rf"(query|path|content) is missing or NULL: .*, as in {name}\("):
        laion.rows(f"SELECT * FROM {view}")


def test_a_pictures_content_finds_what_its_path_finds(laion: Engine, tree: ServerTree) -> None:
    content = (tree.pictures / "l-96x72.png").read_bytes()
    escaped = "".join(f"\\x{byte:02x}" for byte in content)
    assert laion.rows(f"SELECT id, distance FROM search_by_image_bytes(content = '{escaped}', k = 3)") == laion.rows(
        "SELECT id, distance FROM search_by_image(path = 'l-96x72.png', k = 3)"
    )


def _wrong_calls() -> list[tuple[str, str]]:
    """What docs/messages.md says is typed, and what ClickHouse is to say to it."""
    text = PAGE.read_text(encoding="utf-8").split("\n## From ClickHouse, when a call is wrong\n")[1]
    rows = re.findall(r"^\| `([^|]+)` \| (`+)(.+?)\2 \| ", text.split("\n## ")[0], re.MULTILINE)
    return [(typed, said.strip()) for typed, _, said in rows]


def test_clickhouse_says_what_the_page_says_to_wrong_calls(laion: Engine) -> None:
    calls = _wrong_calls()
    assert len(calls) > 10
    for typed, said in calls:
        with pytest.raises(QueryFailed) as refused:
            laion.rows(typed)
        assert said in str(refused.value), typed


def test_each_of_many_texts_gets_its_best_pictures(laion: Engine) -> None:
    (rows,) = _recipe(laion, "many_texts")
    for text in ("a dog", "a sailing ship", "a slice of pizza"):
        exact = laion.rows(f"SELECT url FROM search_by_text(query = '{text}', k = 3)")
        assert [(url,) for query, url, *_ in rows if query == text] == exact


def _recipe(engine: Engine, name: str) -> list[list[tuple[object, ...]]]:
    """Run a recipe unchanged and return the rows of each query. It must use the index, or say that it does not."""
    text = (resources.sql() / "recipes" / f"{name}.sql").read_text(encoding="utf-8")
    before = _searches_by_index(engine)
    answers = [(statement, engine.rows(statement)) for statement in split_statements(text)]
    searches = re.search(r"cosineDistance\(|FROM (search|label)_", text)
    assert not searches or _searches_by_index(engine) > before or "every vector" in text, name
    return [rows for statement, rows in answers if statement.startswith(("SELECT", "WITH"))]


def test_zero_shot_labels_are_the_nearest_ones(laion: Engine) -> None:
    (rows,) = _recipe(laion, "zero_shot_classification")
    assert len(rows) == 10
    for url, label, probability in rows:
        labels = "['an animal', 'a flower', 'food', 'a vehicle', 'a face']"
        nearest = laion.value(
            f"SELECT l FROM (SELECT arrayJoin({labels}) AS l, encode_text(l) AS e) AS a CROSS JOIN"
            f" (SELECT image_embedding AS i FROM laion WHERE url = '{url}') AS b ORDER BY cosineDistance(i, e) LIMIT 1"
        )
        assert label == nearest
        assert 0.2 <= probability <= 1


def test_near_duplicates_are_found(laion: Engine) -> None:
    (pairs,) = _recipe(laion, "near_duplicates")
    close = laion.rows(
        "SELECT a.url, b.url FROM laion AS a CROSS JOIN laion AS b WHERE a.id < b.id AND b.id < 1000"
        " AND cosineDistance(a.image_embedding, b.image_embedding) < 0.001"
    )
    assert close
    assert {tuple(pair[:2]) for pair in pairs} >= set(close[:20]) or len(pairs) == 20
    assert all(0 <= distance < 0.02 for *_, distance in pairs)


def test_nearest_captions_and_outliers(laion: Engine) -> None:
    (captions,) = _recipe(laion, "nearest_captions")
    assert len(captions) == 5
    far, misfits = _recipe(laion, "outliers")
    assert len(far) == len(misfits) == 5
    furthest = laion.value("SELECT max(cosineDistance(image_embedding, text_embedding)) FROM laion")
    assert misfits[0][2] == pytest.approx(furthest, abs=0.001)


def test_a_caption_that_has_all_the_words_is_found_first(laion: Engine) -> None:
    """Whatever the vectors are: the words of a code are in only one caption."""
    laion.rows(
        "INSERT INTO laion SELECT * REPLACE (id + 500 AS id, caption || ' KX-2041 北京' AS caption)"
        " FROM (SELECT * FROM laion WHERE id = 3)"
    )
    for query in ("kx-2041", "the KX-2041", "北京"):
        top = laion.rows(f"SELECT id FROM search_hybrid(query = '{query}', k = 2)")
        assert (503,) in [(int(identity),) for (identity,) in top]
    (rows,) = _recipe(laion, "hybrid_search")
    assert len(rows) == 10


def test_a_combined_query_is_the_sum_of_its_parts(laion: Engine) -> None:
    algebra, but_red = _recipe(laion, "query_algebra")
    assert len(but_red) == 5
    exact = laion.rows(
        "WITH (SELECT arrayMap((a, b, c) -> 2 * a + 0.5 * b - 0.5 * c, encode_text('a dog'), image_embedding,"
        " encode_text('fruit')) FROM laion ORDER BY id LIMIT 1) AS q"
        " SELECT url, round(cosineDistance(image_embedding, q), 3) AS d FROM laion ORDER BY d LIMIT 5"
    )
    assert np.allclose([row[2] for row in algebra], [distance for _, distance in exact], atol=0.002)
    (alike,) = _recipe(laion, "like_these")
    assert len(alike) == 10


def test_an_average_of_prompts_is_the_mean_of_their_vectors(laion: Engine) -> None:
    (averaged,) = _recipe(laion, "prompt_average")
    prompts = ("dog", "a dog", "a photo of a dog", "a picture of a dog", "the face of a dog")
    added = " + ".join(f"encode_text('{prompt}')[i]" for prompt in prompts)
    mean = f"(SELECT arrayMap(i -> ({added}) / {len(prompts)}, range(1, 513)))"
    found = laion.rows(f"SELECT url FROM search_by_embedding(embedding = {mean}, k = 5)")
    assert [(url,) for url, *_ in averaged] == found


def test_pages_follow_each_other_and_what_was_seen_is_left_out(laion: Engine) -> None:
    page, unseen = _recipe(laion, "paging")
    everything = laion.rows("SELECT id, url, caption FROM search_by_text(query = 'a face', k = 100)")
    assert page == everything[20:30]
    assert unseen == [row for row in everything if int(row[0]) not in (0, 1, 2)][:10]


def test_each_category_has_its_best(laion: Engine) -> None:
    near, exact = _recipe(laion, "top_per_category")
    for category, places in ((row[0], [one[1] for one in exact if one[0] == row[0]]) for row in exact):
        assert len(places) == 3
        assert places == [
            url
            for (url,) in laion.rows(
                "WITH encode_text('a ship') AS q SELECT url FROM laion"
                f" WHERE LICENSE = '{category}' ORDER BY cosineDistance(image_embedding, q), id LIMIT 3"
            )
        ]
    assert {row[0] for row in near} <= {row[0] for row in exact}


def test_every_picture_is_in_one_cluster_and_clusters_have_names(laion: Engine) -> None:
    (clusters,) = _recipe(laion, "clusters")
    assert sum(int(pictures) for _, pictures in clusters) == laion.value("SELECT count() FROM laion")
    assert all(name for name, _ in clusters)


def test_each_picture_gets_two_tags_as_it_comes_in(laion: Engine) -> None:
    (tags,) = _recipe(laion, "tagging_view")
    assert sum(int(pictures) for _, pictures, _ in tags) == 2 * 40


def test_a_text_that_repeats_is_encoded_once(laion: Engine) -> None:
    sent = "SELECT sum(value) FROM system.events WHERE event = 'ExecutableUserDefinedFunctionInputBytes'"
    before = int(laion.value(sent))
    ((counted,),) = _recipe(laion, "encode_once")
    assert tuple(map(int, counted)) == (400, 4)
    assert int(laion.value(sent)) - before < 100


def test_what_is_counted_is_what_is_relevant(laion: Engine) -> None:
    counted, doubtful = _recipe(laion, "how_many")
    assert counted[0][0] == laion.value(
        "SELECT countIf(relevance >= 0.5) FROM search_by_text(query = 'a dog', k = 1000000)"
    )
    assert all(relevance >= 0.3 for *_, relevance in doubtful)


def test_the_materialized_column_encodes_what_comes_in(laion: Engine) -> None:
    (notes,) = _recipe(laion, "materialized_column")
    expected = laion.rows(
        "WITH encode_text('cat') AS q SELECT n, round(cosineDistance(encode_text(n), q), 3) AS d"
        " FROM (SELECT arrayJoin(['a cat', 'a red car', 'two kittens', 'a bowl of rice']) AS n) ORDER BY d, n"
    )
    assert np.allclose([distance for _, distance in notes], [distance for _, distance in expected], atol=0.002)
    assert laion.value("SELECT count() FROM system.tables WHERE name = 'recipe_notes'") == 0


def test_the_incremental_view_leaves_out_what_cannot_be_read(laion: Engine) -> None:
    assert _recipe(laion, "incremental_view") == [[(10,)]]
    assert laion.value("SELECT count() FROM system.tables WHERE name LIKE 'recipe_%'") == 0


def test_the_column_of_an_own_table_follows_its_photos(laion: Engine) -> None:
    """Of the first row, and of the new one, whose photo was changed to the same image."""
    (nearest,) = _recipe(laion, "own_table")
    assert len(nearest) == 3 and [distance for _, distance in nearest[:2]] == [0, 0]


def test_a_large_own_table_is_searched_while_it_is_encoded(laion: Engine) -> None:
    """The row without an image is named with the reason, and left out of the search."""
    nearest, refused = _recipe(laion, "large_own_table")
    assert nearest == [(0, 0)]
    assert [number for number, _ in refused] == [20] and "no such file" in refused[0][1]


def test_every_recipe_is_run_here() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    for recipe in (resources.sql() / "recipes").iterdir():
        assert f'"{recipe.stem}"' in source
