"""The searchable table: its DDL, its vector indexes and its views, for one model."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal

from clip_installer.clickhouse.sql import Statement, identifier, is_table, literal, render
from clip_installer.errors import UsageProblem
from clip_installer.tables.layout import LAION, Layout
from clip_installer.tables.manual import call, manual, signature
from clip_udfs.functions import FUNCTIONS

if TYPE_CHECKING:
    from clip_installer.clickhouse.database import Database

# Bits per number of a vector in an index, and bytes of each of its neighbours.
NUMBER_BITS = {"bf16": 16, "f64": 64, "f32": 32, "f16": 16, "i8": 8, "b1": 1}
QUANTIZATIONS = tuple(NUMBER_BITS)
_NEIGHBOUR_BYTES = 4
# What can make the searches of a table quick, and the methods of quantized codes.
KINDS = ("hnsw", "quantized", "none")
METHODS = ("rabitq", "turboquant")
CAPTION_INDEX = "caption_index"
# Rows that the views let quantized codes propose at least, where there is a filter.
CODES_PROPOSED = 512
# What follows a table's name in that of its sample for relevance.
SAMPLE = "_relevance_sample"
# Rows of the sample: the deviation of 1024 similarities is known to about 2 %.
SAMPLE_ROWS = 1024
# The COMMENT of a view ends with a digest of its definition, which shows that we created it, and in which version.
_NO_DEFINITION = "0" * 12
_DEFINITION = re.compile(r"CLIP (?:vectors|functions).*, definition ([0-9a-f]{12})", re.DOTALL)
# The views that describe an installation to an analyst: name, template and purpose.
_MANUALS = (
    ("clip_help", "schema/help_view", "What can be called: functions and views, their parameters, an example of each"),
    ("clip_image_roots", "schema/image_roots_view", "The directories that encode_image may read"),
)
# The final value in OpenAI's CLIP models, for bundles that do not have their own.
DEFAULT_LOGIT_SCALE = 100.0
_DIMENSION = re.compile(r"CHECK length\(image_embedding\) = (\d+)")


@dataclass(frozen=True)
class SchemaParameters:
    """What the DDL depends on.

    Attributes:
        table: ``table`` or ``database.table`` that is searched.
        dimension: Length of the vectors.
        suffix: Suffix of the model's functions and views; '' for the default model.
        quantization: Number format in the index, one of :data:`QUANTIZATIONS`.
        m: Connections of each vector in the index (``hnsw_max_connections_per_layer``).
        ef_construction: Candidates considered while building (``hnsw_candidate_list_size_for_construction``).
        ef_search: Candidates that the index keeps and proposes to the views, at most 1000.
        granularity: Rows of a granule (``index_granularity``): a search reads the whole granules of its candidates.
        cluster: A cluster, with replicated tables on its shards below a Distributed one; None for one server.
        comment: The model in the COMMENT of table and views.
        logit_scale: Factor of the cosines in the model's own probabilities.
        logit_bias: Added to them in a model trained with a sigmoid; None for a softmax.
        layout: The columns of the table.
        image_roots: The directories that ``encode_image`` may read.
        cloud: Whether it is for ClickHouse Cloud, where no function is given a path, and every table is replicated.
    """

    table: str = "laion"
    dimension: int = 512
    suffix: str = ""
    quantization: str = "bf16"
    m: int = 64
    ef_construction: int = 256
    ef_search: int = 256
    granularity: int = 64
    cluster: str | None = None
    comment: str = ""
    logit_scale: float = DEFAULT_LOGIT_SCALE
    logit_bias: float | None = None
    layout: Layout = LAION
    image_roots: tuple[str, ...] = ()
    cloud: bool = False

    def __post_init__(self) -> None:
        """Refuse what ClickHouse would refuse later.

        Raises:
            UsageProblem: A parameter is invalid; the message names it and its value.
        """
        identifier(self.table)
        if self.quantization not in QUANTIZATIONS:
            raise UsageProblem(f"quantization {self.quantization!r} is not one of {', '.join(QUANTIZATIONS)}")
        for name in ("dimension", "m", "ef_construction", "ef_search", "granularity"):
            if getattr(self, name) < 1:
                raise UsageProblem(f"{name} is {getattr(self, name)}, it must be at least 1")

    @property
    def indexed_vector_bytes(self) -> float:
        """Bytes of one vector in a vector index, without its neighbours."""
        return self.dimension * NUMBER_BITS[self.quantization] / 8

    @property
    def neighbours_bytes(self) -> int:
        """Bytes of the neighbours of one vector in an index: M on the upper layers, twice as many on the lowest."""
        return self.m * 2 * _NEIGHBOUR_BYTES

    @property
    def stored_table(self) -> str:
        """The table that holds the rows: ``table`` itself, or the shards' ``table_local`` of a cluster."""
        return f"{self.table}_local" if self.cluster else self.table

    @property
    def sample_table(self) -> str:
        """The table that keeps a sample of the vectors, for the views' relevance."""
        return f"{self.table}{SAMPLE}"

    @property
    def on_cluster(self) -> str:
        """The clause ``ON CLUSTER`` with a space before it; '' for one server."""
        return f" ON CLUSTER {identifier(self.cluster)}" if self.cluster else ""

    def view_name(self, name: str) -> str:
        """The view ``name``, with the table's database and the model's suffix, not quoted."""
        database = self.table.rpartition(".")[0]
        ending = f"_{self.suffix}" if self.suffix else ""
        return f"{database}.{name}{ending}" if database else f"{name}{ending}"

    def values(self) -> dict[str, Any]:
        """The values for the templates."""
        database, _, stored_name = self.stored_table.rpartition(".")
        return {
            "table": identifier(self.table),
            "stored_table": identifier(self.stored_table),
            "stored_name": stored_name,
            "sample_table": identifier(self.sample_table),
            "sample_rows": SAMPLE_ROWS,
            "is_table": is_table(self.stored_table),
            "codes_proposed": CODES_PROPOSED,
            "database_expression": identifier(database) if database else "currentDatabase()",
            "dimension": self.dimension,
            "layout": self.layout,
            "indexes": self.layout.indexes,
            "key": identifier(self.layout.key),
            "image": identifier(self.layout.image),
            "text": identifier(self.layout.text) if self.layout.text else "",
            "caption": identifier(self.layout.caption) if self.layout.caption else "",
            "own_columns": ", ".join(map(identifier, self.layout.columns)),
            "quantization": self.quantization,
            "m": self.m,
            "ef_construction": self.ef_construction,
            "ef_search": min(self.ef_search, 1000),
            "granularity": self.granularity,
            "logit_scale": self.logit_scale,
            "logit_bias": self.logit_bias,
            "cluster": self.cluster,
            "cloud": self.cloud,
            "on_cluster": self.on_cluster,
            "comment": f"\nCOMMENT {literal(self.comment)}" if self.comment else "",
            "searched": self.comment or "CLIP vectors",
            "function": lambda name: FUNCTIONS[name].sql_name(self.suffix),
        }


