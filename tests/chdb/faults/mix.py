"""Statements of all six functions with good and bad rows, and what each must answer: drawn from a seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

import numpy as np
from numpy.typing import NDArray

from clip_udfs.functions import ENCODERS, Function
from clip_udfs.settings import WorkerSettings
from tests.chdb.driver import Engine, QueryFailed
from tests.chdb.faults.case import PICTURES, Reference, name_of_picture, picture

_TEXTS = 6000
_PIECES = ("cat", "dog", "一只黑猫", "a longer word", "é", "\N{CAT FACE}", "\\N", *"\t\n\\'\0\b\f\r")


@dataclass(frozen=True)
class Value:
    """A row's value: its SQL, its bytes (None for NULL), and what the strict function says of it where it is bad."""

    sql: str
    content: bytes | None
    reason: str = ""


@dataclass(frozen=True)
class Statement:
    """A statement that calls ``function`` on ``values``, row by row."""

    function: Function
    values: tuple[Value, ...]
    sql: str

    @property
    def refused(self) -> tuple[str, ...]:
        """Parts of the message that it must give; none where it must be answered."""
        if not self.function.strict:
            return ()
        if any(value.content is None for value in self.values):
            return ("Cannot convert NULL",)
        for row, value in enumerate(self.values, 1):
            if value.reason:
                return (f"Executable generates stderr: {self.function.name}: row {row}: ", value.reason)
        return ()


@dataclass
class Mix:
    """Draws statements, and judges answers.

    Attributes:
        seed: The same seed draws the same statements.
        settings: The workers' settings; the pictures must lie in their first directory.
        bad: Share of the rows that cannot be encoded.
        rows: Rows that were drawn, good and bad ones by function.
        refused: Statements that were drawn and must fail.
    """

    seed: int
    settings: WorkerSettings
    bad: float
    rows: Counter[tuple[str, bool]] = field(default_factory=Counter)
    refused: int = 0

    def __post_init__(self) -> None:
        """Make the values that the rows are drawn from."""
        self._random = Random(self.seed)
        texts = ("".join(self._random.choices(_PIECES, k=self._random.randint(0, 9))) for _ in range(_TEXTS))
        kilobytes = self.settings.max_text_bytes // 1000 + 1
        too_long = Value(
            f"repeat(repeat('x', 1000), {kilobytes})", b"x" * 1000 * kilobytes, f"{kilobytes}000 bytes are"
        )
        null = Value("NULL", None)
        cut = picture(0)[:-600]
        self._good = {
            "text": [_value(text.encode()) for text in texts] + [_value(b"a\xffb")],
            "path": [_value(name_of_picture(number).encode()) for number in range(PICTURES)],
            "bytes": [_value(picture(number)) for number in range(PICTURES)],
        }
        self._bad = {
            "text": [null, too_long],
            "path": [
                null,
                _value(b"missing.png", "'missing.png': no such file"),
                _value(b"", "'': the path is empty"),
                _value(b"/etc/passwd", "'/etc/passwd': outside"),
                _value(b"../../../nowhere/0.png", "'../../../nowhere/0.png': the path contains '..'"),
            ],
            "bytes": [
                null,
                _value(b"", "0 bytes: "),
                _value(b"<html>404\nnot found</html>", "26 bytes: not an image"),
                _value(cut, f"{len(cut)} bytes: damaged image"),
            ],
        }

    @property
    def bad_rows(self) -> int:
        """Rows that were drawn and cannot be encoded."""
        return sum(count for (_, is_bad), count in self.rows.items() if is_bad)

    def draw(self) -> Statement:
        """The next statement: mostly of one row, as many analysts' are, with the functions in equal shares."""
        random = self._random
        function = random.choice(list(ENCODERS.values()))
        count = random.choice((1, 1, 1, 2, 3) if function.strict else (1, 2, 3, 4, 8))
        values = [
            random.choice((self._bad if random.random() < self.bad else self._good)[function.source])
            for _ in range(count)
        ]
        self.rows.update((function.name, _is_bad(value)) for value in values)
        arguments = ", ".join(value.sql for value in values)
        constant = len(values) == 1 and random.random() < 0.5
        argument = arguments if constant else f"arrayJoin([{arguments}])"
        drawn = Statement(function, tuple(values), f"SELECT {function.name}({argument})")
        self.refused += bool(drawn.refused)
        return drawn

    def outcome(self, engine: Engine, client: int) -> tuple[list[NDArray[np.float32]], str]:
        """Wait for a client's next outcome: the vectors, or the message."""
        try:
            return [np.array(vector, np.float32) for (vector,) in engine.finish(client)], ""
        except QueryFailed as failed:
            return [], str(failed)

    def problem(
        self, asked: Statement, reference: Reference, got: Sequence[NDArray[np.float32]], message: str
    ) -> str | None:
        """What is wrong with an outcome, in one line; None where all is well."""
        if message or asked.refused:
            if asked.refused and all(part in message for part in asked.refused):
                return None
            return f"{asked.sql[:200]}: expected {asked.refused or 'vectors'}, got: {message[:600] or 'vectors'}"
        wanted = reference.vectors(asked.function.name, [value.content for value in asked.values])
        assert [len(vector) == 0 for vector in wanted] == [_is_bad(value) for value in asked.values]
        if [len(vector) for vector in got] != [len(vector) for vector in wanted]:
            return f"{asked.sql[:200]}: {[len(vector) for vector in got]} numbers"
        far = [row for row, (one, other) in enumerate(zip(got, wanted, strict=True)) if _distance(one, other) > 1e-6]
        return f"{asked.sql[:200]}: wrong vectors in rows {far}" if far else None


def _distance(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    return float(np.abs(one - other).max(initial=0))


def _is_bad(value: Value) -> bool:
    return value.content is None or bool(value.reason)


def _value(content: bytes, reason: str = "") -> Value:
    return Value(f"unhex('{content.hex()}')", content, reason)
