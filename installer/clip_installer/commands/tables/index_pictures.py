"""``clip-udfs index-pictures``: your own pictures into a searchable table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clip_installer.clickhouse.connection import ConnectionOptions
from clip_installer.commands.options import connection_options, json_option, say_note

if TYPE_CHECKING:
    from clip_installer.pictures.listing import Source
    from clip_installer.pictures.run import Outcome

_HELP = """\
Index the pictures in SOURCE: list them, compare with the table, and encode what is new or has changed.

SOURCE is a directory below the server's image root, a pattern such as '/photos/**/*.jpg', an address (s3://BUCKET/**,
https://…), or a table function that the server reads under its own grants: "s3('https://…/**', 'KEY', 'SECRET')",
"file('photos/**')". Run the command on the server's machine, where the workers find the same files.

\b
  clip-udfs index-pictures /srv/photos --url http://localhost:8123
  clip-udfs index-pictures /srv/photos --prune --url http://localhost:8123
  clip-udfs index-pictures 's3://bucket/photos/**' --url http://localhost:8123

A picture that cannot be encoded is recorded in TABLE_refusals with the reason, and tried again when the file changes.
After an interruption, run the command again: it continues where it stopped. With nothing new it ends within seconds.
"""


@click.command("index-pictures", help=_HELP, short_help="Index your own pictures: new, changed and removed ones.")
@connection_options
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True)
@click.option("--table", default="pictures", show_default=True, help="The table; created if it does not exist.")
@click.option("--suffix", default="", help="Suffix of the model's functions [default: the model without one].")
@click.option("--prune", is_flag=True, help="Remove pictures that are no longer in SOURCE.")
@click.option("--retry", is_flag=True, help="Try refused pictures again even if they have not changed.")
@click.option(
    "--captions", metavar="TABLE", help="Take captions from a table or view with the columns path and caption."
)
@click.option("--sidecars", is_flag=True, help="Take captions from files beside the pictures: cat.txt for cat.jpg.")
@click.option(
    "--image-root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The server's image root as mounted here; stored paths are relative to it [default: paths are absolute].",
)
@json_option
def index_pictures(
    connection: ConnectionOptions,
    sources: tuple[str, ...],
    table: str,
    suffix: str,
    prune: bool,
    retry: bool,
    captions: str | None,
    sidecars: bool,
    image_root: Path | None,
    as_json: bool,
) -> None:
    """Index the pictures in SOURCE."""
    from clip_installer.pictures.local import LocalSource
    from clip_installer.pictures.remote import remote_source
    from clip_installer.pictures.run import Wanted
    from clip_installer.pictures.run import index_pictures as index
    from clip_installer.progress import progress

    opened: list[Source] = [
        remote_source(one) or LocalSource.of(one, image_root, sidecars=sidecars) for one in dict.fromkeys(sources)
    ]
    with progress() as advance:
        outcome = index(connection, Wanted(opened, table, suffix, captions, prune, retry), advance)
    if as_json:
        click.echo(json.dumps(_object(outcome), ensure_ascii=False))
    else:
        _tell(outcome)
    for listing in outcome.listings:
        for note in listing.notes:
            say_note(note, as_json=as_json)


def _tell(outcome: Outcome) -> None:
    name = outcome.table.name
    if not outcome.encoded and not outcome.refused:
        click.echo(
            f"nothing to encode: all {outcome.files:,} pictures are up to date in {name} ({outcome.seconds:.1f} s)"
        )
    else:
        rate = outcome.encoded / max(outcome.seconds, 1e-3)
        click.echo(
            f"{outcome.encoded:,} of {outcome.files:,} pictures encoded into {name} in {outcome.seconds:.1f} s"
            f" ({rate:,.1f} a second)"
        )
    if outcome.refused:
        click.echo(f"{outcome.refused:,} refused, with their reasons in {outcome.table.refusals}:")
        for reason, count in outcome.reasons:
            click.echo(f"  {count:>7,}  {reason}")
    if outcome.removed:
        click.echo(f"{outcome.removed:,} removed: no longer in the source")
    elif outcome.gone:
        click.echo(f"{outcome.gone:,} no longer in the source; --prune removes them from {name}")


def _object(outcome: Outcome) -> dict[str, object]:
    sources = [{"source": _name(one.source), "files": one.files, "gone": one.gone} for one in outcome.listings]
    return {
        "table": outcome.table.name,
        "refusals": outcome.table.refusals,
        "changed": outcome.changed,
        "files": outcome.files,
        "encoded": outcome.encoded,
        "refused": outcome.refused,
        "reasons": [{"reason": reason, "pictures": count} for reason, count in outcome.reasons],
        "gone": outcome.gone,
        "removed": outcome.removed,
        "sources": sources,
        "notes": [note for one in outcome.listings for note in one.notes],
        "seconds": round(outcome.seconds, 3),
    }


def _name(source: Source) -> str:
    return source.name if isinstance(source.name, str) else source.name.decode("utf-8", "replace")