@dataclass(frozen=True)
class SchemaObject:
    """A table or view of the schema.

    Attributes:
        kind: ``TABLE`` or ``VIEW``.
        plain_name: ``name`` or ``database.name``, unquoted.
        is_data: Whether it has data that cannot be recreated, so that an uninstall keeps it.
        statement: The idempotent statement that creates it.
        reads: The system tables that a monitoring view needs; empty for an object of a model.
    """

    kind: Literal["TABLE", "VIEW"]
    plain_name: str
    is_data: bool
    statement: Statement
    reads: tuple[str, ...] = ()

    @property
    def is_monitoring(self) -> bool:
        """Whether it monitors all models, and is removed with the last of them."""
        return bool(self.reads)

    @property
    def name(self) -> str:
        """The quoted name."""
        return identifier(self.plain_name)

    @property
    def definition(self) -> str | None:
        """Its digest, as :func:`definition_of_comment` returns it."""
        return definition_of_comment(self.statement.sql)


def table_objects(parameters: SchemaParameters) -> list[SchemaObject]:
    """The table only; on a cluster, the shards' tables and the distributed one."""
    names = dict.fromkeys((parameters.stored_table, parameters.table))
    return [
        SchemaObject("TABLE", name, True, statement)
        for name, statement in zip(names, render("schema/table", parameters.values()), strict=True)
    ]


