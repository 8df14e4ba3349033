"""The six SQL functions, in one table that the worker, the installer and the tests all read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Tower = Literal["text", "image"]
Source = Literal["text", "path", "bytes"]


@dataclass(frozen=True)
class Function:
    """One SQL function: what its argument means, which tower encodes it, what a bad row does.

    Attributes:
        name: The SQL name without a model's suffix, also the worker's command-line argument.
        tower: The half of the model that answers.
        source: ``text`` is encoded as it is, ``path`` names a picture's file, ``bytes`` is that file's content.
        strict: True fails the query on a row that cannot be encoded, False answers ``[]`` for it.
        argument: The argument's name in SQL.
    """

    name: str
    tower: Tower
    source: Source
    strict: bool
    argument: str

    @property
    def argument_type(self) -> str:
        """ClickHouse type of the argument; NULL reaches only the functions that have an answer for it."""
        return "String" if self.strict else "Nullable(String)"

    def sql_name(self, suffix: str = "") -> str:
        """Name in SQL for the model installed under ``suffix`` ('' for the default model)."""
        return f"{self.name}_{suffix}" if suffix else self.name


FUNCTIONS: dict[str, Function] = {
    function.name: function
    for function in (
        Function("encode_text", "text", "text", True, "text"),
        Function("encode_image", "image", "path", True, "path"),
        Function("encode_image_bytes", "image", "bytes", True, "content"),
        Function("try_encode_text", "text", "text", False, "text"),
        Function("try_encode_image", "image", "path", False, "path"),
        Function("try_encode_image_bytes", "image", "bytes", False, "content"),
    )
}
