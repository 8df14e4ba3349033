"""check-model on a table that the installed model filled, then on one that it did not."""

from __future__ import annotations

from clip_installer.tables.schema import SchemaParameters, table_statements
from tests.chdb import commands
from tests.chdb.conftest import ServerTree
from tests.models.pictures import corpus

CHANGES = (
    ("", 0, "same", "laion: same model (cosine 1.0000)"),
    (
        "ALTER TABLE laion UPDATE image_embedding = arrayMap(x -> 9 * x, image_embedding),"
        " text_embedding = arrayMap(x -> 9 * x, text_embedding) WHERE 1 SETTINGS mutations_sync = 2",
        0,
        "not_normalised",
        "laion: same model (cosine 1.0000), but not normalised alike",
    ),
    (
        "ALTER TABLE laion UPDATE text_embedding = arrayMap(i -> randNormal(0, 1, i), range(512)) WHERE 1"
        " SETTINGS mutations_sync = 2",
        1,
        "different",
        "laion: not the same model (captions: cosine ",
    ),
)


def test_the_three_cases_are_told_apart(tree: ServerTree) -> None:
    for name, content in list(corpus().items())[:12]:
        (tree.pictures / name).write_bytes(content)
    engine = tree.engine()
    for statement in table_statements(SchemaParameters()):
        engine.rows(statement.sql)
    engine.rows(
        "INSERT INTO laion (id, url, caption, image_embedding, text_embedding)"
        " SELECT rowNumberInAllBlocks(), _file, 'picture ' || _file, encode_image(_file),"
        " encode_text('picture ' || _file)"
        f" FROM file('{tree.pictures}/*', One)"
    )
    engine.rows("INSERT INTO laion SELECT * REPLACE ('https://example.com/a.png' AS url, NULL AS caption) FROM laion")
    engine.close()
    for change, status, code, line in CHANGES:
        if change:
            commands.succeed("sql", "--embedded", "--server-config", tree.config, "-q", change)
        said = commands.run("check-model", "--embedded", "--server-config", tree.config)
        assert said.status == status, said.error
        assert said.output.startswith(line)
        answer = commands.run("check-model", "--embedded", "--server-config", tree.config, "--json").answer
        assert answer["code"] == code
        assert [(seen["kind"], seen["compared"]) for seen in answer["comparisons"]] == [
            ("captions", 12),
            ("images", 12),
        ]
