"""How good the views' relevance is, on the demo: ``python -m benchmarks.search.relevance demo [--plot FILE]``.

Queries with an answer among the images must keep it at a threshold of 0.5; queries without one must return nothing. The
constants of ``sql/templates/macros/search.sql.j2`` were chosen on the ``choosing`` queries; ``test`` only judges,
and ``blind``, written afterwards, was tried once. ``broad`` are kinds of things, which many images show.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import click

from clip_installer.clickhouse.connection import ConnectionOptions
from clip_installer.clickhouse.database import Database

QUERIES = Path(__file__).with_suffix(".json")
CUT = 0.5
K = 10
_CHINESE = re.compile("[\u4e00-\u9fff]")


def best_relevance(database: Database, query: str, answer: str | None) -> float | None:
    """The best relevance of a right image in the top ten, or of any image if no image is right.

    Returns:
        None if the search does not find the right image at all, so that no threshold could keep it.
    """
    found = database.rows(
        "SELECT caption, relevance FROM search_by_text(query = {query:String}, k = {k:UInt32})",
        {"query": query, "k": K},
    )
    right = [float(relevance) for caption, relevance in found if answer is None or re.search(answer, caption, re.I)]
    return max(right, default=None)


def table(scores: list[tuple[str, str | None, float | None]]) -> str:
    """Kept and refused, in Markdown, for English and Chinese."""
    lines = ["| queries | with an answer | keep it | without one | return nothing |", "|---|---|---|---|---|"]
    for name, chinese in (("English", False), ("Chinese", True), ("all", None)):
        chosen = [one for one in scores if chinese is None or bool(_CHINESE.search(one[0])) == chinese]
        kept = [score >= CUT for _, answer, score in chosen if answer is not None and score is not None]
        refused = [(score or 0.0) < CUT for _, answer, score in chosen if answer is None]
        lines.append(f"| {name} | {len(kept)} | {sum(kept)} | {len(refused)} | {sum(refused)} |")
    return "\n".join(lines)


def plot(scores: list[tuple[str, str | None, float | None]], path: Path) -> None:
    """Plot both shares over the threshold."""
    from matplotlib.figure import Figure

    cuts = [step / 100 for step in range(1, 100)]
    right = [score for _, answer, score in scores if answer is not None and score is not None]
    wrong = [score or 0.0 for _, answer, score in scores if answer is None]
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(
        cuts, [sum(score >= cut for score in right) / len(right) for cut in cuts], label="keep their right picture"
    )
    axes.plot(cuts, [sum(score < cut for score in wrong) / len(wrong) for cut in cuts], label="return nothing, rightly")
    axes.axvline(CUT, color="grey", linestyle=":")
    axes.set_xlabel("min_relevance")
    axes.set_ylabel("share of the queries")
    axes.set_title(f"{len(right)} queries with an answer, {len(wrong)} without")
    axes.legend()
    figure.savefig(path)


@click.command()
@click.argument("demo", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--plot", "picture", type=click.Path(dir_okay=False, path_type=Path), help="Draw a png, svg or pdf file.")
def main(demo: Path, picture: Path | None) -> None:
    """Judge relevance on the demonstration in DEMO."""
    queries = json.loads(QUERIES.read_text(encoding="utf-8"))
    with ConnectionOptions(server_config=demo / "etc" / "clickhouse-server").connect() as database:
        for name in ("choosing", "test", "blind", "broad"):
            scores = [(query, answer, best_relevance(database, query, answer)) for query, answer in queries[name]]
            sys.stdout.write(f"\n{name}\n\n{table(scores)}\n\n")
            for query, answer, score in scores:
                if score is None or (score >= CUT) != (answer is not None):
                    sys.stdout.write(f"* {query}: {'not found at all' if score is None else f'{score:.2f}'}\n")
            if picture is not None and name == "test":
                plot(scores, picture)


if __name__ == "__main__":
    main()
