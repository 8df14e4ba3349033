"""Views over the server's system tables that show what the functions do, the same for all models."""

from __future__ import annotations

from dataclasses import dataclass

from clip_installer.clickhouse.sql import identifier, render
from clip_installer.tables.schema import SchemaObject, SchemaParameters, comment_with_definition, defined


@dataclass(frozen=True)
class MonitoringView:
    """One view.

    Attributes:
        name: Its name.
        reads: The system tables that it reads; the view is omitted if one is missing or may not be read.
    """

    name: str
    reads: tuple[str, ...]


_FUNCTIONS, _LOG = "system.user_defined_functions", "system.query_log"
# In the order of their statements in the template ``schema/monitoring``.
MONITORING_VIEWS = (
    MonitoringView("clip_functions", (_FUNCTIONS,)),
    MonitoringView("clip_counters", ("system.events",)),
    MonitoringView("clip_queries", (_LOG, _FUNCTIONS)),
    MonitoringView("clip_failures", (_LOG, _FUNCTIONS)),
)


def monitoring_objects(parameters: SchemaParameters) -> list[SchemaObject]:
    """The views, beside the searched table."""
    database = parameters.table.rpartition(".")[0]
    names = {view.name: f"{database}.{view.name}" if database else view.name for view in MONITORING_VIEWS}
    values = {
        **{name: identifier(full) for name, full in names.items()},
        "on_cluster": parameters.on_cluster,
        "comment": comment_with_definition("CLIP functions, monitored"),
    }
    statements = render("schema/monitoring", values)
    return [
        SchemaObject("VIEW", names[view.name], False, defined(statement), view.reads)
        for view, statement in zip(MONITORING_VIEWS, statements, strict=True)
    ]
