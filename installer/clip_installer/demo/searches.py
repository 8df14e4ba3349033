"""What the demonstration searches for, and how it queries the results for the page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clip_installer.clickhouse.database import Database


@dataclass(frozen=True)
class Search:
    """One search: a view, its parameter, the value, and its English translation if it needs one."""

    view: str
    parameter: str
    value: str
    meaning: str = ""

    @property
    def title(self) -> str:
        """The heading of the search."""
        return f"{self.value} ({self.meaning})" if self.meaning else self.value

    @property
    def by_picture(self) -> bool:
        """Whether the value is an image's path."""
        return self.parameter == "path"


@dataclass(frozen=True)
class Hit:
    """A row of the result: path below the image root, caption, cosine distance."""

    url: str
    caption: str
    distance: float


SEARCHES = (
    Search("search_by_text", "query", "cat"),
    Search("search_by_text", "query", "something to eat"),
    Search("search_by_text", "query", "musical instrument"),
    Search("search_by_text", "query", "red heart"),
    Search("search_by_text", "query", "下雨", "rain"),
    Search("search_by_image", "path", "openmoji/1f697-automobile.png"),
)


def hits(database: Database, search: Search, k: int) -> list[Hit]:
    """The ``k`` nearest images of one search, nearest first."""
    found = database.rows(
        f"SELECT url, caption, distance FROM {search.view}({search.parameter} = {{value:String}}, k = {{k:UInt32}})",
        {"value": search.value, "k": k},
    )
    return [Hit(*row) for row in found]
