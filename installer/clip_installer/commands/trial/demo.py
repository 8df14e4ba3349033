"""``clip-udfs demo``: every feature once, with the built-in model, on chDB."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext, redirect_stdout
from pathlib import Path

import click

from clip_installer.commands.options import json_option


@click.command(short_help="Install, fill and search a demonstration server, and show the images.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("demo"),
    show_default=True,
    help="Directory of the demonstration; running it again continues where it stopped.",
)
@json_option
def demo(output: Path, as_json: bool) -> None:
    """Demonstrate every feature on a fresh server configuration: functions, 3 508 images, indexes, searches, a page."""
    from clip_installer.demo.story import Demo, run_demo

    # With --json, the steps are shown on standard error, so that standard output has only the result.
    with redirect_stdout(sys.stderr) if as_json else nullcontext():
        run_demo(output)
    if as_json:
        made = Demo(output)
        answer = {"server_config": made.config, "data": made.data, "images": made.pictures, "output": made.output}
        click.echo(json.dumps({name: str(path) for name, path in answer.items()}))