def objects(parameters: SchemaParameters) -> list[SchemaObject]:
    """Tables and views, in the order of creation; their statements are idempotent."""
    return [*table_objects(parameters), *view_objects(parameters)]


def view_objects(parameters: SchemaParameters) -> list[SchemaObject]:
    """The sample and the views of an existing table, in the order to create them."""
    (sample,) = sample_statements(parameters)
    return [SchemaObject("TABLE", parameters.sample_table, False, sample), *_views(parameters)]


def definition_of_comment(comment: str) -> str | None:
    """The digest of a view's definition, from its COMMENT; None if install-udfs did not create the view."""
    found = _DEFINITION.search(comment)
    return found[1] if found else None


def table_statements(parameters: SchemaParameters) -> list[Statement]:
    """The statements that create only the table."""
    return [one.statement for one in table_objects(parameters)]


def statements(parameters: SchemaParameters) -> list[Statement]:
    """The idempotent statements that create tables and views, in executable order."""
    return [one.statement for one in objects(parameters)]


def sample_statements(parameters: SchemaParameters) -> list[Statement]:
    """The table of the sample."""
    return render("schema/sample", parameters.values())


def index_statements(parameters: SchemaParameters) -> list[Statement]:
    """Add and build both vector indexes; run after loading, because each insert would build its own."""
    return render("schema/indexes", parameters.values())


def caption_index_statements(parameters: SchemaParameters) -> list[Statement]:
    """Add and build the index of the captions' words; for ClickHouse 26.4 and newer."""
    return render("schema/caption_index", parameters.values())


def stored_dimension(database: Database, table: str) -> int | None:
    """The length of vectors required by ``table``'s constraint; None without the table or a constraint."""
    name = identifier(table)
    if not database.exists(table):
        return None
    found = _DIMENSION.search(str(database.value(f"SHOW CREATE TABLE {name}")))
    return int(found[1]) if found else None


def comment_with_definition(text: str) -> str:
    """The COMMENT of a view with ``text``, and a placeholder for the digest from :func:`defined`."""
    return f"\nCOMMENT {literal(f'{text}, definition {_NO_DEFINITION}')}"


def defined(statement: Statement) -> Statement:
    """``statement`` with the digest of its definition in its COMMENT."""
    digest = sha256(statement.sql.encode()).hexdigest()[:12]
    return replace(statement, sql=statement.sql.replace(_NO_DEFINITION, digest))


def _views(parameters: SchemaParameters) -> Iterator[SchemaObject]:
    values = parameters.values()
    layout, suffix, files = parameters.layout, parameters.suffix, not parameters.cloud
    for view in layout.views():
        if not files and view.target == "path":
            continue
        said = f"{signature(view, suffix, layout.filter)}: {view.purpose[0].lower()}{view.purpose[1:]}"
        more = {"vector": identifier(layout.vector(view)), "call": call(view, suffix, layout.filter, files=files)}
        yield _view(parameters, view.name, view.template, {**values, **vars(view), **more}, said)
    if not layout.noun:
        entries = manual(suffix, files=files)
        values |= {"manual": entries, "image_roots": parameters.image_roots}
        for name, template, purpose in _MANUALS if files else _MANUALS[:1]:
            yield _view(parameters, name, template, {**values, "purpose": purpose}, purpose)


def _view(parameters: SchemaParameters, name: str, template: str, values: dict[str, Any], said: str) -> SchemaObject:
    """A view whose COMMENT has ``said``, the model, and the digest of its definition."""
    plain_name = parameters.view_name(name)
    comment = comment_with_definition(f"{said}. {parameters.comment or 'CLIP vectors'}")
    (statement,) = render(template, {**values, "name": identifier(plain_name), "comment": comment})
    return SchemaObject("VIEW", plain_name, False, defined(statement))
