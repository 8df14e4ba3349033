"""``clip-udfs recall``: what each set of index parameters finds and costs."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from clip_installer.clickhouse.connection import ConnectionOptions
from clip_installer.commands.options import connection_options, json_option, table_option
from clip_installer.tables.schema import KINDS, METHODS, QUANTIZATIONS

_COLUMNS = {"image": "image_embedding", "text": "text_embedding"}


def _numbers(context: click.Context, parameter: click.Parameter, value: str) -> tuple[int, ...]:
    items = [item.strip() for item in value.split(",")]
    if not all(item.isdecimal() and int(item) > 0 for item in items):
        raise click.BadParameter(f"{value!r} is not a list of positive numbers such as 16,64")
    return tuple(int(item) for item in items)


_CHOICES = {"quantization": QUANTIZATIONS, "kind": KINDS[:2], "method": METHODS}


def _some_of(context: click.Context, parameter: click.Parameter, value: str) -> tuple[str, ...]:
    known = _CHOICES[str(parameter.name)]
    items = tuple(item.strip() for item in value.split(","))
    if unknown := [item for item in items if item not in known]:
        raise click.BadParameter(f"{unknown[0]!r} is not one of {', '.join(known)}")
    return items


_HELP = """\
Build each index on a sample of the table, search it as the views do, and compare with brute force.

With --kind quantized it measures quantized codes, with --kind hnsw,quantized both. For codes, the candidates of
--ef-search are the vectors that a search reads after it has compared the codes; the views read 256. Separate lists by
commas. The copies of the sample are dropped at the end.

\b
  clip-udfs recall --quantization bf16,i8 --m 16,64 --url http://localhost:8123
  clip-udfs recall --kind hnsw,quantized --url http://localhost:8123
"""


@click.command(help=_HELP, short_help="Measure vector indexes and codes against brute force.")
@connection_options
@table_option
@click.option(
    "--search",
    "searched",
    type=click.Choice(list(_COLUMNS)),
    default="image",
    show_default=True,
    help="Vectors to search.",
)
@click.option(
    "--by",
    type=click.Choice(list(_COLUMNS)),
    default="text",
    show_default=True,
    help="Use the vectors of the table's own captions or images as queries.",
)
@click.option("--rows", default=100_000, show_default=True, help="Rows of the sample.")
@click.option("--queries", default=100, show_default=True, help="Number of queries.")
@click.option("-k", "k", default=10, show_default=True, help="Neighbours of each query.")
@click.option("--kind", default="hnsw", show_default=True, callback=_some_of, help="HNSW indexes, quantized codes.")
@click.option(
    "--method", default=",".join(METHODS), show_default=True, callback=_some_of, help="Methods of the quantized codes."
)
@click.option(
    "--quantization",
    default="bf16,i8",
    show_default=True,
    callback=_some_of,
    help="Number formats of the vectors in the index.",
)
@click.option("--m", default="64", show_default=True, callback=_numbers, help="Connections of each vector.")
@click.option(
    "--ef-construction",
    default="256",
    show_default=True,
    callback=_numbers,
    help="Candidates considered while building.",
)
@click.option(
    "--ef-search",
    default="16,64,256",
    show_default=True,
    callback=_numbers,
    help="Candidates considered while searching.",
)
@click.option("--target", default=0.98, show_default=True, help="Recall that the recommended index must reach.")
@click.option(
    "--plot", type=click.Path(dir_okay=False, path_type=Path), help="Draw a plot into a png, svg or pdf file."
)
@json_option
def recall(
    connection: ConnectionOptions,
    table: str,
    searched: str,
    by: str,
    rows: int,
    queries: int,
    k: int,
    kind: tuple[str, ...],
    method: tuple[str, ...],
    quantization: tuple[str, ...],
    m: tuple[int, ...],
    ef_construction: tuple[int, ...],
    ef_search: tuple[int, ...],
    target: float,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Build each index on a sample of the table, search it as the views do, and compare with brute force."""
    from clip_installer.progress import progress
    from clip_installer.tables.vector_index import recall_report
    from clip_installer.tables.vector_index.recall import RecallPlan, measure

    plan = RecallPlan(
        table=table,
        column=_COLUMNS[searched],
        query_column=_COLUMNS[by],
        rows=rows,
        queries=queries,
        k=k,
        quantizations=quantization if "hnsw" in kind else (),
        m=m,
        ef_construction=ef_construction,
        ef_search=ef_search,
        methods=method if "quantized" in kind else (),
    )
    with progress() as advance, connection.connect() as database:
        report = measure(database, plan, advance)
    if plot is not None:
        recall_report.plot(report, plot)
    best = report.best(target)
    if as_json:
        click.echo(json.dumps({"table": table, **asdict(report), "recommended": best and asdict(best)}))
        return
    click.echo(f"recall@{report.k} of {report.queries} searches in {report.rows} rows of {table}\n")
    click.echo(recall_report.markdown(report))
    if best is None:
        click.echo(f"\nnone of these reaches a recall of {target}: try a larger --ef-search, --m or bf16")
    else:
        click.echo(
            f"\nrecommended: {recall_report.variant(best)}, {best.ef_search} candidates while searching;"
            f" recall {best.index_recall:.4f}"
        )
