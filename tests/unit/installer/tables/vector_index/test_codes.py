"""Quantized codes: what a copy is defined as, and what is refused before anything is copied."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from clip_installer.clickhouse.database import Database
from clip_installer.errors import ConflictError, TableUnfit, UsageProblem
from clip_installer.tables.schema import SchemaParameters
from clip_installer.tables.vector_index.codes import advice_on_codes, build_codes, code_bytes, with_codec
from clip_installer.tables.vector_index.kinds import refuse_options

COLUMNS = ["image_embedding", "text_embedding"]
DEFINITION = """CREATE TABLE default.laion
(
    `id` Int64,
    `image_embedding` Array(Float32) COMMENT 'a, (b)' CODEC(NONE),
    `text_embedding` Array(Float32){codec},
    INDEX image_index image_embedding TYPE vector_similarity('hnsw', 'cosineDistance', 8) GRANULARITY 100000000,
    INDEX caption_index lowerUTF8(ifNull(caption, '')) TYPE text(tokenizer = 'asciiCJK') GRANULARITY 100000000,
    INDEX text_index text_embedding TYPE vector_similarity('hnsw', 'cosineDistance', 8) GRANULARITY 100000000,
    CONSTRAINT `image_embedding takes vectors of 8 numbers` CHECK length(image_embedding) = 8
)
ENGINE = MergeTree
ORDER BY id"""
WANTED = """CREATE TABLE copy
(
    `id` Int64,
    `image_embedding` Array(Float32) COMMENT 'a, (b)' CODEC(Quantized('rabitq', 8)),
    `text_embedding` Array(Float32) CODEC(Quantized('rabitq', 8)),
    INDEX caption_index lowerUTF8(ifNull(caption, '')) TYPE text(tokenizer = 'asciiCJK') GRANULARITY 100000000,
    CONSTRAINT `image_embedding takes vectors of 8 numbers` CHECK length(image_embedding) = 8
)
ENGINE = MergeTree
ORDER BY id"""


class Server(Database):
    """A server with one table, which is asked a few things; nothing may be done to it."""

    def __init__(
        self,
        *,
        settings: Sequence[str] = (),
        engine: str = "MergeTree ORDER BY id",
        free: int = 1 << 40,
        policy: str = "",
    ):
        self.settings = settings
        self.policy = policy
        self.engine = engine
        self.free = free
        self.codec = ""
        self.uses_codes = 0
        self.done: list[str] = []

    def rows(self, statement: str, *_: object) -> list[Sequence[Any]]:
        if "FROM system.settings WHERE" in statement:
            return [(self.uses_codes,)] if self.settings else []
        answers: dict[str, list[Sequence[Any]]] = {
            "system.settings": [(name,) for name in self.settings],
            "compression_codec": [("image_embedding", self.codec), ("text_embedding", self.codec)],
            "version()": [("26.3.1",)],
            "EXISTS": [(0,)],
            "engine_full": [(self.engine,)],
            "bytes_on_disk": [(1 << 30,)],
            "free_space": [(self.free,)],
            "sum(rows)": [(1000,)],
            "system.row_policies": [(self.policy,)] if self.policy else [],
        }
        return next((rows for part, rows in answers.items() if part in statement), [])

    def command(self, statement: str, **_: object) -> None:
        self.done.append(statement)


NEW = ("vector_search_use_quantized_codes", "enable_quantized_codec")


def build(server: Server, method: str = "rabitq", *, rebuild: bool = False) -> bool:
    return build_codes(server, SchemaParameters(dimension=8), method, rebuild, lambda *_: None)


@pytest.mark.parametrize("codec", ["", " CODEC(NONE)", " CODEC(Quantized('turboquant', 8, 0))"])
def test_a_copy_has_the_codec_and_every_index_but_those_of_vectors(codec: str) -> None:
    assert with_codec(DEFINITION.format(codec=codec), COLUMNS, "Quantized('rabitq', 8)", "copy") == WANTED


def test_a_table_without_the_column_is_named() -> None:
    with pytest.raises(TableUnfit, match=r"the table copy has no column v of type Array\(Float32\)"):
        with_codec(DEFINITION.format(codec=""), ["v"], "NONE", "copy")


def test_an_older_server_is_refused_in_one_line() -> None:
    with pytest.raises(TableUnfit, match=r"^ClickHouse 26.3.1 has no quantized codes, .* use --kind hnsw$"):
        build(Server(settings=["max_threads"]))


def test_a_server_that_calls_the_switch_otherwise_is_served() -> None:
    server = Server(settings=["vector_search_use_quantized_codes", "allow_experimental_codecs"])
    server.codec = "CODEC(Quantized('rabitq', 8, 0))"
    assert build(server) is False


def test_codes_of_another_method_stay_unless_asked() -> None:
    server = Server(settings=NEW)
    server.codec = "CODEC(Quantized('turboquant', 8, 0))"
    with pytest.raises(ConflictError, match=r"image_embedding as Quantized\('turboquant', 8\), not as Quantized\('rab"):
        build(server)


@pytest.mark.parametrize(
    ("server", "reason"),
    [
        (Server(settings=NEW, engine="Distributed('c', 'd', 't')"), "Distributed.* which build-index cannot copy"),
        (Server(settings=NEW, engine="ReplicatedMergeTree('/a/b', '{replica}') ORDER BY id"), "cannot copy"),
        (Server(settings=NEW, free=1 << 20), r"a copy needs 1\.1 GiB where 0\.0 GiB are free"),
        (Server(settings=NEW, policy="tenants ON default.laion"), "row policy tenants ON default.laion may hide rows"),
    ],
    ids=["distributed", "replicated", "full disk", "row policy"],
)
def test_a_table_that_cannot_be_copied_is_left_alone(server: Server, reason: str) -> None:
    with pytest.raises(TableUnfit, match=reason):
        build(server)
    assert server.done == []


def test_who_does_not_search_by_codes_is_told_how() -> None:
    server = Server(settings=NEW)
    parameters = SchemaParameters(dimension=8)
    assert advice_on_codes(server, parameters) == [], "there are no codes"
    server.codec = "CODEC(Quantized('rabitq', 8, 0))"
    (said,) = advice_on_codes(server, parameters)
    assert said.endswith(
        "CREATE SETTINGS PROFILE quantized_codes SETTINGS vector_search_use_quantized_codes = 1 TO ALL"
    )
    server.uses_codes = 1
    assert advice_on_codes(server, parameters) == []


def test_options_that_do_not_go_with_a_copy_are_refused() -> None:
    with pytest.raises(UsageProblem, match="run it on each shard, without --cluster"):
        refuse_options("quantized", cluster="c", wait=True)
    with pytest.raises(UsageProblem, match="leave out --no-wait"):
        refuse_options("quantized", cluster=None, wait=False)
    refuse_options("hnsw", cluster="c", wait=False)


@pytest.mark.parametrize(("method", "size"), [("rabitq", 68), ("turboquant", 132)])
def test_the_bytes_of_a_code(method: str, size: int) -> None:
    assert code_bytes(method, 512) == size
