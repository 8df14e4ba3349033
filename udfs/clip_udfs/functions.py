"""The SQL functions, in one table that the worker, the installer and the tests all read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Tower = Literal["text", "image"]
Source = Literal["text", "path", "bytes"]
Answer = Literal["vector", "thumbnail", "info"]

_RETURNS: dict[Answer, tuple[str, str]] = {
    "vector": ("embedding", "Array(Float32)"),
    "thumbnail": ("thumbnail", "String"),
    "info": (
        "info",
        "Tuple(width UInt32, height UInt32, format String, mode String, orientation UInt8,"
        " taken Nullable(DateTime64(0, 'UTC')), hash UInt64, reason String)",
    ),
}


@dataclass(frozen=True)
class Function:
    """One SQL function: what its argument means, what answers it, and what happens to a bad row.

    Attributes:
        name: The SQL name without a model's suffix, also the worker's command-line argument.
        tower: The half of the model that answers; None for a function that needs no model.
        source: ``text`` is encoded as it is, ``path`` names an image file, ``bytes`` is such a file's content.
        strict: True fails the query on a row that cannot be answered; False answers the row with an empty value.
        argument: The argument's name in SQL.
        answer: What it returns: a vector, a thumbnail, or facts about the image.
    """

    name: str
    tower: Tower | None
    source: Source
    strict: bool
    argument: str
    answer: Answer = "vector"

    @property
    def arguments(self) -> tuple[tuple[str, str], ...]:
        """Name and ClickHouse type of each argument; only functions with an answer for NULL accept it."""
        first = (self.argument, "String" if self.strict else "Nullable(String)")
        return (first, ("size", "UInt32")) if self.takes_size else (first,)

    @property
    def takes_size(self) -> bool:
        """Whether a second argument limits the size of the answer."""
        return self.answer == "thumbnail"

    @property
    def return_name(self) -> str:
        """Name of the answer in the function's definition."""
        return _RETURNS[self.answer][0]

    @property
    def return_type(self) -> str:
        """ClickHouse type of the answer."""
        return _RETURNS[self.answer][1]

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
        Function("thumbnail", None, "path", True, "path", "thumbnail"),
        Function("thumbnail_bytes", None, "bytes", True, "content", "thumbnail"),
        Function("try_thumbnail", None, "path", False, "path", "thumbnail"),
        Function("try_thumbnail_bytes", None, "bytes", False, "content", "thumbnail"),
        Function("image_info", None, "path", True, "path", "info"),
        Function("image_info_bytes", None, "bytes", True, "content", "info"),
        Function("try_image_info", None, "path", False, "path", "info"),
        Function("try_image_info_bytes", None, "bytes", False, "content", "info"),
    )
}

ENCODERS: dict[str, Function] = {name: one for name, one in FUNCTIONS.items() if one.answer == "vector"}
