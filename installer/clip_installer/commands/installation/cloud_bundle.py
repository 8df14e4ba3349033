"""``clip-udfs cloud-bundle``: the functions as archives for ClickHouse Cloud, with their settings and SQL."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clip_installer.commands.options import DEFAULT_TABLE, json_option
from clip_installer.progress import say

if TYPE_CHECKING:
    from clip_installer.cloud.output import Written

_HELP = """\
Write the functions as ZIP archives for ClickHouse Cloud, one for each function.

Beside the archives lie console.md (what to enter in the console), functions.tf and providers.tf (the same for
Terraform), schema.sql (table and views) and indexes.sql. Nothing is sent anywhere.

Functions that read an image by its path are left out: in Cloud there is no directory to read from. Images come from
s3() or url(), as content, to encode_image_bytes.

\b
  clip-udfs cloud-bundle --model ./ViT-B-32-openai --output cloud
"""


@click.command("cloud-bundle", help=_HELP, short_help="Write the functions as archives for ClickHouse Cloud.")
@click.option("--model", required=True, help="A bundle's directory, a built-in model, or ARCH/TAG to build one first.")
@click.option(
    "--output",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory to write to; files of the same names are replaced, others stay.",
)
@click.option("--suffix", default="", help="Suffix of the SQL names, for a second model beside the first.")
@click.option("--table", help=f"The table that the views search [default: {DEFAULT_TABLE}, with the suffix].")
@click.option("--pool-size", type=click.IntRange(1), default=2, show_default=True, help="Workers of each function.")
@click.option(
    "--threads",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Engine threads of a worker; 0 is as many as there are cores.",
)
@click.option("--exif-orientation", is_flag=True, help="Turn images as their EXIF block says before encoding them.")
@json_option
def cloud_bundle(
    model: str,
    output: Path,
    suffix: str,
    table: str | None,
    pool_size: int,
    threads: int,
    exif_orientation: bool,
    as_json: bool,
) -> None:
    """Write the functions as archives for ClickHouse Cloud."""
    from clip_installer.cloud.output import write_directory
    from clip_installer.models.source import opened_model
    from clip_installer.tables.label import ModelLabel
    from clip_installer.tables.schema import DEFAULT_LOGIT_SCALE, SchemaParameters
    from clip_udfs.settings import WorkerSettings

    if suffix and not (suffix.isascii() and suffix.replace("_", "a").isalnum()):
        raise click.UsageError(f"--suffix {suffix!r}: only letters, digits and _ can be in a function's name")
    settings = WorkerSettings(Path(), suffix=suffix, threads=threads, exif_orientation=exif_orientation)
    with opened_model(model, settings.engine, say) as bundle:
        manifest = bundle.manifest
        schema = SchemaParameters(
            table=table or (f"{DEFAULT_TABLE}_{suffix}" if suffix else DEFAULT_TABLE),
            dimension=manifest.dimension,
            suffix=suffix,
            comment=ModelLabel.of(manifest, turned=exif_orientation).comment,
            logit_scale=manifest.logit_scale or DEFAULT_LOGIT_SCALE,
            logit_bias=manifest.logit_bias,
            cloud=True,
        )
        written = write_directory(output, bundle, settings, schema, pool_size, say)
    if as_json:
        click.echo(json.dumps(_answer(manifest.name, output, written)))
    else:
        _tell(output, written)


def _answer(model: str, output: Path, written: list[Written]) -> dict[str, object]:
    return {
        "model": model,
        "output": str(output),
        "changed": any(one.changed for one in written),
        "files": [{"name": one.path.name, "bytes": one.bytes, "changed": one.changed} for one in written],
        "functions": [one.function.request() for one in written if one.function is not None],
    }


def _tell(output: Path, written: list[Written]) -> None:
    for one in written:
        state = "written" if one.changed else "unchanged"
        click.echo(f"{state:<10} {one.bytes / 1e6:>9,.1f} MB  {one.path.name}")
    click.echo(
        f"Next: upload the archives as {output / 'console.md'} says, or with terraform apply; see docs/cloud.md."
    )
