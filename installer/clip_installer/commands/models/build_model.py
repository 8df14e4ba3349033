"""``clip-udfs build-model``: an open_clip model becomes a bundle of plain files."""

from __future__ import annotations

import json
from pathlib import Path

import click

from clip_installer.commands.options import json_option
from clip_installer.progress import say
from clip_udfs.manifest import FLOAT32, PRECISIONS

_ENGINES = ("auto", "onnx", "torch", "both")

_HELP = """\
Build a bundle from an open_clip model, and compare its vectors with open_clip's.

\b
  clip-udfs build-model --model ViT-B-32-quickgelu --pretrained openai --output ViT-B-32-openai
  clip-udfs build-model --model ViT-B-32 --pretrained ./my-finetune.safetensors --output my-model
  clip-udfs build-model --model ./CLIP-ViT-B-32-laion2B-s34B-b79K --output ViT-B-32-laion2b
"""


@click.command("build-model", help=_HELP, short_help="Turn an open_clip model into a bundle.")
@click.option(
    "--model",
    required=True,
    metavar="ARCH|FOLDER|FILE",
    help="Architecture of open_clip, a Hugging Face folder with open_clip_config.json, or a JSON file of your own.",
)
@click.option(
    "--pretrained",
    default="",
    metavar="TAG|FILE|TAG=FILE",
    help="Tag of open_clip, a checkpoint file, a tag with its file, or 'random' (for timing); omit it for a folder.",
)
@click.option("--output", required=True, type=click.Path(path_type=Path), help="Directory of the new bundle.")
@click.option("--name", help="Name of the bundle [default: architecture and tag].")
@click.option(
    "--engine",
    type=click.Choice(_ENGINES),
    default="auto",
    show_default=True,
    help="Engines that can run the bundle; auto means onnx, or torch if the model cannot be exported.",
)
@click.option(
    "--any-activation",
    is_flag=True,
    help="Build even if the weights were trained with another activation (GELU, QuickGELU).",
)
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default=FLOAT32,
    show_default=True,
    help="int8 is faster and smaller, but its vectors differ slightly from the model's; the build measures it.",
)
@click.option(
    "--min-cosine",
    type=click.FloatRange(0, 1),
    help="With --precision int8: the smallest accepted cosine with the model's own vectors [default: 0.99].",
)
@click.option("--notice", default="", help="A sentence to show wherever the model is listed, such as a licence notice.")
@json_option
def build_model(
    model: str,
    pretrained: str,
    output: Path,
    name: str | None,
    engine: str,
    any_activation: bool,
    precision: str,
    min_cosine: float | None,
    notice: str,
    as_json: bool,
) -> None:
    """Build a bundle from an open_clip model, and compare its vectors with open_clip's."""
    if min_cosine is not None and precision == FLOAT32:
        raise click.UsageError("--min-cosine applies only to --precision int8; fp32 must equal open_clip's vectors")
    from clip_installer.models.build import build_model as build

    bundle = build(
        model,
        pretrained,
        output,
        name=name,
        engine=engine,
        any_activation=any_activation,
        precision=precision,
        min_cosine=min_cosine,
        notice=notice,
        report=say,
    )
    manifest = bundle.manifest
    size = sum(record.bytes for record in manifest.files.values())
    if as_json:
        click.echo(
            json.dumps(
                {
                    "bundle": str(output),
                    "name": manifest.name,
                    "dimension": manifest.dimension,
                    "bytes": size,
                    "precision": manifest.precision,
                    "cosine": dict(manifest.cosine),
                }
            )
        )
    else:
        click.echo(
            f"{output}: {manifest.name}, {manifest.precision}, {manifest.dimension} dimensions, {size / 1e6:.1f} MB"
        )
