"""Whose vectors a table holds: what is refused, and when its COMMENT follows the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from clip_installer.clickhouse.database import Database
from clip_installer.errors import ConflictError
from clip_installer.tables.guard import fitting_table
from clip_installer.tables.label import ModelLabel, label_of_comment
from clip_installer.tables.schema import SchemaParameters

OURS = ModelLabel("ours", 512, "0123456789ab")
THEIRS = ModelLabel("theirs", 512, "ba9876543210")
PARAMETERS = SchemaParameters(comment=OURS.comment)


@dataclass
class Server(Database):
    """A server with the table ``laion`` whose rows have no caption and no picture; remembers what it was told."""

    comment: str
    size: int = 0
    dimension: int = 512
    told: list[str] = field(default_factory=list)

    def command(self, statement: str, **_: object) -> None:
        self.told.append(statement)

    def rows(self, statement: str, *_: object) -> list[Sequence[object]]:
        rows: list[tuple[object, ...]] = [(0, 0, 0, 0.0, 0.0, 0.0, 0.0)]
        if "system.user_defined_functions" in statement:
            rows = [("clip_udfs/ours/launch encode_text 512 0123456789ab",)]
        elif "system.tables" in statement:
            rows = [(self.comment,)]
        elif statement.startswith("SELECT 1 FROM laion"):
            rows = [(1,)] * min(self.size, 1)
        elif statement.startswith("EXISTS"):
            rows = [(1,)]
        elif statement.startswith("SHOW"):
            rows = [(f"CREATE TABLE laion (CONSTRAINT c CHECK length(image_embedding) = {self.dimension})",)]
        return list(rows)


def test_a_label_is_read_as_it_was_written() -> None:
    assert label_of_comment(OURS.comment) == OURS
    assert label_of_comment("CLIP vectors imported from ./laion") is None


@pytest.mark.parametrize("rows", [0, 5])
def test_a_model_that_stays_installed_keeps_its_table(rows: int) -> None:
    server = Server(THEIRS.comment, rows)
    with (
        pytest.raises(ConflictError, match=r"the table laion is for theirs \(512 numbers, .* --table NAME"),
        fitting_table(server, PARAMETERS, ["theirs"]),
    ):
        pytest.fail("the schema would have been deployed")
    assert server.told == []


def test_an_empty_tables_comment_follows_the_model_and_comes_back_after_a_failure() -> None:
    server = Server(THEIRS.comment)
    with fitting_table(server, PARAMETERS, []):
        pass
    now = f"ALTER TABLE laion MODIFY COMMENT '{OURS.comment}'"
    assert server.told == [now]
    with pytest.raises(ValueError, match="full"), fitting_table(server, PARAMETERS, []):
        raise ValueError("the disk is full")
    assert server.told == [now, now, f"ALTER TABLE laion MODIFY COMMENT '{THEIRS.comment}'"]


def test_rows_of_another_model_that_cannot_be_compared_are_not_searched() -> None:
    server = Server(THEIRS.comment, size=5)
    with (
        pytest.raises(ConflictError) as refused,
        fitting_table(server, PARAMETERS, []),
    ):
        pytest.fail("the schema would have been deployed")
    assert "says it was filled by theirs (512 numbers, bundle ba9876543210)" in str(refused.value)
    assert "the model checked is ours (512 numbers, bundle 0123456789ab)" in str(refused.value)
    assert server.told == []


@pytest.mark.parametrize("comment", ["", "CLIP vectors imported from ./laion", OURS.comment])
def test_rows_that_nothing_says_are_anothers_are_let_through(comment: str) -> None:
    server = Server(comment, size=5)
    with fitting_table(server, PARAMETERS, []):
        pass
    assert server.told == []


def test_another_dimension_names_the_model_that_has_it() -> None:
    server = Server(ModelLabel("large", 768, "ba9876543210").comment, size=5, dimension=768)
    with (
        pytest.raises(ConflictError, match="holds vectors of large of 768 numbers, this model makes 512;"),
        fitting_table(server, PARAMETERS, []),
    ):
        pytest.fail("the schema would have been deployed")
