"""A user who can search through the page and do nothing else: its statements, for an administrator to run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from clip_installer.clickhouse.sql import identifier, literal
from clip_installer.tables.search_page.page import SearchPage

# Limits of one query: seconds, bytes of memory, rows and bytes of an answer, bytes of an uploaded image.
SETTINGS: Mapping[str, int] = {
    "readonly": 1,
    "max_execution_time": 20,
    "max_memory_usage": 2_000_000_000,
    "max_concurrent_queries_for_user": 32,
    "max_result_rows": 1000,
    "max_result_bytes": 32 << 20,
    "http_max_request_param_data_size": 10 << 20,
}
# Handlers created by SQL set this in their queries, which readonly = 1 would forbid.
CHANGEABLE = "http_response_headers"
QUOTA: Mapping[str, int] = {"queries": 6000, "execution_time": 600}


@dataclass(frozen=True)
class SearchUser:
    """The user.

    Attributes:
        name: Its name, and that of its profile and its quota.
        page: The page that it uses.
    """

    name: str
    page: SearchPage

    @property
    def grants(self) -> list[str]:
        """What it may read, as the part of a GRANT before TO."""
        return [f"SELECT ON {name}" for name in self.page.reads]

    @property
    def statements(self) -> list[str]:
        """The statements that create it; it has no password yet, so that none is printed."""
        name = identifier(self.name)
        settings = ", ".join(f"{key} = {value}" for key, value in SETTINGS.items())
        limits = ", ".join(f"{key} = {value}" for key, value in QUOTA.items())
        return [
            f"CREATE SETTINGS PROFILE {name} SETTINGS {settings}, {CHANGEABLE} CHANGEABLE_IN_READONLY",
            f"CREATE USER {name} IDENTIFIED BY {literal('CHOOSE A PASSWORD')} SETTINGS PROFILE {literal(self.name)}",
            f"CREATE QUOTA {name} FOR INTERVAL 1 minute MAX {limits} TO {name}",
            *(f"GRANT {grant} TO {name}" for grant in self.grants),
        ]

    @property
    def removal(self) -> list[str]:
        """The statements that remove it."""
        name = identifier(self.name)
        return [f"DROP {kind} IF EXISTS {name}" for kind in ("USER", "QUOTA", "SETTINGS PROFILE")]
