"""Recall of ``search_hybrid`` compared with its two halves, on the demo: ``python -m benchmarks.search.hybrid demo``.

Works on a copy of the demo's table in a separate database, with an invented product code and a place added to each
caption, as in a shop. Queries with a code need the words, queries with a kind and a place need both, the others need
the images.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import click

from benchmarks.search.relevance import QUERIES
from clip_installer.clickhouse.connection import ConnectionOptions
from clip_installer.clickhouse.database import Database
from clip_installer.tables.schema import SchemaParameters, objects

_K = 5
_DATABASE = "hybrid_benchmark"
_PLACES = ("Lisbon", "Oslo", "Kyoto", "Quito", "Tartu", "上海", "成都", "Nairobi")
_CODE = "upper(substring(hex(cityHash64(id)), 1, 2)), '-', toString(1000 + cityHash64(id, 1) % 9000)"
_CAPTION = f"concat(caption, ' ', {_CODE}, ' ', {list(_PLACES)}[1 + cityHash64(id, 2) % {len(_PLACES)}])"
# Kinds that no caption names, and what the captions say instead.
_KINDS = {
    "水果": "apple|banana|cherries|grapes|kiwi|lemon|mango|melon|peach|pear|pineapple|strawberry|tangerine|lime",
    "乐器": "guitar|violin|banjo|trumpet|saxophone|drum|accordion|piano|keyboard|flute|maracas|harp|trombone",
    "a vehicle": "car|bus|truck|automobile|taxi|ambulance|engine|tractor|van|minibus|trolleybus|bicycle|scooter",
    "a bird": "bird|eagle|duck|swan|owl|parrot|peacock|penguin|rooster|turkey|dove|flamingo|goose|chick|dodo",
    "动物": "cat|dog|lion|tiger|horse|cow|pig|mouse|rabbit|bear|panda|koala|fox|wolf|sheep|goat|elephant|monkey",
}
_WORDS_ONLY = """
WITH (SELECT tokens(lowerUTF8({{query:String}}), 'asciiCJK')) AS words
SELECT caption FROM {database}.laion
WHERE hasAnyTokens(lowerUTF8(ifNull(caption, '')), words, 'asciiCJK')
ORDER BY length(arrayIntersect(tokens(lowerUTF8(ifNull(caption, '')), 'asciiCJK'), words)) DESC, id
LIMIT 5
"""


def fill(database: Database) -> None:
    """The table with its codes and places, and its views."""
    database.command(f"DROP DATABASE IF EXISTS {_DATABASE}")
    database.command(f"CREATE DATABASE {_DATABASE}")
    for one in objects(SchemaParameters(table=f"{_DATABASE}.laion")):
        database.command(one.statement.sql)
    database.command(f"INSERT INTO {_DATABASE}.laion SELECT * REPLACE ({_CAPTION} AS caption) FROM laion")


def named(database: Database) -> list[tuple[str, str]]:
    """Queries with a code, a thing and its code, or a kind and a place, with what the right caption matches."""
    rows = database.rows(
        f"SELECT caption, extract(caption, '[0-9A-F]{{2}}-[0-9]+') FROM {_DATABASE}.laion"
        " WHERE match(caption, '^[a-z]+ [0-9A-F]+-') ORDER BY cityHash64(id, 'q') LIMIT 20"
    )
    coded = [
        (code if n % 2 else f"{caption.split(' ')[0]} {code.lower()}", f"^{re.escape(caption)}$")
        for n, (caption, code) in enumerate(rows)
    ]
    placed = [
        (f"{kind} {place}", rf"\b({things})\b.*{place}$") for kind, things in _KINDS.items() for place in _PLACES[:4]
    ]
    return coded + placed


def recall(database: Database, statement: str, queries: list[tuple[str, str]]) -> float:
    """Share of the queries whose right caption is in the top five."""
    hits = [
        any(re.search(answer, caption, re.I) for (caption,) in database.rows(statement, {"query": query}))
        for query, answer in queries
    ]
    return sum(hits) / len(hits)


@click.command()
@click.argument("demo", type=click.Path(exists=True, file_okay=False, path_type=Path))
def main(demo: Path) -> None:
    """Compare on the demonstration in DEMO."""
    plain = [(query, answer) for query, answer in json.loads(QUERIES.read_text("utf-8"))["choosing"] if answer]
    view = f"SELECT caption FROM {_DATABASE}.{{}}(query = {{{{query:String}}}}, k = {_K})"
    forms = {
        "pictures (search_by_text)": view.format("search_by_text"),
        "words": _WORDS_ONLY.format(database=_DATABASE),
        "search_hybrid": view.format("search_hybrid"),
    }
    with ConnectionOptions(server_config=demo / "etc" / "clickhouse-server").connect() as database:
        fill(database)
        codes = named(database)
        sys.stdout.write(f"| recall@{_K} | {len(codes)} with codes and places | {len(plain)} others |\n|---|---|---|\n")
        for name, statement in forms.items():
            found = [recall(database, statement, queries) for queries in (codes, plain)]
            sys.stdout.write(f"| {name} | {found[0]:.2f} | {found[1]:.2f} |\n")
        database.command(f"DROP DATABASE {_DATABASE}")


if __name__ == "__main__":
    main()
