"""``clip-udfs demo``: everything, once, with the built-in model, on the embedded engine."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(short_help="Install, fill and search a demonstration server, and show the pictures.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("demo"),
    show_default=True,
    help="Directory of the demonstration; run again, it continues where it was.",
)
def demo(output: Path) -> None:
    """Show the whole of it: a server's tree, the functions, 3 500 pictures, both indexes, six searches and a page."""
    from clip_installer.demo.story import run_demo

    run_demo(output)
