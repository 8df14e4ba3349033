"""Which model's vectors a table has: what is refused before anything changes, and when its COMMENT changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from clip_installer.clickhouse.database import Database
from clip_installer.errors import ConflictError
from clip_installer.tables.guard import check_table, labelled
from clip_installer.tables.label import ModelLabel, label_of_comment
from clip_installer.tables.schema import SchemaParameters

OURS = ModelLabel("ours", 4, "0123456789ab")
THEIRS = ModelLabel("theirs", 4, "ba9876543210")
PARAMETERS = SchemaParameters(comment=OURS.comment, dimension=4)
VECTOR, OTHER = [1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]


@dataclass
class Server(Database):
    """A server with the table ``laion``; remembers what it was told."""

    comment: str
    captions: tuple[str, ...] = ()
    size: int = 0
    dimension: int = 4
    told: list[str] = field(default_factory=list)

    def command(self, statement: str, **_: object) -> None:
        self.told.append(statement)

    def rows(self, statement: str, *_: object, **__: object) -> list[Sequence[object]]:
        if "system.tables" in statement:
            return [(self.comment,)]
        if statement.startswith("SELECT 1 FROM laion"):
            return [(1,)] * min(self.size + len(self.captions), 1)
        if statement.startswith("SELECT caption"):
            return [(caption, VECTOR) for caption in self.captions]
        if statement.startswith("EXISTS"):
            return [(1,)]
        if statement.startswith("SHOW"):
            return [(f"CREATE TABLE laion (CONSTRAINT c CHECK length(image_embedding) = {self.dimension})",)]
        return []


def model(vector: list[float]) -> object:
    """A model that encodes everything as ``vector``, but for the text that it cannot encode."""
    return lambda kind, values: [[] if value == "broken" else vector for value in values]


def test_a_label_is_read_as_it_was_written() -> None:
    assert label_of_comment(OURS.comment) == OURS
    assert label_of_comment("CLIP vectors imported from ./laion") is None


@pytest.mark.parametrize("rows", [0, 5])
def test_a_model_that_stays_installed_keeps_its_table(rows: int) -> None:
    server = Server(THEIRS.comment, size=rows)
    with pytest.raises(ConflictError, match=r"the table laion is for theirs \(4 numbers, .* --table NAME"):
        check_table(server, PARAMETERS, ["theirs"], model(VECTOR))
    assert server.told == []


def test_an_empty_tables_comment_follows_the_model_and_comes_back_after_a_failure() -> None:
    server = Server(THEIRS.comment)
    check = check_table(server, PARAMETERS, [], model(VECTOR))
    assert server.told == []
    now = f"ALTER TABLE laion MODIFY COMMENT '{OURS.comment}'"
    with labelled(server, PARAMETERS, check):
        assert server.told == [now]
    with pytest.raises(ValueError, match="full"), labelled(server, PARAMETERS, check):
        raise ValueError("the disk is full")
    assert server.told == [now, now, f"ALTER TABLE laion MODIFY COMMENT '{THEIRS.comment}'"]


def test_rows_of_another_model_that_cannot_be_compared_are_not_searched() -> None:
    with pytest.raises(ConflictError) as refused:
        check_table(Server(THEIRS.comment, size=5), PARAMETERS, [], model(VECTOR))
    assert "says it was filled by theirs (4 numbers, bundle ba9876543210)" in str(refused.value)
    assert "whether ours (4 numbers, bundle 0123456789ab) makes the same" in str(refused.value)


@pytest.mark.parametrize("comment", ["", "CLIP vectors imported from ./laion", THEIRS.comment])
def test_rows_are_encoded_again_outside_the_server(comment: str) -> None:
    server = Server(comment, captions=("a cat", "broken", "a dog"))
    same = check_table(server, PARAMETERS, [], model(VECTOR))
    assert same is not None
    assert "2 rows compared" in same.text
    with pytest.raises(ConflictError, match=r"has other vectors: not the same model \(captions: cosine 0.00\)"):
        check_table(server, PARAMETERS, [], model(OTHER))
    assert server.told == []


@pytest.mark.parametrize("comment", ["", "CLIP vectors imported from ./laion", OURS.comment])
def test_rows_without_evidence_of_another_model_are_accepted(comment: str) -> None:
    assert check_table(Server(comment, size=5), PARAMETERS, [], model(VECTOR)) is not None


def test_another_dimension_names_the_model_that_has_it() -> None:
    server = Server(ModelLabel("large", 768, "ba9876543210").comment, size=5, dimension=768)
    with pytest.raises(ConflictError, match="holds vectors of large of 768 numbers, this model makes 4;"):
        check_table(server, PARAMETERS, [], model(VECTOR))
